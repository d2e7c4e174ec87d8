/** What the engine is not given: every number and array is checked on both sides of the addon. */
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DecodeRequest, ForwardRow } from '../../lib/engine.js';
import { DisposedError, InvalidArgumentError } from '../../lib/errors.js';
import type { NativeDecodeRequest, NativeEngine } from '../../lib/native/addon.js';
import { Engine } from '../../lib/native/engine.js';
import { loadAddon } from '../../lib/native/load.js';
import { decodeOne, GOLDENS, GREEDY, loadEngine, loadRequest } from './helpers.js';

const PROMPT = Array.from({ length: 18 }, (_, i) => i + 3);
/** Where a non-negative integer is wanted. */
const NUMBERS: unknown[] = [-1, -5, Number.NaN, 1.5, 2 ** 31, 2 ** 53, -(2 ** 31), Infinity].concat(
  ['3', null, undefined, true, {}, [], 5n, Symbol('n'), () => 0] as never[],
);

function detached(): Int32Array {
  const array = new Int32Array([1, 2]);
  structuredClone(array, { transfer: [array.buffer] });
  return array;
}

describe('a session', () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await loadEngine('llama-gqa-bf16');
  });
  afterAll(() => engine.dispose());

  it('refuses lengths that are none, and both sides still agree on them', async () => {
    const session = engine.openSession();
    const sequence = session.create();
    await session.forward([{ sequence, tokens: PROMPT, logits: 'none' }]);
    for (const length of NUMBERS) {
      if (length === 2 ** 31 || length === 2 ** 53) {
        session.truncate(sequence, length); // keeps all there are
      } else {
        expect(() => session.truncate(sequence, length as number)).toThrow(InvalidArgumentError);
      }
      expect(session.length(sequence)).toBe(PROMPT.length);
    }
    const next = async (handle: number) =>
      (await session.forward([{ sequence: handle, tokens: [7], logits: 'last' }])).logits;
    const untouched = session.create();
    await session.forward([{ sequence: untouched, tokens: PROMPT, logits: 'none' }]);
    expect(await next(sequence)).toEqual(await next(untouched));
    session.dispose();
  });

  it('refuses sequences, tokens and rows that are none', async () => {
    const session = engine.openSession();
    const sequence = session.create();
    for (const handle of [...NUMBERS, sequence + 1, { toString: null, valueOf: null }]) {
      for (const use of [
        () => session.fork(handle as number),
        () => session.release(handle as number),
        () => session.truncate(handle as number, 0),
        () => session.length(handle as number),
      ]) {
        expect(use).toThrow(InvalidArgumentError);
      }
      const row = { sequence: handle as number, tokens: [1], logits: 'last' as const };
      await expect(session.forward([row])).rejects.toThrow(InvalidArgumentError);
    }
    for (const id of [...NUMBERS, 1e9]) {
      const row = { sequence, tokens: [1, id as number], logits: 'last' as const };
      await expect(session.forward([row])).rejects.toThrow(InvalidArgumentError);
    }
    const lists: unknown[] = [
      ...NUMBERS,
      [],
      detached(),
      { length: 2 ** 40 },
      new Float32Array([0.5]),
    ];
    for (const tokens of lists) {
      const row = { sequence, tokens, logits: 'last' } as ForwardRow;
      await expect(session.forward([row])).rejects.toThrow(InvalidArgumentError);
    }
    for (const rows of [[], null, 3, [null], [3], [{ sequence, tokens: [1], logits: 'first' }]]) {
      await expect(session.forward(rows as never)).rejects.toThrow(InvalidArgumentError);
    }
    const twice = { sequence, tokens: [1], logits: 'last' as const };
    await expect(session.forward([twice, twice])).rejects.toThrow(/in one batch twice/);
    expect(session.length(sequence)).toBe(0);
    expect((await session.forward([twice])).rows).toBe(1);
    session.dispose();
  });

  it('refuses decode requests that are none', async () => {
    const session = engine.openSession();
    const sequence = session.create();
    const row = { sequence, tokens: PROMPT, streamHash: 1n, streamLane: 0, max_new_tokens: 2 };
    const good: DecodeRequest = {
      rows: [row],
      sampling: GREEDY,
      eos_token_ids: [],
      seed: 0n,
      ask: false,
      onStep: () => {},
    };
    const refused = (change: object) =>
      expect(
        session.decode({ ...good, ...change }),
        JSON.stringify(Object.keys(change)[0]),
      ).rejects.toThrow(InvalidArgumentError);
    for (const value of NUMBERS) {
      await refused({ rows: [{ ...row, max_new_tokens: value }] });
      await refused({ sampling: { ...GREEDY, top_k: value } });
      await refused({ sampling: { ...GREEDY, min_new_tokens: value } });
      if (value !== 2 ** 31) await refused({ rows: [{ ...row, streamLane: value }] });
      if (value !== 5n) await refused({ rows: [{ ...row, streamHash: value }] });
      if (value !== 5n) await refused({ seed: value });
      if (typeof value !== 'boolean') await refused({ ask: value });
      // Negative ids are ids that never come.
      if (![-1, -5, -(2 ** 31)].includes(value as number))
        await refused({ eos_token_ids: [value] });
    }
    for (const value of [-1, 2, Number.NaN, '1', null]) {
      for (const name of ['top_p', 'min_p', 'typical_p']) {
        await refused({ sampling: { ...GREEDY, [name]: value } });
      }
    }
    for (const value of [0, -1, Number.NaN, Infinity, 1e39, '1', null]) {
      await refused({ sampling: { ...GREEDY, temperature: value } });
      await refused({ sampling: { ...GREEDY, repetition_penalty: value } });
    }
    await refused({ rows: [] });
    await refused({ rows: [{ ...row, streamHash: -1n }] });
    await refused({ rows: [{ ...row, streamHash: 1n << 64n }] });
    await refused({ rows: [{ ...row, tokens: [] }] });
    await refused({ rows: [{ ...row, max_new_tokens: 0 }] });
    await refused({ onStep: null });
    await refused({ sampling: null });
    expect(session.length(sequence)).toBe(0);
    await session.decode(good);
    expect(session.length(sequence)).toBe(PROMPT.length + 1);
    session.dispose();
  });

  it('lets a sequence take part in one call at a time', async () => {
    const session = engine.openSession();
    const sequence = session.create();
    const row = { sequence, tokens: PROMPT, logits: 'none' as const };
    const running = session.forward([row]);
    for (const use of [() => session.fork(sequence), () => session.truncate(sequence, 1)]) {
      expect(use).toThrow(/has not ended: await it first/);
    }
    await expect(session.forward([row])).rejects.toThrow(/has not ended/);
    await expect(decodeOne(session, PROMPT, 2)).resolves.toHaveLength(2); // another one is free
    await running;
    session.truncate(sequence, 1);
    expect(session.length(sequence)).toBe(1);
    const last = session.forward([row]);
    session.release(sequence);
    await last;
    expect(() => session.length(sequence)).toThrow(/was released/);
    session.dispose();
  });
});

describe('after disposal', () => {
  it('everything but dispose says so', async () => {
    const engine = await loadEngine('llama-mha-fp16', 1);
    const session = engine.openSession();
    const sequence = session.create();
    await engine.dispose();
    const calls = [
      () => engine.openSession(),
      () => session.create(),
      () => session.fork(sequence),
      () => session.release(sequence),
    ];
    for (const call of calls) expect(call).toThrow(DisposedError);
    const row = { sequence, tokens: [1], logits: 'last' as const };
    await expect(session.forward([row])).rejects.toThrow(DisposedError);
    session.dispose();
    session.dispose();
    expect(() => session.create()).toThrow('The session was disposed');
  });

  it('a second dispose waits for the first', async () => {
    const engine = await loadEngine('llama-mha-fp16', 1);
    const order: string[] = [];
    const running = decodeOne(engine.openSession(), PROMPT, 100_000, {
      eos_token_ids: [],
      onStep: () => {},
    }).catch(() => order.push('call'));
    const first = engine.dispose().then(() => order.push('first'));
    const second = engine.dispose().then(() => order.push('second'));
    await Promise.all([first, second, running]);
    expect(order.indexOf('second')).toBeGreaterThan(order.indexOf('first'));
    await engine.dispose();
  });
});

describe('loading', () => {
  it('rejects with what the progress callback threw, and nothing stays', async () => {
    const request = await loadRequest(path.join(GOLDENS, 'models/llama-mha-fp16'), 1);
    const error = new RangeError('mine');
    let calls = 0;
    const onProgress = () => {
      calls++;
      throw error;
    };
    await expect(Engine.load({ ...request, onProgress })).rejects.toBe(error);
    expect(calls).toBe(1);
  });
});

/** The addon without lib/native: nothing that it is given may be more than an error. */
describe('the addon itself', () => {
  const addon = loadAddon();
  let native: NativeEngine;
  let session = 0;
  beforeAll(async () => {
    const { config, sources, placement } = await loadRequest(
      path.join(GOLDENS, 'models/llama-mha-fp16'),
    );
    native = new addon.Engine();
    await new Promise<void>((resolve, reject) => {
      const options = { threads: 1, readerThreads: 1 };
      const done = (error: Error | null) => (error ? reject(error) : resolve());
      native.load(config, sources, placement, options, () => {}, done);
    });
    session = native.openSession();
    native.create(session, 1);
  });
  afterAll(() => new Promise<void>((resolve) => native.dispose(() => resolve())));

  const refuse = (call: () => unknown, kinds = ['invalid_argument']) => {
    let kind: unknown = 'nothing thrown';
    try {
      call();
    } catch (error) {
      kind = (error as { kind?: unknown }).kind ?? error;
    }
    expect(kinds).toContain(kind);
  };

  it('refuses numbers that are none', () => {
    for (const value of NUMBERS as never[]) {
      refuse(() => native.create(session, value));
      refuse(() => native.fork(session, value, 2));
      refuse(() => native.fork(session, 1, value));
      refuse(() => native.truncate(session, value, 0));
      refuse(() => native.truncate(session, 1, value));
      refuse(() => native.release(session, value));
      if (value !== 2 ** 31) {
        refuse(() => native.create(value, 1));
        refuse(() => native.closeSession(value));
        refuse(() => native.cancel(value));
        refuse(() => native.verdict(value, new Uint8Array(1)));
      }
    }
    refuse(() => native.create(session + 1, 1), ['disposed']);
  });

  it('refuses arrays that are none, or that do not fit each other', () => {
    const one = Int32Array.of(1);
    const done = () => {};
    const forward = (...args: unknown[]) =>
      refuse(() => (native.forward as (...a: unknown[]) => number)(session, ...args));
    const arrays: unknown[] = [
      ...NUMBERS,
      detached(),
      Float32Array.of(1),
      new DataView(new ArrayBuffer(4)),
    ];
    for (const array of arrays) {
      forward(array, one, one, one, false, done);
      forward(one, array, one, one, false, done);
      forward(one, one, array, one, false, done);
      forward(one, one, one, array, false, done);
    }
    forward(one, Int32Array.of(2), one, one, false, done);
    forward(one, Int32Array.of(-1), one, one, false, done);
    forward(one, Int32Array.of(0), one, one, false, done);
    forward(one, Int32Array.of(2 ** 31 - 1), one, one, false, done);
    forward(one, Int32Array.of(1, 0), one, one, false, done);
    forward(one, one, one, Int32Array.of(3), false, done);
    forward(one, one, one, Int32Array.of(1, 1), false, done);
    forward(one, one, one, one, 'no', done);
    forward(one, one, one, one, false, null);
  });

  it('reads arrays in shared memory as they are at the call', async () => {
    const shared = new Int32Array(new SharedArrayBuffer(4));
    shared[0] = 1;
    const one = Int32Array.of(1);
    const result = await new Promise<{ rows: number }>((resolve, reject) => {
      native.forward(session, one, one, shared, one, false, (error, value) =>
        error ? reject(error) : resolve(value),
      );
      shared[0] = 1e9; // too late
    });
    expect(result.rows).toBe(1);
  });

  it('refuses a verdict of another length, and takes one for another call for nothing', async () => {
    let call = 0;
    const row = { sequence: 1, tokens: Int32Array.of(1), history: new Int32Array(0) };
    const request: NativeDecodeRequest = {
      rows: [{ ...row, streamHash: 1n, streamLane: 0, max_new_tokens: 3 }],
      sampling: GREEDY,
      eos_token_ids: new Int32Array(0),
      seed: 0n,
      logprobs: false,
      ask: true,
    };
    await new Promise<void>((resolve, reject) => {
      const onStep = () => {
        refuse(() => native.verdict(call, new Uint8Array(2)));
        refuse(() => native.verdict(call, new Int32Array(1) as never));
        native.verdict(call + 1, new Uint8Array(1));
        native.verdict(call, new Uint8Array(1));
      };
      call = native.decode(session, request, onStep, (error) =>
        error ? reject(error) : resolve(),
      );
      for (const part of [null, {}, { ...request, rows: [null] }, { ...request, sampling: 3 }]) {
        refuse(() => native.decode(session, part as never, onStep, () => {}));
      }
      refuse(() => native.decode(session, request, null as never, () => {}));
    });
  });

  it('refuses models that are none', async () => {
    const good = await loadRequest(path.join(GOLDENS, 'models/llama-mha-fp16'));
    const options = { threads: 1, readerThreads: 1 };
    const load = (change: object, placement: unknown = good.placement, sources = good.sources) => {
      const engine = new addon.Engine();
      const config = { ...good.config, ...change };
      refuse(() =>
        engine.load(
          config,
          sources,
          placement as never,
          options,
          () => {},
          () => {},
        ),
      );
      engine.dispose(() => {});
    };
    const numbers = Object.entries(good.config).filter(([, value]) => typeof value === 'number');
    expect(numbers.length).toBeGreaterThan(8);
    for (const [name] of numbers) {
      for (const value of [-1, Number.NaN, '3', null, 2n]) load({ [name]: value });
    }
    for (const placement of [
      null,
      [],
      [{}],
      [{ device: 'cpu', layers: -1 }],
      [{ device: 3, layers: 1 }],
    ]) {
      load({}, placement);
    }
    const first = good.sources[0] as (typeof good.sources)[number];
    for (const change of [
      { slot: 99 },
      { layer: -1 },
      { offset: -1 },
      { offset: 2 ** 60 },
      { shape: [1.5] },
      { shape: [1, 2, 3] },
      { strides: [-1, 1] },
      { dtype: 'int7' },
      { file: 3 },
    ]) {
      load({}, good.placement, [{ ...first, ...change } as typeof first]);
    }
  });

  it('keeps methods to objects of its own', () => {
    expect(() => native.openSession.call({} as never)).toThrow();
    expect(() => native.openSession.call(Object.create(native) as never)).toThrow();
  });
});
