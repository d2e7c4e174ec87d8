import { decodeUtf8 } from '../bounded-file.js';
import { CheckpointError } from '../errors.js';
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
}

const OLDEST_PROTOCOL = 2;
const NEWEST_PROTOCOL = 4;

/** Remedy that fits everything refused because it is not a plain state dict. */
export const CONVERT_REMEDY =
  'Load only checkpoints from sources you trust in Python, and save the bare state dict from there ' +
  '(safetensors.torch.save_file); komt reads descriptions of tensors and runs nothing.';

/** The stack machine over one pickle. */
class Unpickler {
  private at = 0;
  private stack: PickleValue[] = [];
  private readonly marks: PickleValue[][] = [];
  private readonly memo = new Map<number, PickleValue>();

  constructor(
    private readonly bytes: Buffer,
    private readonly context: PickleContext,
  ) {}

  run(): PickleValue {
    for (;;) {
      const start = this.at;
      const op = this.u8();
      if (op === Op.Stop) {
        if (this.stack.length !== 1 || this.marks.length !== 0) {
          this.fail('The pickle ends with an unbalanced stack');
        }
        return this.pop();
      }
      this.step(op, start);
      if (this.stack.length > LIMITS.pickleStack || this.marks.length > LIMITS.pickleStack) {
        this.fail('The pickle needs too much stack', `at most ${LIMITS.pickleStack} values`);
      }
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

  private take(length: number): Buffer {
    const end = this.at + length;
    if (end > this.bytes.length) this.fail('The pickle ends in the middle of an instruction');
    const part = this.bytes.subarray(this.at, end);
    this.at = end;
    return part;
  }

  private u8(): number {
    return this.take(1).readUInt8(0);
  }

  private text(length: number): string {
    return decodeUtf8(this.take(length), this.context.file);
  }

  private line(): string {
    const end = this.bytes.indexOf(0x0a, this.at);
    if (end < 0) this.fail('The pickle ends in the middle of an instruction');
    const text = this.text(end - this.at);
    this.at = end + 1;
    return text;
  }

  /** Two's complement, little-endian, `length` bytes. */
  private long(length: number): number | bigint {
    let value = 0n;
    const bytes = this.take(length);
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes.readUInt8(i));
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
    return items;
  }

  private tuple(count: number): void {
    if (this.stack.length < count) {
      this.fail('The pickle takes more from the stack than it put there');
    }
    this.stack.push(new PickleTuple(this.stack.splice(this.stack.length - count, count)));
  }

  private get(index: number): void {
    const value = this.memo.get(index);
    if (value === undefined) this.fail(`The pickle refers to memo ${index}, which it did not set`);
    this.stack.push(value);
  }

  private global(module: PickleValue, name: PickleValue): void {
    if (typeof module !== 'string' || typeof name !== 'string') {
      this.fail('The pickle names a global by something that is no string');
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
    this.stack.push(callee.call(args.items));
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
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i] as PickleValue;
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
        this.take(8);
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
        this.stack.push(this.take(4).readInt32LE(0));
        return;
      case Op.BinInt1:
        this.stack.push(this.u8());
        return;
      case Op.BinInt2:
        this.stack.push(this.take(2).readUInt16LE(0));
        return;
      case Op.Long1:
        this.stack.push(this.long(this.u8()));
        return;
      case Op.BinFloat:
        this.stack.push(this.take(8).readDoubleBE(0));
        return;
      case Op.BinUnicode:
        this.stack.push(this.text(this.take(4).readUInt32LE(0)));
        return;
      case Op.ShortBinUnicode:
        this.stack.push(this.text(this.u8()));
        return;
      case Op.EmptyTuple:
        this.stack.push(new PickleTuple([]));
        return;
      case Op.EmptyList:
        this.stack.push(new PickleList());
        return;
      case Op.EmptyDict:
        this.stack.push(new PickleDict());
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
        this.marks.push(this.stack);
        this.stack = [];
        return;
      case Op.Tuple: {
        const items = this.popMark();
        this.stack.push(new PickleTuple(items));
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
        this.memo.set(this.u8(), this.top());
        return;
      case Op.LongBinPut:
        this.memo.set(this.take(4).readUInt32LE(0), this.top());
        return;
      case Op.Memoize:
        this.memo.set(this.memo.size, this.top());
        return;
      case Op.BinGet:
        this.get(this.u8());
        return;
      case Op.LongBinGet:
        this.get(this.take(4).readUInt32LE(0));
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
        this.stack.push(this.context.persistentLoad(this.pop()));
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
 * @throws CheckpointError naming the global, opcode or inconsistency.
 */
export function readPickle(bytes: Buffer, context: PickleContext): PickleValue {
  if (bytes.length > LIMITS.pickleBytes) {
    throw new CheckpointError('The pickle is too large for a state dict', {
      file: context.file,
      expected: `at most ${LIMITS.pickleBytes} bytes`,
      found: `${bytes.length} bytes`,
    });
  }
  return new Unpickler(bytes, context).run();
}
