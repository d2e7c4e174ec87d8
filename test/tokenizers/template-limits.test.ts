import { describe, expect, it } from 'vitest';
import { InvalidArgumentError, TokenizerError } from '../../lib/errors.js';
import { AutoTokenizer } from '../../lib/tokenizers/index.js';
import { costOf } from '../cost.js';
import { at } from './fixtures.js';

const tokenizer = await AutoTokenizer.from_pretrained(at('llama-legacy'));
const MESSAGES = [{ role: 'user', content: 'hi' }];

const render = (chat_template: string, messages = MESSAGES, more: object = {}): string =>
  tokenizer.apply_chat_template(messages, { chat_template, tokenize: false, ...more });

describe('a template that runs away is ended by a limit, which the error names', () => {
  const NS = '{% set ns = namespace(s="aaaaaaaaaaaaaaaa", l=[1]) %}';
  const grow = (body: string) => `${NS}{% for i in range(60) %}{% set ${body} %}{% endfor %}`;
  const LONG = `${NS}{% for i in range(17) %}{% set ns.s = ns.s + ns.s %}{% endfor %}`;

  it.each<[string, string, RegExp]>([
    [
      'nested loops',
      '{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}',
      /limit of steps/,
    ],
    ['a long range', '{{ range(200000000)|length }}', /Range too big/],
    [
      'long ranges in a condition',
      "{% for i in range(99) if {'k': range(70000)} %}{% break %}{% endfor %}",
      /limit of steps/,
    ],
    ['a range of no number', '{{ range("a") }}', /needs numbers/],
    [
      'a macro that calls itself',
      '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}',
      /nested evaluations/,
    ],
    ['a string that doubles', grow('ns.s = ns.s + ns.s'), /size of a value/],
    ['a list that doubles', grow('ns.l = ns.l + ns.l'), /size of a value/],
    ['a list of itself twice', `${grow('ns.l = [ns.l, ns.l]')}{{ ns.l }}`, /size of a value|steps/],
    ['a mapping of itself twice', grow('ns.l = {"a": ns.l, "b": ns.l}'), /size of a value/],
    [
      'lists inside each other',
      `${NS}{% for i in range(9999) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}`,
      /inside each other/,
    ],
    ['a namespace that holds itself', `${NS}{% set ns.s = ns %}{{ ns }}`, /inside each other/],
    ['indentation', '{{ "a\\n"|indent(1000000000) }}', /size of a value/],
    [
      'indentation of many lines',
      `${LONG}{{ ns.s|replace("a", "\\n")|indent(4000) }}`,
      /size of a value/,
    ],
    ['indentation of JSON', '{{ [[[1]]]|tojson(indent=100000000) }}', /size of a value/],
    ['joining', `${LONG}{{ range(99)|join(ns.s) }}`, /size of a value/],
    ['replacing by a method', `${LONG}{{ ns.s.replace("a", ns.s) }}`, /size of a value|steps/],
    ['replacing by a filter', `${LONG}{{ ns.s|replace("a", ns.s) }}`, /size of a value|steps/],
    ['replacing nothing', `${LONG}{{ ns.s.replace("", ns.s) }}`, /size of a value|steps/],
    [
      'replacing by a method under a name',
      `${LONG}{% set f = ns.s.replace %}{{ f("a", ns.s) }}`,
      /can only be called/,
    ],
    [
      'splitting',
      `${LONG}{% for i in range(99) %}{{ ns.s.split("a") }}{% endfor %}`,
      /size of a value|steps/,
    ],
    [
      'looking for what is nearly there',
      `${LONG}{{ ("b" + ns.s) in (ns.s + ns.s) }}`,
      /limit of steps/,
    ],
    [
      'names that are not defined',
      '{% for i in range(100000) %}{{ a }}{{ b }}{{ c }}{{ d }}{{ e }}{% endfor %}',
      /limit of steps/,
    ],
    [
      'loops that are left at once',
      '{% for i in range(100000) %}{% continue %}{% endfor %}{% for i in range(100000) %}{% continue %}{% endfor %}',
      /limit of steps/,
    ],
    [
      '20,000 parentheses',
      `{{ ${'('.repeat(20_000)}1${')'.repeat(20_000)} }}`,
      /nested too deeply/,
    ],
    ['a sum of 20,000 terms', `{{ 1${' + 1'.repeat(20_000)} }}`, /nested evaluations/],
    ['300,000 characters', 'x'.repeat(300_000), /too long/],
    ['white space', `${' '.repeat(200_000)}{{ 1 }}`, /too much white space/],
    [
      'a constructor',
      '{{ messages.constructor.constructor("return process")() }}',
      /not a function/,
    ],
  ])('%s', async (_, template, message) => {
    const { error, cpu, bytes } = await costOf(async () => render(template));
    expect(error).toBeInstanceOf(TokenizerError);
    expect((error as Error).message).toMatch(message);
    expect(cpu).toBeLessThan(2000);
    expect(bytes).toBeLessThan(500e6);
  });

  it('names the template', () => {
    expect(() =>
      render('{% for i in range(70000) %}{% for j in range(70000) %}{% endfor %}{% endfor %}'),
    ).toThrow(/limit of steps: expected at most \d+ \("\{% for i in range\(70000\) %\}/);
  });

  it.each([
    [
      '{{ x.__proto__ }}|{{ x["constructor"] }}|{{ "".constructor }}|{{ messages.__proto__ }}',
      '|||',
    ],
    ['{{ [] | first }}|{{ [] | last }}|', '||'],
    ['{{ range(3) }}{{ range(5, 0, -2) }}{{ range(0) }}', '[0, 1, 2][5, 3, 1][]'],
  ])('%s gives %s', (template, text) => {
    expect(render(template, MESSAGES, { x: {} })).toBe(text);
  });

  it('leaves conversations of every size', () => {
    const messages = Array.from({ length: 5000 }, (_, i) => ({
      role: i % 2 === 0 ? 'user' : 'assistant',
      content: `${i} ${'한국어 '.repeat(50)}`,
    }));
    const template =
      "{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'].strip() + '<|im_end|>\\n' }}{% endfor %}";
    const text = render(template, messages);
    expect(text.split('<|im_start|>')).toHaveLength(5001);
  });
});

describe('templates by name', () => {
  it('are not looked for in JavaScript', () => {
    tokenizer.chat_template = { default: 'd', tool_use: 't' };
    expect(tokenizer.get_chat_template('constructor')).toBe('constructor');
    expect(tokenizer.get_chat_template(null, [{}])).toBe('t');
    tokenizer.chat_template = { other: 'o' };
    expect(() => tokenizer.get_chat_template()).toThrow(InvalidArgumentError);
    tokenizer.chat_template = null;
  });
});

describe('a list that claims more than a template can be given is refused at once', () => {
  const endless = new Array(2 ** 32 - 1);
  let shared: unknown[] = [1];
  for (let i = 0; i < 30; i++) shared = [shared, shared];
  it.each<[string, () => unknown]>([
    ['messages', () => render('{{ messages|length }}', [endless] as never)],
    ['tools', () => render('{{ tools|length }}', MESSAGES, { tools: endless })],
    ['a list of the same lists', () => render('{{ tools|length }}', MESSAGES, { tools: shared })],
    ['a typed array', () => render('{{ a|length }}', MESSAGES, { a: new Float64Array(1e7) })],
  ])('%s', (_, call) => {
    const start = performance.now();
    expect(call).toThrow('more values than a chat template can be given');
    expect(call).toThrow(TokenizerError);
    expect(performance.now() - start).toBeLessThan(1000);
  });

  it('tokens', () => {
    expect(() => tokenizer.convert_tokens_to_ids(endless)).toThrow('a string for tokens');
  });
});
