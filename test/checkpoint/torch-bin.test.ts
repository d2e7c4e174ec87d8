import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readTorchBin } from '../../lib/checkpoint/torch-bin.js';
import { CheckpointError } from '../../lib/errors.js';
import { temporaryFolder } from '../temporary-folder.js';
import { PickleWriter, stateDictPickle, type TensorSpec, torchFile, zipFile } from './builders.js';

const folder = temporaryFolder();
const floats = (count: number) => Buffer.alloc(4 * count);
const vector: TensorSpec = { elements: 4, shape: [4], strides: [1] };
const withTensor = (spec: Partial<TensorSpec>, storage = floats(4)) =>
  torchFile(stateDictPickle({ w: { ...vector, ...spec } }), [storage]);

async function refusal(file: Buffer): Promise<CheckpointError> {
  const path = folder.write('damaged.bin', file);
  const error = await readTorchBin(path).then(
    () => expect.fail('the file was accepted'),
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(CheckpointError);
  expect((error as CheckpointError).file).toBe(path);
  return error as CheckpointError;
}

describe('a state dict', () => {
  it('is read', async () => {
    const path = folder.write('good.bin', withTensor({}));
    const [tensor, ...more] = await readTorchBin(path);
    expect(more).toEqual([]);
    expect(tensor).toMatchObject({ name: 'w', dtype: 'float32', shape: [4], nbytes: 16 });
  });

  it('may touch the last element of its storage, and no more', async () => {
    const last: Partial<TensorSpec> = { offset: 1, shape: [2, 2], strides: [2, 0] };
    const [tensor] = await readTorchBin(folder.write('edge.bin', withTensor(last)));
    expect(tensor?.nbytes).toBe(12);
    await refusal(withTensor({ ...last, strides: [2, 1] }));
  });

  it('may hold None, numbers, lists and texts beside its tensors', async () => {
    const pickle = new PickleWriter().emptyDict().raw('(');
    pickle.text('w').tensor(vector).text('none').raw('N').text('epoch').int(3);
    pickle.text('history').raw(']', '(').int(1).int(2).raw('e').raw('u');
    const path = folder.write('extras.bin', torchFile(pickle.end(), [floats(4)]));
    expect((await readTorchBin(path)).map(({ name }) => name)).toEqual(['w']);
  });

  it('may carry _metadata as the state of its OrderedDict', async () => {
    const pickle = new PickleWriter().emptyDict().raw('(').text('w').tensor(vector).raw('u');
    pickle.raw('}').text('_metadata').emptyDict().raw('s', 'b');
    const path = folder.write('metadata.bin', torchFile(pickle.end(), [floats(4)]));
    expect((await readTorchBin(path)).length).toBe(1);
  });
});

describe('a pickle that would run something', () => {
  const marker = join(folder.path, 'was-executed');
  const command = `touch ${marker}`;
  const calls = (module: string, name: string) =>
    new PickleWriter().global(module, name).raw('(').text(command).raw('t', 'R').end();

  it.each([
    ['posix', 'system'],
    ['os', 'system'],
    ['nt', 'system'],
    ['subprocess', 'Popen'],
    ['builtins', 'eval'],
    ['builtins', 'getattr'],
    ['torch', 'load'],
    ['torch.storage', '_load_from_bytes'],
    ['collections', 'OrderedDict.fromkeys'],
    ['torch._utils', '_rebuild_tensor'],
  ])('%s.%s is refused by name', async (module, name) => {
    const error = await refusal(torchFile(calls(module, name)));
    expect(error.message).toContain(`${module}.${name}`);
    expect(error.message).toContain('nothing was executed');
    expect(error.subject).toBe(`${module}.${name}`);
    expect(existsSync(marker)).toBe(false);
  });

  it('is refused where the global comes from the stack', async () => {
    const pickle = new PickleWriter().text('os').text('system').raw(0x93).text(command);
    expect((await refusal(torchFile(pickle.raw(0x85, 'R').end()))).subject).toBe('os.system');
  });

  it('is refused where the global is never called', async () => {
    const pickle = new PickleWriter().global('os', 'system').raw('0').emptyDict().end();
    expect((await refusal(torchFile(pickle))).subject).toBe('os.system');
  });

  const opcodes: [string, (string | number)[]][] = [
    ['INST', ['(', 'ios\nsystem\n']],
    ['OBJ', ['(', 'ccollections\nOrderedDict\n', 'o']],
    ['NEWOBJ', ['ccollections\nOrderedDict\n', ')', 0x81]],
    ['NEWOBJ_EX', ['ccollections\nOrderedDict\n', ')', '}', 0x92]],
    ['EXT1', [0x82, 1]],
    ['PERSID', ['Pevil\n']],
    ['BYTEARRAY8', [0x96, 0, 0, 0, 0, 0, 0, 0, 0]],
    ['READONLY_BUFFER', [0x98]],
  ];
  it.each(opcodes)('opcode %s is refused', async (_, bytes) => {
    const error = await refusal(torchFile(new PickleWriter().raw(...bytes).end()));
    expect(error.message).toMatch(/instruction that torch\.save does not write.*opcode 0x/);
  });
});

describe('a malformed pickle is refused', () => {
  const pickle = () => new PickleWriter();
  const good = stateDictPickle({ w: vector });
  const longText = Buffer.from([0x80, 2, 0x58, 0xff, 0xff, 0xff, 0xff, 0x61]);
  const cases: [string, Buffer, RegExp][] = [
    ['when empty', Buffer.alloc(0), /middle of an instruction/],
    ['when cut off', good.subarray(0, -1), /middle of an instruction/],
    ['when cut off in a text', longText, /middle of an instruction/],
    [
      'with text that is not UTF-8',
      pickle().raw('X', 1, 0, 0, 0).end().fill(0xff, 7, 8),
      /UTF-8|middle/,
    ],
    [
      'with protocol 5',
      Buffer.concat([Buffer.from([0x80, 5]), good.subarray(2)]),
      /protocol.*2 to 4.*found 5/,
    ],
    ['with an empty stack', pickle().end(), /unbalanced/],
    ['with two results', pickle().raw('}', '}').end(), /unbalanced/],
    ['with an open mark', pickle().raw('(', '}').end(), /unbalanced/],
    ['that pops nothing', pickle().raw('R').end(), /takes more from the stack/],
    ['that closes no mark', pickle().raw('}', 'u').end(), /mark that it did not set/],
    ['that reads an empty memo', pickle().raw('h', 7).end(), /memo 7/],
    ['that calls a dict', pickle().raw('}', ')', 'R').end(), /may not be called.*dict/],
    [
      'that calls a storage type',
      pickle().global('torch', 'FloatStorage').raw(')', 'R').end(),
      /may not be called.*FloatStorage/,
    ],
    [
      'that calls with a list',
      pickle().global('collections', 'OrderedDict').raw(']', 'R').end(),
      /without a tuple/,
    ],
    [
      'with arguments for OrderedDict',
      pickle().global('collections', 'OrderedDict').raw('}', 0x85, 'R').end(),
      /malformed OrderedDict/,
    ],
    [
      'with a malformed torch.Size',
      pickle().global('torch', 'Size').raw('(').int(-1).raw('t', 0x85, 'R').end(),
      /malformed torch\.Size/,
    ],
    ['that sets items of a list', pickle().raw(']', '}', '}', 's').end(), /no dict/],
    [
      'that sets an odd number of items',
      pickle().raw('}', '(', '}', 'u').end(),
      /key without a value/,
    ],
    [
      'that sets a key twice',
      pickle().raw('}', '(').text('a').raw('N').text('a').raw('N', 'u').end(),
      /key twice.*"a"/,
    ],
    ['that appends to a dict', pickle().raw('}', '}', 'a').end(), /no list/],
    ['that builds a list', pickle().raw(']', '}', 'b').end(), /state of something other/],
    [
      'whose stack overflows',
      pickle()
        .raw('('.repeat(2 ** 16 + 1))
        .end(),
      /too much stack/,
    ],
    ['that is not a dict', pickle().raw(']').end(), /does not hold a state dict.*list of 0/],
    [
      'that contains itself',
      pickle().raw('}', 'q', 0, '(').text('a').raw('h', 0, 'u').end(),
      /holds a dict twice/,
    ],
    [
      'with a number for a name',
      pickle().raw('}', '(').int(1).tensor(vector).raw('u').end(),
      /key that is no string/,
    ],
    [
      'with a persistent id that is a text',
      pickle().text('storage').raw('Q').end(),
      /malformed storage/,
    ],
    ['larger than 8 MiB', Buffer.alloc(8 * 1024 * 1024 + 1), /too large for a state dict/],
  ];
  it.each(cases)('%s', async (_, bytes, message) => {
    expect((await refusal(torchFile(bytes, [floats(4)]))).message).toMatch(message);
  });

  it('when nested too deeply', async () => {
    const deep = pickle();
    for (let i = 0; i < 18; i++) deep.raw('}', '(').text('a');
    deep.raw('N');
    for (let i = 0; i < 18; i++) deep.raw('u');
    expect((await refusal(torchFile(deep.end()))).message).toMatch(/nested too deeply/);
  });

  it('in no time, where its references multiply', async () => {
    // Each level holds the one below a hundred times: 100^14 dicts, if one were to visit them all.
    const level = (bomb: PickleWriter, height: number): PickleWriter => {
      bomb.raw('}', '(').text('0');
      if (height === 0) return bomb.raw('N', 'u');
      level(bomb, height - 1).raw('q', height);
      for (let i = 1; i < 100; i++) bomb.text(String(i)).raw('h', height);
      return bomb.raw('u');
    };
    const start = Date.now();
    const error = await refusal(torchFile(level(pickle(), 14).end()));
    expect(error.message).toMatch(/holds a dict twice/);
    expect(Date.now() - start).toBeLessThan(2000);
  });
});

describe('a tensor is refused', () => {
  const cases: [string, Buffer, RegExp][] = [
    ['beyond its storage', withTensor({ shape: [5] }), /w reaches beyond the end/],
    ['beyond its storage by its offset', withTensor({ offset: 1 }), /beyond the end/],
    [
      'beyond its storage by its strides',
      withTensor({ shape: [2, 2], strides: [3, 1] }),
      /beyond the end/,
    ],
    [
      'with an offset beyond, though empty',
      withTensor({ shape: [0], offset: 5 }),
      /beyond the end/,
    ],
    [
      'with a reach that overflows',
      withTensor({ shape: [2 ** 40, 2], strides: [2 ** 40, 1] }),
      /beyond the end/,
    ],
    [
      'with a count that overflows',
      withTensor({ shape: [2 ** 40, 2 ** 40], strides: [0, 0] }),
      /beyond the end/,
    ],
    ['with a negative offset', withTensor({ offset: -1 }), /malformed tensor/],
    ['with a negative size', withTensor({ shape: [-4] }), /malformed tensor/],
    ['with a negative stride', withTensor({ strides: [-1] }), /malformed tensor/],
    [
      'with fewer strides than sizes',
      withTensor({ shape: [2, 2], strides: [1] }),
      /malformed tensor/,
    ],
    [
      'with 17 dimensions',
      withTensor({ shape: Array(17).fill(1), strides: Array(17).fill(1) }),
      /malformed tensor/,
    ],
    [
      'whose storage is shorter than it says',
      withTensor({}, floats(3)),
      /storage of tensor w.*4 elements of float32.*12 bytes/,
    ],
    ['whose storage is longer than it says', withTensor({}, floats(5)), /another size/],
    [
      'whose storage has another type',
      withTensor({ type: 'HalfStorage' }),
      /4 elements of float16.*16 bytes/,
    ],
    [
      'whose storage claims 2^62 bytes',
      withTensor({ elements: 2 ** 52, type: 'DoubleStorage' }),
      /another size/,
    ],
    ['whose storage is missing', withTensor({ key: '1' }), /not in the archive.*data\/1/],
    ['whose storage is a path', withTensor({ key: '../data.pkl' }), /malformed storage/],
    [
      'whose storage has no allowed type',
      withTensor({ type: 'UntypedStorage' }),
      /torch\.UntypedStorage/,
    ],
    [
      'whose storage type is a function',
      torchFile(
        new PickleWriter()
          .raw('(')
          .text('storage')
          .global('torch', 'Size')
          .text('0')
          .text('cpu')
          .int(4)
          .raw('t', 'Q')
          .end(),
      ),
      /malformed storage/,
    ],
    [
      'with an impossible name',
      torchFile(stateDictPickle({ ['n'.repeat(1025)]: vector }), [floats(4)]),
      /impossible length/,
    ],
  ];
  it.each(cases)('%s', async (_, file, message) => {
    expect((await refusal(file)).message).toMatch(message);
  });
});

describe('a file is refused', () => {
  const pickle = stateDictPickle({});
  const data = (name: string) => ({ name, data: pickle });
  const tar = Buffer.alloc(512);
  tar.write('ustar', 257);
  const bigEndian = zipFile([
    data('archive/data.pkl'),
    { name: 'archive/byteorder', data: Buffer.from('big') },
  ]);
  const cases: [string, Buffer, RegExp][] = [
    ['when empty', Buffer.alloc(0), /not a PyTorch checkpoint/],
    ['when it is something else', Buffer.from('GGML....'), /not a PyTorch checkpoint.*47474d4c/],
    ['when it is GGUF', Buffer.from('GGUF....'), /is a GGUF file under another name.*safetensors/],
    ['when it is a tar archive', tar, /tar archive of an early PyTorch.*save_file/],
    [
      'when it is a Git LFS pointer',
      Buffer.from('version https://git-lfs.github.com/spec/v1'),
      /git lfs pull/,
    ],
    ['when cut off', withTensor({}).subarray(0, -30), /cut off/],
    ['without a pickle', zipFile([data('archive/other.pkl')]), /not what torch\.save writes/],
    ['with a pickle at the top', zipFile([data('data.pkl')]), /not what torch\.save writes/],
    ['with two pickles', zipFile([data('a/data.pkl'), data('b/data.pkl')]), /one data\.pkl/],
    [
      'when it is TorchScript',
      zipFile([data('a/data.pkl'), data('a/constants.pkl')]),
      /TorchScript/,
    ],
    ['when big-endian', bigEndian, /byte order.*little.*big/],
    [
      'with a compressed pickle',
      zipFile([{ ...data('archive/data.pkl'), method: 8 }]),
      /compressed/,
    ],
    [
      'with a compressed storage',
      torchFile(pickle, [], [{ name: 'archive/data/0', data: floats(1), method: 8 }]),
      /data\/0 is compressed/,
    ],
  ];
  it.each(cases)('%s', async (_, file, message) => {
    expect((await refusal(file)).message).toMatch(message);
  });
});
