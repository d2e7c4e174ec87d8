/**
 * Programs of calls, for the API fuzz targets: every export is called by a recipe, which says what the
 * arguments of a valid call are, and any argument may be replaced by something that nobody should pass.
 */
import type { Random } from './random.js';

/** A value of a program, as JSON: see {@link build}. */
export type Value =
  | { v: unknown }
  /** A number, a text or the like that JSON does not have. */
  | { special: string }
  /** One of the hostile objects. */
  | { hostile: string }
  /** The argument of a valid call, with what is put over its fields. */
  | { valid: string; with?: Record<string, Value> }
  | { list: Value[] }
  | { object: Record<string, Value> };

/** One call: a recipe by name, and its arguments. */
export interface Call {
  call: string;
  args: Value[];
}

/** Makes the valid arguments of a recipe; anything may be awaited. */
export interface Recipe {
  /** Names of the arguments that a valid call has, in order: keys of `Surface.values`. */
  args: readonly string[];
  /** Calls it; the promise, iterator or value that it gives is waited for by the caller. */
  run(args: unknown[]): unknown;
}

/** What a target offers to programs. */
export interface Surface {
  recipes: Readonly<Record<string, Recipe>>;
  /** Valid values by name, made anew for every use. */
  values: Readonly<Record<string, () => unknown>>;
}

/** Thrown by hostile objects; what comes out must be this very object. */
export class HostileError extends Error {
  override name = 'HostileError';
}

const explode = (): never => {
  throw new HostileError('thrown by the argument');
};

const SPECIAL: Readonly<Record<string, () => unknown>> = {
  undefined: () => undefined,
  nan: () => Number.NaN,
  infinity: () => Number.POSITIVE_INFINITY,
  minus: () => Number.NEGATIVE_INFINITY,
  negativeZero: () => -0,
  bigint: () => 10n,
  hugeBigint: () => 2n ** 80n,
  symbol: () => Symbol('x'),
  function: () => () => 1,
  async: () => async () => 1,
  never: () => () => new Promise(() => {}),
  rejects: () => () => Promise.reject(new HostileError('rejected by the argument')),
  class: () => class {},
  date: () => new Date(0),
  regexp: () => /x/,
  map: () => new Map([[1, 2]]),
  set: () => new Set([1]),
  promise: () => Promise.resolve(1),
  floats: () => new Float32Array(4),
  bigints: () => new BigInt64Array(2),
  buffer: () => new ArrayBuffer(8),
  view: () => new DataView(new ArrayBuffer(8)),
  shared: () => new Int32Array(new SharedArrayBuffer(8)),
  sparse: () => new Array(2 ** 32 - 1),
  holes: () => Object.assign(new Array(3), { 0: 1, 2: 3 }),
  rows200k: () => Array.from({ length: 200_000 }, () => [1]),
  longList: () => new Array(3e6).fill(1),
  longText: () => 'a'.repeat(1e6),
  error: () => new Error('x'),
  infiniteList: () => ({
    *[Symbol.iterator]() {
      for (;;) yield () => false;
    },
  }),
};

const HOSTILE: Readonly<Record<string, () => unknown>> = {
  getters: () => {
    const names = ['length', 'aborted', 'then', 'put', 'input_ids', 'signal', 'type', 'name', '0'];
    return Object.create(
      null,
      Object.fromEntries(names.map((n) => [n, { get: explode, enumerable: true }])),
    );
  },
  proxy: () =>
    new Proxy(
      {},
      {
        get: explode,
        has: explode,
        ownKeys: explode,
        getPrototypeOf: explode,
        getOwnPropertyDescriptor: explode,
        set: explode,
      },
    ),
  proxyList: () => new Proxy([1, 2], { get: explode }),
  proxyFunction: () => new Proxy(() => 1, { apply: explode, get: explode }),
  quietProxy: () => new Proxy({ a: 1 }, {}),
  quietProxyList: () => new Proxy([1, 5, 7], {}),
  nullPrototype: () => Object.create(null),
  primitive: () => ({ [Symbol.toPrimitive]: explode }),
  primitiveNumber: () => ({ [Symbol.toPrimitive]: () => 2 }),
  text: () => ({ toString: explode, valueOf: explode, toJSON: explode }),
  noText: () => ({ toString: null, valueOf: null }),
  iterator: () => ({ [Symbol.iterator]: explode }),
  throws: () => explode,
  cyclic: () => {
    const list: unknown[] = [];
    list.push(list);
    return list;
  },
  cyclicObject: () => {
    const object: Record<string, unknown> = {};
    object.self = object;
    return object;
  },
  nested: () => {
    let list: unknown = 1;
    for (let i = 0; i < 20_000; i++) list = [list];
    return list;
  },
  // biome-ignore lint/suspicious/noThenProperty: what is meant
  thenable: () => ({ then: explode }),
  frozen: () => Object.freeze({ input_ids: Object.freeze([Object.freeze([1, 5])]) }),
  inherits: () => Object.create({ max_new_tokens: 5, input_ids: [1] }),
};

const PLAIN: readonly unknown[] = [
  null,
  true,
  false,
  0,
  1,
  2,
  -1,
  1.5,
  100,
  65_536,
  1e6,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32,
  2 ** 53 - 1,
  2 ** 53,
  1e300,
  -(2 ** 31),
  '',
  'x',
  'constructor',
  '__proto__',
  'never',
  '10',
  [],
  [[]],
  [1],
  [[1, 5]],
  [[1], [1, 2]],
  [-1],
  [1e9],
  ['a'],
  [null],
  {},
  { constructor: 1 },
  { input_ids: [[1, 5]] },
];

function randomValue(random: Random, surface: Surface): Value {
  const kind = random.below(10);
  if (kind < 4) return { v: random.pick(PLAIN) };
  if (kind < 6) return { special: random.pick(Object.keys(SPECIAL)) };
  if (kind < 8) return { hostile: random.pick(Object.keys(HOSTILE)) };
  if (kind < 9) return { valid: random.pick(Object.keys(surface.values)) };
  const inner = () => randomValue(random, surface);
  return random.chance(0.5) ? { list: [inner(), inner()] } : { object: { a: inner() } };
}

/** A program in which each recipe is called as it should be. */
export function validPrograms(surface: Surface): Uint8Array[] {
  return Object.entries(surface.recipes).map(([call, { args }]) =>
    encode([{ call, args: args.map((valid) => ({ valid })) }]),
  );
}

export function encode(calls: readonly Call[]): Uint8Array {
  return Buffer.from(JSON.stringify(calls));
}

function validCall(random: Random, surface: Surface, name?: string): Call {
  const call = name ?? random.pick(Object.keys(surface.recipes));
  const recipe = surface.recipes[call] as Recipe;
  return { call, args: recipe.args.map((valid) => ({ valid })) };
}

/** Names of fields that the value of an argument may have: those of the valid one. */
function fieldsOf(value: unknown, extra: readonly string[]): string[] {
  const own = typeof value === 'object' && value !== null ? Object.keys(value) : [];
  return [...new Set([...own, ...extra])];
}

/** Another program: an argument replaced, a field of one, an argument more or less, a call more. */
export function mutateProgram(
  input: Uint8Array,
  random: Random,
  surface: Surface,
  fields: readonly string[],
): Uint8Array {
  const calls = JSON.parse(Buffer.from(input).toString()) as Call[];
  const at = random.below(calls.length);
  const call = calls[at] as Call;
  switch (random.below(8)) {
    case 0:
      calls[at] = validCall(random, surface);
      break;
    case 1:
      if (calls.length < 3) calls.push(validCall(random, surface));
      break;
    case 2:
      call.args = call.args.slice(0, random.below(call.args.length + 1));
      break;
    case 3:
      call.args.push(randomValue(random, surface));
      break;
    case 4:
    case 5: {
      const arg = call.args[random.below(call.args.length)];
      if (arg === undefined || !('valid' in arg)) break;
      const make = surface.values[arg.valid];
      const value = make?.();
      if (typeof value !== 'object' || value === null) break;
      const names = fieldsOf(value, arg.valid.endsWith('Options') ? fields : []);
      arg.with = { ...arg.with, [random.pick(names)]: randomValue(random, surface) };
      break;
    }
    default:
      if (call.args.length > 0) {
        call.args[random.below(call.args.length)] = randomValue(random, surface);
      }
  }
  return encode(calls);
}

/** Makes the value that a program describes. */
export function build(value: Value, surface: Surface): unknown {
  if ('v' in value) return structuredClone(value.v);
  if ('special' in value) return SPECIAL[value.special]?.();
  if ('hostile' in value) return HOSTILE[value.hostile]?.();
  if ('list' in value) return value.list.map((item) => build(item, surface));
  const over = (given: Record<string, Value>) =>
    Object.fromEntries(Object.entries(given).map(([name, v]) => [name, build(v, surface)]));
  if ('object' in value) return over(value.object);
  const made = surface.values[value.valid]?.();
  if (value.with === undefined) return made;
  const fields = over(value.with);
  if (Array.isArray(made)) return Object.assign(made, fields);
  return { ...(made as object), ...fields };
}

/** Milliseconds that a call may take where it waits for an argument that never answers. */
const PATIENCE = 300;

/**
 * What became of a call's result: settled, or waiting for an argument of the caller's.
 * Generators are read for a few values and left.
 */
export async function settle(result: unknown, end: () => void): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const patience = new Promise<'waiting'>((resolve) => {
    timer = setTimeout(() => resolve('waiting'), PATIENCE);
  });
  const finished = finish(result);
  try {
    if ((await Promise.race([finished, patience])) !== 'waiting') return;
    end();
    await finished;
  } finally {
    clearTimeout(timer);
  }
}

async function finish(result: unknown): Promise<void> {
  const value = await result;
  if (!(value instanceof Object) || !(Symbol.asyncIterator in value && 'next' in value)) return;
  let pieces = 0;
  for await (const _ of value as AsyncGenerator<unknown>) if (++pieces === 3) break;
}

/** Errors that an argument threw, which the library hands on: itself, and not one that it became. */
export function isArgumentsOwn(error: unknown): boolean {
  if (error instanceof HostileError) return true;
  // A class in a function's place: what calls it cannot know, and hands on what the call throws.
  return error instanceof TypeError && error.message.startsWith('Class constructor');
}
