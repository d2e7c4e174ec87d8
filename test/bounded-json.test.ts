import { describe, expect, it } from 'vitest';
import { type JsonOptions, parseBoundedJson, parseBoundedJsonSync } from '../lib/bounded-json.js';
import { AbortError, CheckpointError, TokenizerError } from '../lib/errors.js';
import { costOf } from './cost.js';

const OPTIONS: JsonOptions = {
  file: '/models/a/config.json',
  maxBytes: 64 * 1024 * 1024,
  maxValues: 4_000_000,
  maxDepth: 32,
};

/** Longer than one piece, so that containers are put together from several. */
const LONG = 100_000;

function parse(text: string | Uint8Array, options: Partial<JsonOptions> = {}) {
  return parseBoundedJson(text, { ...OPTIONS, ...options });
}

describe('parseBoundedJson', () => {
  it.each([
    '{}',
    ' { } ',
    '{"a":1,"b":[true,false,null,-1.5e-3,"\\u0041\\n\\"]}"],"c":{"d":{}},"e":[[],{}]}',
    '{"__proto__":{"a":1},"constructor":1,"":2,"7":3,"1":4}',
    '\r\n\t{"a" : [ 1 , 2 ] ,\n"b" : "한글 🙂" }\n',
  ])('reads %s as JSON.parse does', async (text) => {
    const value = await parse(text);
    expect(value).toEqual(JSON.parse(text));
    expect(Object.keys(value)).toEqual(Object.keys(JSON.parse(text)));
    expect(parseBoundedJsonSync(text, OPTIONS)).toEqual(value);
  });

  it('puts long texts together from pieces, wherever they are cut', async () => {
    const item = (i: number) => ({ id: i, text: `토큰 "${i}"`, list: [i, [i, { deep: [i] }]] });
    const list = Array.from({ length: 5_000 }, (_, i) => item(i));
    const words = Object.fromEntries(list.map(({ text, id }) => [text, id]));
    const value = {
      first: 1,
      words,
      nested: { a: { b: { list, after: [1] }, c: 2 }, d: 3 },
      pairs: list.map(({ id }) => [`a${id}`, `b${id}`]),
      ['__proto__' as string]: list,
      last: 'end',
    };
    for (const indent of [0, 1]) {
      const text = JSON.stringify(value, null, indent);
      expect(text.length).toBeGreaterThan(LONG);
      const parsed = await parse(text);
      expect(parsed).toEqual(JSON.parse(text));
      expect(JSON.stringify(parsed, null, indent)).toBe(text);
    }
  });

  it('skips a byte order mark', async () => {
    expect(await parse('\ufeff{"a":1}')).toEqual({ a: 1 });
  });

  it.each([
    '',
    ' ',
    '{',
    '{"a"',
    '{"a":',
    '{"a":1',
    '{"a":1,',
    '{"a":1,}',
    '{,"a":1}',
    '{"a":1 "b":2}',
    '{"a":1,,"b":2}',
    '{"a" 1}',
    '{"a"::1}',
    '{1:2}',
    '{"a":1}}',
    '{"a":1}{}',
    '{"a":1} x',
    '{"a":[1,]}',
    '{"a":[,1]}',
    '{"a":[1 2]}',
    '{"a":[1}',
    '{"a":{"b":1]}',
    '{"a":"b}',
    '{"a":"\\x"}',
    '{"a":"\n"}',
    '{"a":01}',
    '{"a":1-2}',
    '{"a":nul}',
    '{"a":NaN}',
    "{'a':1}",
    '{"a":1}]',
    '{]',
    '<html>',
  ])('refuses %j', async (text) => {
    await expect(parse(text)).rejects.toThrow(/is not valid JSON/);
    expect(() => parseBoundedJsonSync(text, OPTIONS)).toThrow(CheckpointError);
  });

  it('refuses the same faults where they stand in a later piece', async () => {
    const long = `"x":[${'1,'.repeat(LONG)}1]`;
    for (const tail of [',}', '', ',,"a":1}', ',"a":nul}', ',"a":[1,]}', ']', ' "b":1}', '}}']) {
      await expect(parse(`{${long}${tail}`), tail).rejects.toThrow(/is not valid JSON/);
    }
    expect(await parse(`{${long},"a":[1]}`)).toMatchObject({ a: [1] });
  });

  it.each(['[]', '1', '"a"', 'null', '[1,2]'])('refuses %s, which is no object', async (text) => {
    await expect(parse(text)).rejects.toThrow('config.json is not a JSON object');
  });

  it('refuses a key that occurs twice, at any depth and in any piece', async () => {
    const long = `"x":[${'1,'.repeat(LONG)}1]`;
    for (const text of [
      '{"a":1,"a":2}',
      '{"b":[{"a":1,"\\u0061":2}]}',
      '{"__proto__":1,"__proto__":2}',
      `{"a":1,${long},"a":2}`,
      `{"b":{${long}},"c":[{"a":1,"a":1}]}`,
      `{"a":{${long}},"a":{}}`,
      `{"a":{},"a":{${long}}}`,
    ]) {
      await expect(parse(text), text.slice(0, 40)).rejects.toThrow(/has the key "\w+" twice/);
    }
  });

  it('refuses what is not UTF-8', async () => {
    await expect(parse(Buffer.from('{"a":"\xff"}', 'latin1'))).rejects.toThrow(/not valid UTF-8/);
  });

  it('holds to its budgets, and not less', async () => {
    expect(
      await parse('{"a":[1,2]}', { maxValues: 4, maxDepth: 2, maxKeys: 1, maxBytes: 11 }),
    ).toEqual({
      a: [1, 2],
    });
    for (const [options, expected] of [
      [{ maxValues: 3 }, '3 values'],
      [{ maxKeys: 0 }, '0 keys in one object'],
      [{ maxDepth: 1 }, '1 levels of nesting'],
      [{ maxBytes: 10 }, '10 bytes'],
    ] as const) {
      const error = await parse('{"a":[1,2]}', options).catch((e) => e);
      expect(error).toBeInstanceOf(CheckpointError);
      expect(error.message).toContain('config.json is larger than what it should hold');
      expect(error.message).toContain(`at most ${expected}`);
      expect(error.file).toBe(OPTIONS.file);
    }
  });

  it.each([
    ['nesting', '{"a":'.repeat(4_000_000)],
    ['objects', `{"x":[${'{},'.repeat(7_000_000)}{}]}`],
    ['keys', `{${Array.from({ length: 2_000_000 }, (_, i) => `"${i}":0`).join()}}`],
    ['one string', `{"a":"${'x'.repeat(20_000_000)}"}`],
    ['one number', `{"a":${'1'.repeat(20_000_000)}}`],
    ['blanks', `{${' '.repeat(20_000_000)}`],
  ])('refuses 20 MB of %s in pieces', async (_, text) => {
    const bytes = Buffer.from(text);
    const {
      error,
      cpu,
      block,
      bytes: grown,
    } = await costOf(() => parse(bytes, { maxValues: 500_000 }));
    expect(error).toBeInstanceOf(CheckpointError);
    expect(cpu).toBeLessThan(2000);
    expect(block).toBeLessThan(250);
    expect(grown).toBeLessThan(500e6);
  });

  it('ends with an AbortError between two pieces', async () => {
    const controller = new AbortController();
    const parsing = parse(`{"x":[${'{},'.repeat(1_000_000)}{}]}`, { signal: controller.signal });
    setImmediate(() => controller.abort());
    await expect(parsing).rejects.toThrow(AbortError);
  });

  it("throws the caller's class under the caller's name", async () => {
    const error = await parse('{', { error: TokenizerError, what: 'The vocabulary' }).catch(
      (e) => e,
    );
    expect(error).toBeInstanceOf(TokenizerError);
    expect(error.message).toContain('The vocabulary is not valid JSON');
  });
});
