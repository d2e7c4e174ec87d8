import { TokenizerError } from '../../errors.js';

/** A value of the interpreter. */
export interface Value {
  readonly type: string;
  readonly value: unknown;
  toString(): string;
}

/**
 * Nodes evaluated, and work on text and lists in units of about the same time: 0.2 us. The longest
 * template published takes 200 for a message; each unit of the conversation's weight is one more.
 */
export const MAX_STEPS = 2_000_000;
/**
 * Weight of one value: characters and 16 for each string, list and mapping in it, 8 for each number. Four
 * times the weight of the conversation is added. Llama 3.1's template with 100 tools makes a text of 200 K.
 */
export const MAX_WEIGHT = 4 * 1024 * 1024;
/** Nodes inside each other while they are evaluated, calls of macros included; published ones reach 60. */
export const MAX_DEPTH = 500;
/** Lists and mappings inside each other. */
const MAX_NESTING = 100;
/** Values that a template is given: 300,000 messages. Each is an object of the interpreter's before it is weighed. */
const MAX_GIVEN = 2 ** 20;

interface Measure {
  weight: number;
  depth: number;
  /** Holds a namespace, which may change. */
  mutable: boolean;
}

/** What rendering one template may cost. */
export class Budget {
  readonly #name: string;
  readonly #known = new WeakMap<object, Measure>();
  readonly #open = new Set<object>();
  #maxSteps = Number.POSITIVE_INFINITY;
  #maxWeight = Number.POSITIVE_INFINITY;
  #steps = 0;
  #given = 0;
  #depth = 0;

  /** @param name of the template, for messages. */
  constructor(name: string) {
    this.#name = name;
  }

  /** Begins to count, for a conversation of this weight. */
  start(weight: number): void {
    this.#maxSteps = MAX_STEPS + weight;
    this.#maxWeight = MAX_WEIGHT + 4 * weight;
  }

  /** @throws TokenizerError that names the template and the limit. */
  #exceeded(limit: string, most: number): never {
    throw new TokenizerError(`The chat template exceeds its limit of ${limit}`, {
      subject: this.#name,
      expected: `at most ${most}`,
      remedy: 'The template runs away, or is hostile; pass another one as chat_template.',
    });
  }

  /**
   * Counts what the caller gives a template, before the interpreter copies it: a list may claim any length.
   *
   * @param value as JavaScript has it.
   */
  admit(name: string, value: unknown, depth = 0): void {
    if (typeof value !== 'object' || value === null) return;
    if (depth > MAX_NESTING) this.#exceeded('lists and mappings inside each other', MAX_NESTING);
    const isView = ArrayBuffer.isView(value);
    this.#given += Array.isArray(value)
      ? value.length
      : isView
        ? value.byteLength
        : Object.keys(value).length;
    if (!(this.#given <= MAX_GIVEN)) {
      throw new TokenizerError(`\`${name}\` has more values than a chat template can be given`, {
        subject: name,
        expected: `at most ${MAX_GIVEN} values in all`,
        found: this.#given,
        remedy: 'Render fewer messages at a time.',
      });
    }
    if (isView) return;
    for (const part of Array.isArray(value) ? value : Object.values(value)) {
      this.admit(name, part, depth + 1);
    }
  }

  /** Counts work. */
  charge(steps: number): void {
    this.#steps += steps;
    if (!(this.#steps <= this.#maxSteps)) this.#exceeded('steps', this.#maxSteps);
  }

  enter(): void {
    if (++this.#depth > MAX_DEPTH) this.#exceeded('nested evaluations', MAX_DEPTH);
    this.charge(1);
  }

  leave(): void {
    this.#depth--;
  }

  /** Refuses a value of this weight before it is made. */
  allow(weight: number): void {
    if (!(weight <= this.#maxWeight)) this.#exceeded('size of a value', this.#maxWeight);
  }

  /** Weight and depth of a value; shared parts count as often as they are seen. */
  measure(value: Value): Measure {
    const { type, value: content } = value;
    if (type === 'StringValue') {
      return this.#checked((content as string).length + 16, 0, false);
    }
    const parts =
      type === 'ArrayValue' || type === 'TupleValue'
        ? (content as readonly Value[])
        : content instanceof Map
          ? (content as Map<string, Value>).values()
          : null;
    if (parts === null) return { weight: 8, depth: 0, mutable: false };
    const known = this.#known.get(value);
    if (known !== undefined) return known;
    if (this.#open.has(value) || this.#open.size > MAX_NESTING) {
      this.#exceeded('lists and mappings inside each other', MAX_NESTING);
    }
    this.#open.add(value);
    let weight = 16;
    let depth = 0;
    let mutable = type === 'NamespaceValue';
    let count = 0;
    for (const part of parts) {
      count++;
      const inner = this.measure(part);
      weight += inner.weight;
      depth = Math.max(depth, inner.depth);
      mutable ||= inner.mutable;
      if (weight > this.#maxWeight) break;
    }
    if (content instanceof Map) for (const key of content.keys()) weight += key.length + 16;
    this.#open.delete(value);
    this.charge(count / 8);
    const measure = this.#checked(weight, depth + 1, mutable);
    if (!mutable) this.#known.set(value, measure);
    return measure;
  }

  #checked(weight: number, depth: number, mutable: boolean): Measure {
    this.allow(weight);
    if (depth > MAX_NESTING) this.#exceeded('lists and mappings inside each other', MAX_NESTING);
    return { weight, depth, mutable };
  }
}
