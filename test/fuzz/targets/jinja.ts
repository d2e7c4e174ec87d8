import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { AutoTokenizer } from '../../../lib/tokenizers/index.js';
import { damage, type Random } from '../random.js';
import type { FuzzTarget } from '../target.js';
import { smallTokenizer } from '../tokenizer.js';

const CHATML =
  "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
const LLAMA_2 =
  "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + message['content'].strip() + ' [/INST]' }}{% else %}{{ ' ' + message['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}";
const TOOLS =
  "{%- macro show(x) %}{{ x | tojson(indent=2) }}{%- endmacro %}{%- set ns = namespace(n=0, s='') %}{%- for tool in tools or [] %}{{ show(tool) }}{%- set ns.n = ns.n + 1 %}{%- endfor %}{{ ns.n }}{{ strftime_now('%d %b %Y') }}{% for m in messages if m.role != 'system' %}{% if loop.last %}{% break %}{% endif %}{{ m.content.split('</think>')[-1] | trim }}{% endfor %}";

const NAMES = ['messages', 'tools', 'x', 'i', 'ns', 'ns.s', 'ns.l', 'bos_token', 'loop.index', 'f'];

/** An expression; leaves are names and numbers, some of them large. */
function expression(random: Random, depth = 4): string {
  if (depth === 0) {
    return random.pick([
      ...NAMES,
      '0',
      '-1',
      '3',
      '70000',
      '1000000000',
      '1.5',
      "''",
      "'a'",
      "'a\\nb '",
      '[]',
      '[1, 2]',
      "{'a': 1}",
      'true',
      'none',
    ]);
  }
  const inner = () => expression(random, depth - 1 - random.below(depth));
  return random.pick([
    () => `${inner()} ${random.pick(['+', '-', '*', '/', '//', '%', '**', '~'])} ${inner()}`,
    () => `${inner()} ${random.pick(['==', '!=', '<', 'in', 'not in', 'and', 'or'])} ${inner()}`,
    () => `(${inner()})`,
    () => `(not ${inner()})`,
    () => `(${inner()} if ${inner()} else ${inner()})`,
    () => `(${inner()})[${random.pick([inner(), `${inner()}:`, '::-1', ':2'])}]`,
    () =>
      `(${inner()}).${random.pick(['items()', 'keys()', 'strip()', 'upper()', 'constructor', '__proto__', 'length'])}`,
    () => `(${inner()}).replace(${inner()}, ${inner()})`,
    () => `(${inner()}).split(${inner()})`,
    () => `range(${random.pick([inner(), '1000000000', '70000'])})`,
    () => `f(${inner()})`,
    () => `namespace(a=${inner()})`,
    () => `[${inner()}, ${inner()}]`,
    () => `{'k': ${inner()}}`,
    () =>
      `(${inner()})|${random.pick([
        'length',
        'trim',
        'upper',
        'tojson',
        'list',
        'first',
        'last',
        'sort',
        'unique',
        'reverse',
        'string',
        'int',
        'items',
        'dictsort',
        `tojson(indent=${inner()})`,
        `indent(${inner()})`,
        `join(${inner()})`,
        `default(${inner()})`,
        `replace(${inner()}, ${inner()})`,
        "map(attribute='content')",
        "selectattr('role')",
        'sort(reverse=true)',
      ])}`,
    () =>
      `(${inner()}) is ${random.pick(['defined', 'none', 'string', 'mapping', 'iterable', 'odd'])}`,
  ])();
}

/** Statements, with loops that grow what they are given. */
function statement(random: Random, depth = 3): string {
  const value = () => expression(random);
  if (depth === 0) return random.pick([`{{ ${value()} }}`, 'text', '{# comment #}', '\n  ']);
  const inner = () => statement(random, depth - 1);
  return random.pick([
    () => inner() + inner(),
    () =>
      `{% if ${value()} %}${inner()}{% elif ${value()} %}${inner()}{% else %}${inner()}{% endif %}`,
    () =>
      `{% for i in ${random.pick([value(), 'range(70000)', 'messages'])} %}${inner()}{% endfor %}`,
    () => `{% for i in range(99) if ${value()} %}${inner()}{% break %}{% endfor %}`,
    () => `{% set ${random.pick(['x', 'ns'])} = ${value()} %}`,
    () => `{% set x %}${inner()}{% endset %}`,
    () => `{% set ns = namespace(s='aaaa', l=[1]) %}${inner()}`,
    () => `{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}`,
    () => `{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}`,
    () => '{% set ns.s = ns %}{{ ns }}',
    () => `{% macro f(a, b=${value()}) %}${inner()}{% endmacro %}`,
    () => `{% call f(${value()}) %}${inner()}{% endcall %}`,
    () =>
      `{% filter ${random.pick(['upper', 'trim', `indent(${value()})`])} %}${inner()}{% endfilter %}`,
    () => '{% generation %}x{% endgeneration %}',
    () => ' '.repeat(random.below(3000)),
    () => '('.repeat(random.below(3000)),
  ])();
}

const MESSAGES = [
  { role: 'system', content: '너는 친절하다.' },
  { role: 'user', content: ' hi </think> there ' },
  { role: 'assistant', content: 'a\nb' },
  { role: 'user', content: '안녕' },
];

export const target: FuzzTarget = {
  name: 'jinja',
  sources: [
    'lib/tokenizers/chat-template.ts',
    'lib/tokenizers/jinja/budget.ts',
    'lib/tokenizers/jinja/interpreter.ts',
    'lib/tokenizers/jinja/strftime.ts',
    'lib/tokenizers/jinja/template.ts',
  ],
  minimumCoverage: 80,
  seeds: () => [CHATML, LLAMA_2, TOOLS].map((text) => Buffer.from(text)),
  mutate(input, random) {
    const text = Buffer.from(input).toString();
    if (random.chance(0.15)) return damage(input, random);
    if (random.chance(0.5)) {
      return Buffer.from(`{% set ns = namespace(s='aaaa', l=[1]) %}${statement(random)}`);
    }
    // Between two tags, or in place of what stands in one.
    const places = [...text.matchAll(/[{%]%?\}|\{\{/g)].map(({ index }) => index + 2);
    const at = places.length === 0 ? 0 : random.pick(places);
    const added = text.slice(at - 2, at) === '{{' ? `${expression(random)} + ` : statement(random);
    return Buffer.from(text.slice(0, at) + added + text.slice(at));
  },
  async run(input, folder) {
    writeFileSync(path.join(folder, 'tokenizer.json'), JSON.stringify(smallTokenizer()));
    writeFileSync(path.join(folder, 'chat_template.jinja'), input);
    const tokenizer = await AutoTokenizer.from_pretrained(folder);
    tokenizer.apply_chat_template(MESSAGES, {
      add_generation_prompt: true,
      tools: [{ type: 'function', function: { name: 'f', parameters: {} } }],
    });
  },
  planted: {
    file: 'lib/tokenizers/jinja/template.ts',
    find: 'if (!(count <= MAX_RANGE)) {',
    replace: 'if (count < 0) {',
  },
};
