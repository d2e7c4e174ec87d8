import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { openCheckpoint } from '../../../lib/checkpoint/open.js';
import {
  PickleWriter,
  stateDictPickle,
  torchFile,
  type ZipFileEntry,
  zip64End,
  zipFile,
} from '../../checkpoint/builders.js';
import { requireInside } from '../checkpoint.js';
import { mutatePickle } from '../pickle.js';
import { damage, type Random } from '../random.js';
import type { FuzzTarget } from '../target.js';

const FIXTURES = 'test/fixtures/checkpoint';

/** Entries of an archive of stored entries; undefined where it is too damaged to be taken apart. */
function entries(archive: Buffer): ZipFileEntry[] | undefined {
  const out: ZipFileEntry[] = [];
  const end = archive.lastIndexOf('PK\x05\x06', undefined, 'latin1');
  if (end < 0 || end + 22 > archive.length) return undefined;
  let at = archive.readUInt32LE(end + 16);
  while (at + 46 <= end && archive.readUInt32LE(at) === 0x02014b50) {
    const nameEnd = at + 46 + archive.readUInt16LE(at + 28);
    const name = archive.toString('utf8', at + 46, nameEnd);
    const header = archive.readUInt32LE(at + 42);
    if (header + 30 > archive.length) return undefined;
    const start =
      header + 30 + archive.readUInt16LE(header + 26) + archive.readUInt16LE(header + 28);
    out.push({ name, data: archive.subarray(start, start + archive.readUInt32LE(at + 24)) });
    at = nameEnd + archive.readUInt16LE(at + 30) + archive.readUInt16LE(at + 32);
  }
  return out.length > 0 ? out : undefined;
}

/** A lie of one record about its entry. */
function lie(entry: ZipFileEntry, random: Random): ZipFileEntry {
  const size = random.pick([0, 1, entry.data.length + 1, 2 ** 31, 2 ** 32 - 1]);
  switch (random.below(7)) {
    case 0:
      return { ...entry, method: 8 };
    case 1:
      return { ...entry, flags: random.pick([1, 8, 9, 0x800]) };
    case 2:
      return { ...entry, size };
    case 3:
      return { ...entry, storedSize: size };
    case 4:
      return { ...entry, headerOffset: size };
    case 5:
      return { ...entry, localSize: size };
    default:
      return { ...entry, localName: `${entry.name}x`.slice(random.below(2)) };
  }
}

function withZip64(archive: Buffer, random: Random): Buffer {
  const end = archive.length - 22;
  const size = archive.readUInt32LE(end + 12);
  const offset = archive.readUInt32LE(end + 16);
  const count = archive.readUInt16LE(end + 10) + random.pick([0, 0, 1, 2 ** 20]);
  const short = Buffer.from(archive.subarray(end));
  if (random.chance(0.5)) short.fill(0xff, 8, 20);
  return Buffer.concat([archive.subarray(0, end), zip64End(count, size, offset), short]);
}

function mutateEntries(list: ZipFileEntry[], random: Random): ZipFileEntry[] {
  const at = random.below(list.length);
  const entry = list[at] as ZipFileEntry;
  switch (random.below(6)) {
    case 0:
      return list.filter((_, i) => i !== at);
    case 1:
      return [...list, { ...entry, name: random.chance(0.5) ? entry.name : `${entry.name}2` }];
    case 2:
      return list.with(at, { ...entry, data: entry.data.subarray(random.below(4)) });
    case 3: {
      const extra = random.pick(['constants.pkl', 'data.pkl', 'byteorder', 'data/7', '']);
      return [...list, { name: `archive/${extra}`, data: Buffer.from('big') }];
    }
    case 4: {
      const many = 2 ** random.below(random.chance(0.05) ? 16 : 6);
      const small = (_: unknown, i: number) => ({ name: `archive/${i}`, data: Buffer.alloc(0) });
      return [...list, ...Array.from({ length: many }, small)];
    }
    default:
      return list.with(at, lie(entry, random));
  }
}

function seeds(): Buffer[] {
  const tensor = { elements: 4, shape: [2, 2], strides: [2, 1] };
  const parameter = new PickleWriter()
    .emptyDict()
    .raw('(')
    .text('p')
    .global('torch._utils', '_rebuild_parameter')
    .raw('(')
    .tensor(tensor)
    .raw(0x89)
    .emptyDict()
    .raw('t', 'R', 'u');
  return [
    ...['dtypes', 'views', 'module', 'protocol4', 'nested', 'legacy'].map((name) =>
      readFileSync(path.join(FIXTURES, `${name}.bin`)),
    ),
    torchFile(stateDictPickle({ a: tensor, b: { ...tensor, offset: 1, shape: [], strides: [] } }), [
      Buffer.alloc(16),
    ]),
    torchFile(parameter.end(), [Buffer.alloc(16)]),
    Buffer.concat([Buffer.alloc(257), Buffer.from('ustar'), Buffer.alloc(250)]),
    Buffer.from('version https://git-lfs.github.com/spec/v1\n'),
  ];
}

/** pytorch_model.bin: a zip archive with a pickle in it. */
export const target: FuzzTarget = {
  name: 'torch-bin',
  sources: [
    'lib/checkpoint/torch-bin.ts',
    'lib/checkpoint/zip.ts',
    'lib/checkpoint/pickle.ts',
    'lib/checkpoint/pickle-values.ts',
    'lib/checkpoint/torch-objects.ts',
  ],
  minimumCoverage: 80,
  seeds,
  mutate(input, random) {
    const list = random.chance(0.9) ? entries(Buffer.from(input)) : undefined;
    if (list === undefined) return damage(input, random);
    const pickle = list.findIndex(({ name }) => name.endsWith('data.pkl'));
    if (pickle >= 0 && random.chance(0.65)) {
      const entry = list[pickle] as ZipFileEntry;
      return zipFile(list.with(pickle, { ...entry, data: mutatePickle(entry.data, random) }));
    }
    const archive = zipFile(mutateEntries(list, random));
    return random.chance(0.15) ? withZip64(archive, random) : archive;
  },
  async run(input, folder) {
    writeFileSync(path.join(folder, 'pytorch_model.bin'), input);
    requireInside(await openCheckpoint(folder));
  },
  planted: {
    file: 'lib/checkpoint/pickle.ts',
    find: "if (outer === undefined) this.fail('The pickle refers to a mark that it did not set');",
    replace: '',
  },
};
