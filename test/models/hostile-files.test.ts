import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AutoModelForCausalLM, GenerationConfig, KomtError, setWarningHandler } from 'komt';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { torchFile } from '../checkpoint/builders.js';
import { costOf } from '../cost.js';
import { skipped } from '../skipped.js';
import { temporaryFolder } from '../temporary-folder.js';

// A repository of a stranger may hold anything under the names of a model's files. Whatever it is, it
// is refused within 2 s and 500 MB, and other work goes on meanwhile.
const TINY = join(import.meta.dirname, '..', '..', 'models', 'komt-tiny');
const root = temporaryFolder();
let folder: string;
let number = 0;

beforeEach(() => {
  folder = join(root.path, `model-${number++}`);
  cpSync(TINY, folder, { recursive: true });
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

setWarningHandler(() => {});

const at = (name: string) => join(folder, name);

/** The refusal of the model in `folder`, which must have been cheap. */
async function refusal(load = () => AutoModelForCausalLM.from_pretrained(folder)) {
  const { error, cpu, block, bytes } = await costOf(load as () => Promise<unknown>);
  expect(error).toBeInstanceOf(KomtError);
  expect(cpu).toBeLessThan(2000);
  expect(block).toBeLessThan(250);
  expect(bytes).toBeLessThan(500e6);
  return error as KomtError;
}

function safetensors(header: Buffer): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header]);
}

const fill = (unit: string, bytes: number) => Buffer.alloc(bytes, unit);
const nested = (bytes: number) => fill('{"a":', bytes);
const objects = (bytes: number) => Buffer.concat([Buffer.from('{"x":['), fill('{},', bytes)]);
const names = (bytes: number) =>
  Buffer.from(`{${Array.from({ length: bytes / 10 }, (_, i) => `"${100_000 + i}":1`).join()}}`);
const MB = 1_000_000;

describe('a model with a hostile file is refused before it costs anything', () => {
  it.each([
    ['deep, 63 MB', nested(63 * MB)],
    ['wide, 63 MB', objects(63 * MB)],
    ['deep, 4 MB', nested(4 * MB)],
    ['wide, 4 MB', objects(4 * MB)],
    ['of many keys', names(4 * MB)],
    ['of one string', Buffer.concat([Buffer.from('{"model_type":"'), fill('x', 4 * MB)])],
  ])('config.json: %s', async (_, text) => {
    writeFileSync(at('config.json'), text);
    expect((await refusal()).file).toBe(at('config.json'));
    writeFileSync(at('generation_config.json'), text);
    expect((await refusal(() => GenerationConfig.from_pretrained(folder) as never)).file).toBe(
      at('generation_config.json'),
    );
  });

  it.each([
    ['deep, 98 MB', nested(98 * MB)],
    ['wide, 98 MB', objects(98 * MB)],
    ['deep, 16 MB', nested(16 * MB)],
    ['wide, 16 MB', objects(16 * MB)],
    ['of many names', names(7 * MB)],
  ])('a safetensors header: %s', async (_, header) => {
    writeFileSync(at('model.safetensors'), safetensors(header));
    expect((await refusal()).file).toBe(at('model.safetensors'));
  });

  it.each([
    ['deep', nested(60 * MB)],
    ['wide', objects(60 * MB)],
    ['wide, 16 MB', objects(16 * MB)],
    ['of many names', Buffer.concat([Buffer.from('{"weight_map":'), names(15 * MB)])],
  ])('an index: %s', async (_, text) => {
    rmSync(at('model.safetensors'));
    writeFileSync(at('model.safetensors.index.json'), text);
    expect((await refusal()).file).toBe(at('model.safetensors.index.json'));
  });

  const pickles: [string, string, string][] = [
    ['dicts between marks', '', `${'}'.repeat(90_000)}(`],
    ['lists', '', '](]'],
    ['tuples of tuples', ')q\0', 'h\0h\0h\0\x87q\0'],
    ['a list of one value many times', ']q\0', 'h\0a'],
    ['a list of strings', ']', '\x8c\x04abcda'],
    ['memos', ']', '\x94'],
    ['items', '}', '(K\x01K\x02K\x03K\x04u'],
    ['long integers', ']', `\x8a\xff${'\x7f'.repeat(255)}a`],
  ];
  it.each(pickles)('a pickle: %s', async (_, start, unit) => {
    const begin = Buffer.from(`\x80\x02${start}`, 'latin1');
    rmSync(at('model.safetensors'));
    for (const bytes of [8, 16]) {
      const rest = Buffer.alloc(
        bytes * 1024 * 1024 - begin.length - 1,
        Buffer.from(unit, 'latin1'),
      );
      const pickle = Buffer.concat([begin, rest, Buffer.from('.')]);
      writeFileSync(at('pytorch_model.bin'), torchFile(pickle));
      expect((await refusal()).file).toBe(at('pytorch_model.bin'));
    }
  });

  it
    .skipIf(skipped(process.platform === 'win32', 'Windows has no devices and pipes in folders'))
    .each(['config.json', 'generation_config.json', 'model.safetensors'])(
    '%s: a device, a pipe, a folder, a circle',
    async (name) => {
      for (const kind of ['zero', 'tty', 'fifo', 'folder', 'circle']) {
        rmSync(at(name), { recursive: true, force: true });
        if (kind === 'zero' || kind === 'tty') symlinkSync(`/dev/${kind}`, at(name));
        if (kind === 'fifo') execFileSync('mkfifo', [at(name)]);
        if (kind === 'folder') mkdirSync(at(name));
        if (kind === 'circle') symlinkSync(name, at(name));
        await refusal();
      }
    },
  );

  it('a field named constructor', async () => {
    for (const name of ['constructor', '__proto__', 'toString', 'hasOwnProperty']) {
      const text = `{"${name}": {"polluted": true}}`;
      writeFileSync(at('config.json'), text);
      await refusal();
      writeFileSync(at('generation_config.json'), text);
      await GenerationConfig.from_pretrained(folder).catch((error) =>
        expect(error).toBeInstanceOf(KomtError),
      );
      expect(({} as Record<string, unknown>).polluted).toBeUndefined();
    }
  });
});
