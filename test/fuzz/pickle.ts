import { Op } from '../../lib/checkpoint/pickle-opcodes.js';
import type { Random } from './random.js';

/** Bytes of an opcode's argument; -4 and -1 are lengths of that many bytes before it, -2 two lines. */
const ARGUMENT: ReadonlyMap<number, number> = new Map([
  [Op.BinFloat, 8],
  [Op.BinInt, 4],
  [Op.BinInt1, 1],
  [Op.BinInt2, 2],
  [Op.BinUnicode, -4],
  [Op.Global, -2],
  [Op.BinGet, 1],
  [Op.LongBinGet, 4],
  [Op.BinPut, 1],
  [Op.LongBinPut, 4],
  [Op.Proto, 1],
  [Op.Long1, -1],
  [Op.ShortBinUnicode, -1],
  [Op.Frame, 8],
]);

function end(bytes: Buffer, at: number): number {
  const argument = ARGUMENT.get(bytes[at] as number) ?? 0;
  const next = at + 1;
  if (argument >= 0) return next + argument;
  if (argument === -1) return next + 1 + (bytes[next] ?? 0);
  if (argument === -4) return next + 4 + (next + 4 <= bytes.length ? bytes.readUInt32LE(next) : 0);
  const line = bytes.indexOf(10, next);
  return line < 0 ? bytes.length : bytes.indexOf(10, line + 1) + 1 || bytes.length;
}

/** The instructions of a pickle, each with its argument. */
function instructions(pickle: Buffer): Buffer[] {
  const out: Buffer[] = [];
  for (let at = 0; at < pickle.length; ) {
    const next = Math.min(pickle.length, end(pickle, at));
    out.push(pickle.subarray(at, next));
    at = next;
  }
  return out;
}

const GLOBALS = [
  'torch._utils\n_rebuild_tensor_v2\n',
  'torch._utils\n_rebuild_parameter\n',
  'torch\nFloatStorage\n',
  'torch\nSize\n',
  'collections\nOrderedDict\n',
  'os\nsystem\n',
];

function argument(length: number, random: Random): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = random.pick([0, 0, 0, 1, 2, 4, 0x7f, 0x80, 0xff]);
  return bytes;
}

/** An instruction of any kind that is known, with an argument of its own. */
function instruction(random: Random): Buffer {
  const op = random.pick(Object.values(Op));
  const length = ARGUMENT.get(op) ?? 0;
  const parts: Buffer[] = [Buffer.from([op])];
  if (length >= 0) parts.push(argument(length, random));
  else if (length === -2) parts.push(Buffer.from(random.pick(GLOBALS)));
  else {
    const bytes = op === Op.Long1 ? argument(random.below(20), random) : Buffer.from('text');
    const size = Buffer.alloc(-length);
    size.writeUIntLE(bytes.length, 0, size.length);
    parts.push(size, bytes);
  }
  return Buffer.concat(parts);
}

/** Another argument of the same kind. */
function change(old: Buffer, random: Random): Buffer {
  const op = old[0] as number;
  const length = ARGUMENT.get(op);
  if (length === undefined || length < 0) return instruction(random);
  return Buffer.concat([Buffer.from([op]), argument(length, random)]);
}

/** A pickle with one to four instructions added, removed, changed, moved, or repeated many times. */
export function mutatePickle(pickle: Buffer, random: Random): Buffer {
  const list = instructions(pickle);
  for (let i = random.below(4); i >= 0; i--) {
    const at = random.below(list.length);
    const count = 1 + random.below(8);
    switch (random.below(7)) {
      case 0:
        list.splice(at, count > 6 ? count : 1);
        break;
      case 1:
        list.splice(at, 0, instruction(random));
        break;
      case 2:
        list.splice(at, 0, ...list.slice(at, at + count));
        break;
      case 3:
        list.splice(random.below(list.length), 0, ...list.splice(at, count));
        break;
      case 4: {
        const piece = Buffer.concat(list.slice(at, at + count));
        const times = Math.min(
          2 ** random.below(23),
          // Rarely as much as a pickle may have: such an input takes half a second.
          (random.chance(0.05) ? 8e6 : 1e4) / Math.max(1, piece.length),
        );
        list.splice(at, 0, Buffer.alloc(Math.floor(times) * piece.length, piece));
        break;
      }
      default: {
        const old = list[at];
        if (old !== undefined) list[at] = change(old, random);
      }
    }
    if (list.length === 0) list.push(Buffer.from('.'));
  }
  return Buffer.concat(list);
}
