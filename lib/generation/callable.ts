import { InvalidArgumentError, invalidArgument } from '../errors.js';
import { checkLimit, MAX_CALLABLES } from './limits.js';

/**
 * Classes whose instances can be called, as Python objects with `__call__` can: `processor(ids,
 * scores)` runs `processor._call(ids, scores)`.
 */
export abstract class Callable {
  constructor() {
    const self = ((...args: unknown[]) => {
      const { _call } = self as unknown as { _call?(...args: unknown[]): unknown };
      if (typeof _call === 'function') return _call.apply(self, args);
      throw new InvalidArgumentError(`${new.target.name || 'The class'} has no method _call`, {
        subject: '_call',
        remedy: "Define `_call` with the arguments that Python's `__call__` has.",
      });
    }) as object;
    // Functions own `length` and `name`; without them the class's own members of that name show.
    Reflect.deleteProperty(self, 'length');
    Reflect.deleteProperty(self, 'name');
    // biome-ignore lint/correctness/noConstructorReturn: the instance is a function with this class's prototype
    return Object.setPrototypeOf(self, new.target.prototype);
  }
}

/**
 * A list whose instances can be called. Takes what Python's `list` does where it matters here:
 * construction from an iterable, `push` (`append`), `extend`, `length`, iteration and `at`.
 */
export abstract class CallableList<T> extends Callable implements Iterable<T> {
  readonly items: T[] = [];

  /** @throws InvalidArgumentError for what is no list, or one without end */
  constructor(items: Iterable<T> = []) {
    super();
    this.extend(items);
  }

  get length(): number {
    return this.items.length;
  }

  /** The i-th entry; negative indices count from the end. */
  at(index: number): T | undefined {
    if (!Number.isInteger(index)) throw invalidArgument('index', 'an integer', index);
    return this.items.at(index);
  }

  /** Appends entries. */
  push(...items: T[]): this {
    return this.extend(items);
  }

  /** `push` of one entry, under Python's name. */
  append(item: T): this {
    return this.push(item);
  }

  /** Appends all entries of another list or iterable. */
  extend(items: Iterable<T>): this {
    if (typeof items?.[Symbol.iterator] !== 'function') {
      throw invalidArgument('items', 'a list', items);
    }
    for (const item of items) {
      this.items.push(item);
      checkLimit('items', this.items.length, MAX_CALLABLES, 'entries of a list');
    }
    return this;
  }

  [Symbol.iterator](): Iterator<T> {
    return this.items[Symbol.iterator]();
  }
}
