/**
 * What a pickle can describe here. These are plain descriptions: none of them has behaviour, and none
 * is ever turned into the Python object that it stands for.
 */

/** A Python tuple; `torch.Size` becomes one too. */
export class PickleTuple {
  constructor(readonly items: readonly PickleValue[]) {}
}

/** A Python list. */
export class PickleList {
  readonly items: PickleValue[] = [];
}

/** A Python dict or OrderedDict, in insertion order. */
export class PickleDict {
  readonly entries = new Map<PickleValue, PickleValue>();
}

/** An allowed global that was named; `call` describes the result of calling it, where that is allowed. */
export class PickleGlobal {
  constructor(
    readonly qualifiedName: string,
    readonly call?: (args: readonly PickleValue[]) => PickleValue,
  ) {}
}

/** Base of the objects that a `persistentLoad` or a global's `call` makes up. */
export abstract class PickleObject {
  abstract readonly kind: string;
}

/** Integers outside of +-2^53 are bigint. */
export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | PickleTuple
  | PickleList
  | PickleDict
  | PickleGlobal
  | PickleObject;

/** For messages: what kind of thing a value is, in Python's words. */
export function describeValue(value: PickleValue): string {
  if (value === null) return 'None';
  if (value instanceof PickleTuple) return `tuple of ${value.items.length}`;
  if (value instanceof PickleList) return `list of ${value.items.length}`;
  if (value instanceof PickleDict) return `dict of ${value.entries.size}`;
  if (value instanceof PickleGlobal) return value.qualifiedName;
  if (value instanceof PickleObject) return value.kind;
  if (typeof value === 'string') return `str ${JSON.stringify(value.slice(0, 60))}`;
  return `${typeof value === 'boolean' ? 'bool' : 'int or float'} ${value}`;
}
