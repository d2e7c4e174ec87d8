import { decodeUtf8 } from '../bounded-file.js';
import { CheckpointError } from '../errors.js';
import { TimeSlice } from '../time-slice.js';
import { Op } from './pickle-opcodes.js';
import {
  describeValue,
  PickleDict,
  PickleGlobal,
  PickleList,
  PickleTuple,
  type PickleValue,
} from './pickle-values.js';
import { LIMITS } from './types.js';

/** What {@link readPickle} may understand beyond plain values. */
export interface PickleContext {
  /** File that the pickle is in, for messages. */
  file: string;
  /** The allow-list, by "module.name". Anything else in the pickle is refused by its name. */
  globals: ReadonlyMap<string, PickleGlobal>;
  /** Describes the object behind a persistent id. */
  persistentLoad: (id: PickleValue) => PickleValue;
  signal?: AbortSignal;
}

const OLDEST_PROTOCOL = 2;
const NEWEST_PROTOCOL = 4;

/** Remedy that fits everything refused because it is not a plain state dict. */
export const CONVERT_REMEDY =
  'Load only checkpoints from sources you trust in Python, and save the bare state dict from there ' +
  '(safetensors.torch.save_file); komt reads descriptions of tensors and runs nothing.';

// What V8 takes for a value, rounded up. Values are charged when they are made and never credited.
const DICT_BYTES = 256;
const SEQUENCE_BYTES = 96;
const ITEM_BYTES = 16;
const SCALAR_BYTES = 32;
const OBJECT_BYTES = 128;

/** Instructions between two looks at the clock. */
const STEPS_PER_LOOK = 1024;

/** The stack machine over one pickle. */
class Unpickler {
  private at = 0;
  private stack: PickleValue[] = [];
  private readonly marks: PickleValue[][] = [];
  /** Marks, and values on the stacks under `stack`. */
  private below = 0;
  /** By index: picklers count from 0. */
  private readonly memo: PickleValue[] = [];
  private memory = 0;
  private entries = 0;
  private otherKeys = 0;

  constructor(
    private readonly bytes: Buffer,
    private readonly context: PickleContext,
  ) {}

  async run(): Promise<PickleValue> {
    const slice = new TimeSlice(this.context.signal);
    for (let steps = 1; ; steps++) {
      if (steps % STEPS_PER_LOOK === 0 && slice.due()) await slice.next();
      if (steps > LIMITS.pickleSteps) {
        this.fail('The pickle is longer than a state dict needs', `${LIMITS.pickleSteps} steps`);
      }
      const start = this.at;
      const op = this.u8();
      if (op === Op.Stop) {
        if (this.stack.length !== 1 || this.marks.length !== 0) {
          this.fail('The pickle ends with an unbalanced stack');
        }
        return this.pop();
      }
      this.step(op, start);
      if (this.below + this.stack.length > LIMITS.pickleStack) {
        this.fail('The pickle needs too much stack', `at most ${LIMITS.pickleStack} values`);
      }
    }
  }

  /** Pushes a value that is made now and takes about `bytes`. */
  private make(value: PickleValue, bytes: number): void {
    this.charge(bytes);
    this.stack.push(value);
  }

  private charge(bytes: number): void {
    this.memory += bytes;
    if (this.memory > LIMITS.pickleMemory) {
      this.fail(
        'The pickle describes more than a state dict needs',
        `values of at most ${LIMITS.pickleMemory} bytes`,
      );
    }
  }

  private fail(message: string, expected?: unknown, found?: unknown): never {
    throw new CheckpointError(message, {
      file: this.context.file,
      subject: `byte ${this.at} of the pickle`,
      expected,
      found,
      remedy: CONVERT_REMEDY,
    });
  }

  /** Where the next `length` bytes begin, which are passed over. */
  private advance(length: number): number {
    const start = this.at;
    if (start + length > this.bytes.length) {
      this.fail('The pickle ends in the middle of an instruction');
    }
    this.at = start + length;
    return start;
  }

  private u8(): number {
    return this.bytes[this.advance(1)] as number;
  }

  private u32(): number {
    return this.bytes.readUInt32LE(this.advance(4));
  }

  private text(length: number): string {
    const start = this.advance(length);
    return decodeUtf8(this.bytes.subarray(start, this.at), this.context.file);
  }

  private string(length: number): void {
    this.make(this.text(length), SCALAR_BYTES + 2 * length);
  }

  private line(): string {
    const rest = this.bytes.subarray(this.at, this.at + LIMITS.pickleGlobalBytes + 1);
    const length = rest.indexOf(0x0a);
    if (length < 0) {
      this.fail(
        rest.length <= LIMITS.pickleGlobalBytes
          ? 'The pickle ends in the middle of an instruction'
          : 'The pickle names a global by an impossible name',
      );
    }
    const text = this.text(length);
    this.at++;
    return text;
  }

  /** Two's complement, little-endian, `length` bytes. */
  private long(length: number): number | bigint {
    if (length > LIMITS.pickleLongBytes) {
      this.fail(
        'The pickle has an integer that is too long',
        `at most ${LIMITS.pickleLongBytes} bytes`,
        `${length} bytes`,
      );
    }
    let value = 0n;
    const start = this.advance(length);
    for (let i = length - 1; i >= 0; i--) {
      value = (value << 8n) | BigInt(this.bytes[start + i] as number);
    }
    value = BigInt.asIntN(8 * length, value);
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : value;
  }

  private pop(): PickleValue {
    const value = this.stack.pop();
    if (value === undefined) this.fail('The pickle takes more from the stack than it put there');
    return value;
  }

  private top(): PickleValue {
    const value = this.stack.at(-1);
    if (value === undefined) this.fail('The pickle takes more from the stack than it put there');
    return value;
  }

  /** Values since the last mark; the mark is removed. */
  private popMark(): PickleValue[] {
    const items = this.stack;
    const outer = this.marks.pop();
    if (outer === undefined) this.fail('The pickle refers to a mark that it did not set');
    this.stack = outer;
    this.below -= outer.length + 1;
    return items;
  }

  private mark(): void {
    this.charge(SEQUENCE_BYTES);
    this.marks.push(this.stack);
    this.below += this.stack.length + 1;
    this.stack = [];
  }

  private put(index: number): void {
    const value = this.top();
    if (index >= LIMITS.pickleMemo) {
      this.fail('The pickle uses an impossible memo', `less than ${LIMITS.pickleMemo}`, index);
    }
    this.charge(ITEM_BYTES);
    this.memo[index] = value;
  }

  private tuple(count: number): void {
    if (this.stack.length < count) {
      this.fail('The pickle takes more from the stack than it put there');
    }
    const items = this.stack.splice(this.stack.length - count, count);
    this.make(new PickleTuple(items), SEQUENCE_BYTES + ITEM_BYTES * count);
  }

  private get(index: number): void {
    const value = this.memo[index];
    if (value === undefined) this.fail(`The pickle refers to memo ${index}, which it did not set`);
    this.stack.push(value);
  }

  private global(module: PickleValue, name: PickleValue): void {
    if (typeof module !== 'string' || typeof name !== 'string') {
      this.fail('The pickle names a global by something that is no string');
    }
    if (Math.max(module.length, name.length) > LIMITS.pickleGlobalBytes) {
      this.fail('The pickle names a global by an impossible name');
    }
    const qualifiedName = `${module}.${name}`;
    const allowed = this.context.globals.get(qualifiedName);
    if (allowed === undefined) {
      throw new CheckpointError(
        `The pickle refers to ${qualifiedName}, which is not on the list of what a state dict needs; ` +
          'nothing was executed',
        {
          file: this.context.file,
          subject: qualifiedName,
          remedy: CONVERT_REMEDY,
        },
      );
    }
    this.stack.push(allowed);
  }

  private reduce(): void {
    const args = this.pop();
    const callee = this.pop();
    if (!(callee instanceof PickleGlobal) || callee.call === undefined) {
      this.fail(
        'The pickle calls something that may not be called',
        undefined,
        describeValue(callee),
      );
    }
    if (!(args instanceof PickleTuple)) {
      this.fail(`The pickle calls ${callee.qualifiedName} without a tuple of arguments`);
    }
    this.make(callee.call(args.items), OBJECT_BYTES + DICT_BYTES);
  }

  private setItems(items: readonly PickleValue[]): void {
    const target = this.top();
    if (!(target instanceof PickleDict)) {
      this.fail(
        'The pickle sets items of something that is no dict',
        'dict',
        describeValue(target),
      );
    }
    if (items.length % 2 !== 0) this.fail('The pickle sets a dict key without a value');
    this.entries += items.length / 2;
    if (this.entries > LIMITS.pickleEntries) {
      this.fail('The pickle has too many dict entries', `at most ${LIMITS.pickleEntries}`);
    }
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i] as PickleValue;
      if (typeof key !== 'string' && ++this.otherKeys > LIMITS.pickleOtherKeys) {
        this.fail(
          'The pickle has too many dict keys that are no strings',
          `at most ${LIMITS.pickleOtherKeys}`,
        );
      }
      if (target.entries.has(key)) {
        this.fail('The pickle sets a dict key twice', undefined, describeValue(key));
      }
      target.entries.set(key, items[i + 1] as PickleValue);
    }
  }

  private append(items: readonly PickleValue[]): void {
    const target = this.top();
    if (!(target instanceof PickleList)) {
      this.fail('The pickle appends to something that is no list', 'list', describeValue(target));
    }
    if (target.items.length + items.length > LIMITS.pickleList) {
      this.fail('The pickle has a list that is too long', `at most ${LIMITS.pickleList} items`);
    }
    this.charge(ITEM_BYTES * items.length);
    for (const item of items) target.items.push(item);
  }

  /** State of an OrderedDict, that is its attributes such as `_metadata`: not part of the tensors. */
  private build(): void {
    const state = this.pop();
    const target = this.top();
    if (!(target instanceof PickleDict) || !(state instanceof PickleDict)) {
      this.fail(
        'The pickle sets the state of something other than an OrderedDict',
        undefined,
        describeValue(target),
      );
    }
  }

  private step(op: number, start: number): void {
    switch (op) {
      case Op.Proto: {
        const protocol = this.u8();
        if (start !== 0 || protocol < OLDEST_PROTOCOL || protocol > NEWEST_PROTOCOL) {
          this.fail(
            'The pickle has an unexpected protocol',
            `${OLDEST_PROTOCOL} to ${NEWEST_PROTOCOL}`,
            protocol,
          );
        }
        return;
      }
      case Op.Frame:
        this.advance(8);
        return;
      case Op.None:
        this.stack.push(null);
        return;
      case Op.NewTrue:
        this.stack.push(true);
        return;
      case Op.NewFalse:
        this.stack.push(false);
        return;
      case Op.BinInt:
        this.stack.push(this.bytes.readInt32LE(this.advance(4)));
        return;
      case Op.BinInt1:
        this.stack.push(this.u8());
        return;
      case Op.BinInt2:
        this.stack.push(this.bytes.readUInt16LE(this.advance(2)));
        return;
      case Op.Long1:
        this.make(this.long(this.u8()), SCALAR_BYTES);
        return;
      case Op.BinFloat:
        this.make(this.bytes.readDoubleBE(this.advance(8)), SCALAR_BYTES);
        return;
      case Op.BinUnicode:
        this.string(this.u32());
        return;
      case Op.ShortBinUnicode:
        this.string(this.u8());
        return;
      case Op.EmptyTuple:
        this.make(new PickleTuple([]), SEQUENCE_BYTES);
        return;
      case Op.EmptyList:
        this.make(new PickleList(), SEQUENCE_BYTES);
        return;
      case Op.EmptyDict:
        this.make(new PickleDict(), DICT_BYTES);
        return;
      case Op.Tuple1:
        this.tuple(1);
        return;
      case Op.Tuple2:
        this.tuple(2);
        return;
      case Op.Tuple3:
        this.tuple(3);
        return;
      case Op.Mark:
        this.mark();
        return;
      case Op.Tuple: {
        const items = this.popMark();
        this.make(new PickleTuple(items), SEQUENCE_BYTES + ITEM_BYTES * items.length);
        return;
      }
      case Op.SetItem: {
        const value = this.pop();
        this.setItems([this.pop(), value]);
        return;
      }
      case Op.SetItems:
        this.setItems(this.popMark());
        return;
      case Op.Append:
        this.append([this.pop()]);
        return;
      case Op.Appends:
        this.append(this.popMark());
        return;
      case Op.BinPut:
        this.put(this.u8());
        return;
      case Op.LongBinPut:
        this.put(this.u32());
        return;
      case Op.Memoize:
        this.put(this.memo.length);
        return;
      case Op.BinGet:
        this.get(this.u8());
        return;
      case Op.LongBinGet:
        this.get(this.u32());
        return;
      case Op.Global: {
        const module = this.line();
        this.global(module, this.line());
        return;
      }
      case Op.StackGlobal: {
        const name = this.pop();
        this.global(this.pop(), name);
        return;
      }
      case Op.Reduce:
        this.reduce();
        return;
      case Op.BinPersId:
        this.make(this.context.persistentLoad(this.pop()), OBJECT_BYTES);
        return;
      case Op.Build:
        this.build();
        return;
      default:
        this.at = start;
        this.fail(
          'The pickle has an instruction that torch.save does not write for a state dict',
          undefined,
          `opcode 0x${op.toString(16).padStart(2, '0')}`,
        );
    }
  }
}

/**
 * Reads the pickle of a state dict into descriptions. It is a parser: there is no import, no attribute
 * look-up and no call of anything but the functions in `context`, so that a hostile pickle can at worst
 * be refused.
 * @throws CheckpointError naming the global, opcode or inconsistency; AbortError
 */
export async function readPickle(bytes: Buffer, context: PickleContext): Promise<PickleValue> {
  if (bytes.length > LIMITS.pickleBytes) {
    throw new CheckpointError('The pickle is too large for a state dict', {
      file: context.file,
      expected: `at most ${LIMITS.pickleBytes} bytes`,
      found: `${bytes.length} bytes`,
    });
  }
  return new Unpickler(bytes, context).run();
}
