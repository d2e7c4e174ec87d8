import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  AbortError,
  CheckpointError,
  DisposedError,
  InvalidArgumentError,
} from '../../lib/errors.js';
import type { Engine } from '../../lib/native/engine.js';
import { temporaryFolder } from '../temporary-folder.js';
import { decodeOne, GREEDY, loadEngine } from './helpers.js';

const run = promisify(execFile);
const PROMPT = [1, 50, 118, 50, 175, 375, 54, 149, 156, 347];
const never = { eos_token_ids: [] };

describe('decoding', () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await loadEngine('llama-gqa-bf16');
  });
  afterAll(() => engine.dispose());

  it('gives a row the same tokens alone, in a batch, in chunks and on any number of threads', async () => {
    const session = engine.openSession();
    const alone = await decodeOne(session, PROMPT, 24, never);

    // In a batch of three, and with the prompt's first part in the cache already.
    const sequences = [session.create(), session.create(), session.create()];
    const other = [1, 9, 8, 7];
    await session.forward([
      { sequence: sequences[1] as number, tokens: PROMPT.slice(0, 6), logits: 'none' },
    ]);
    const rows = [other, PROMPT.slice(6), [...other, 77]].map((tokens, i) => ({
      sequence: sequences[i] as number,
      tokens,
      streamHash: BigInt(i),
      streamLane: 0,
      max_new_tokens: 24,
    }));
    const batch: number[] = [];
    await session.decode({
      rows,
      sampling: GREEDY,
      eos_token_ids: [],
      seed: 0n,
      ask: false,
      onStep: ({ tokens }) => {
        batch.push(tokens[1] as number);
      },
    });
    expect(batch).toEqual(alone);
    session.dispose();

    for (const threads of [1, 2, 3]) {
      const twin = await loadEngine('llama-gqa-bf16', threads);
      const own = twin.openSession();
      expect(await decodeOne(own, PROMPT, 24, never)).toEqual(alone);
      await twin.dispose();
    }
  });

  it('samples by seed: equal seeds repeat, others differ', async () => {
    const session = engine.openSession();
    const sample = (seed: bigint) =>
      decodeOne(session, PROMPT, 30, {
        ...never,
        seed,
        sampling: { ...GREEDY, do_sample: true, temperature: 1.5 },
      });
    const first = await sample(7n);
    expect(await sample(7n)).toEqual(first);
    expect(await sample(8n)).not.toEqual(first);
    session.dispose();
  });

  it('asks for a verdict and takes back the step it was ahead', async () => {
    const session = engine.openSession();
    const all = await decodeOne(session, PROMPT, 12, never);
    const sequence = session.create();
    const seen: number[] = [];
    const ask = (limit: number, tokens: readonly number[]) =>
      session.decode({
        rows: [{ sequence, tokens, streamHash: 1n, streamLane: 0, max_new_tokens: 12 }],
        sampling: GREEDY,
        eos_token_ids: [],
        seed: 0n,
        ask: true,
        onStep: async (step) => {
          seen.push(...step.tokens);
          await new Promise((resolve) => setTimeout(resolve, 1));
          return [seen.length >= limit];
        },
      });
    await ask(5, PROMPT);
    expect(seen).toEqual(all.slice(0, 5));
    expect(session.length(sequence)).toBe(PROMPT.length + 4);
    // The cache holds all but the last token, so the run can go on from there.
    await ask(12, seen.slice(-1));
    expect(seen).toEqual(all);
    session.dispose();
  });

  it('keeps forks apart: shared pages are copied before they are written', async () => {
    const session = engine.openSession();
    const first = session.create();
    await session.forward([{ sequence: first, tokens: PROMPT, logits: 'none' }]);
    const second = session.fork(first);
    const logitsOf = async (sequence: number, token: number) =>
      (await session.forward([{ sequence, tokens: [token], logits: 'last' }])).logits;
    const a = await logitsOf(first, 20);
    const b = await logitsOf(second, 30);
    expect(a).not.toEqual(b);
    session.truncate(second, PROMPT.length);
    expect(await logitsOf(second, 20)).toEqual(a);
    session.dispose();
  });

  it('gives an error for ids outside the vocabulary and goes on working', async () => {
    const session = engine.openSession();
    const sequence = session.create();
    const forward = (tokens: number[]) => session.forward([{ sequence, tokens, logits: 'last' }]);
    await expect(forward([1, 99999])).rejects.toThrow(InvalidArgumentError);
    await expect(forward([1, -1])).rejects.toThrow(/outside the vocabulary of \d+ ids/);
    expect((await forward([1, 2])).rows).toBe(1);
    session.dispose();
  });

  it('rejects with what the callback threw', async () => {
    const session = engine.openSession();
    const error = new Error('from the callback');
    const onStep = () => {
      throw error;
    };
    await expect(decodeOne(session, PROMPT, 8, { ...never, onStep })).rejects.toBe(error);
    await expect(
      decodeOne(session, PROMPT, 8, { ...never, ask: true, onStep: () => Promise.reject(error) }),
    ).rejects.toBe(error);
    expect(await decodeOne(session, PROMPT, 2, never)).toHaveLength(2);
    session.dispose();
  });

  it('leaves a sequence as it was when a run on it fails', async () => {
    const session = engine.openSession();
    const sequence = session.create();
    await session.forward([{ sequence, tokens: PROMPT.slice(0, -1), logits: 'none' }]);
    const run = (limit: number) => {
      const tokens: number[] = [];
      return session
        .decode({
          rows: [
            {
              sequence,
              tokens: PROMPT.slice(-1),
              streamHash: 1n,
              streamLane: 0,
              max_new_tokens: 12,
            },
          ],
          sampling: GREEDY,
          eos_token_ids: [],
          seed: 0n,
          ask: false,
          onStep: (step) => {
            tokens.push(...step.tokens);
            if (tokens.length === limit) throw new Error('enough');
          },
        })
        .then(() => tokens);
    };
    for (const limit of [1, 5, 12]) {
      await expect(run(limit)).rejects.toThrow('enough');
      expect(session.length(sequence)).toBe(PROMPT.length - 1);
    }
    expect(await run(0)).toEqual(await decodeOne(session, PROMPT, 12, never));
    expect(session.length(sequence)).toBe(PROMPT.length + 11);
    session.dispose();
  });

  it('stops within a step when aborted', async () => {
    const session = engine.openSession();
    const controller = new AbortController();
    let steps = 0;
    const promise = decodeOne(session, PROMPT, 100_000, {
      ...never,
      signal: controller.signal,
      ask: true,
      onStep: () => {
        steps++;
        if (steps === 3) controller.abort(new Error('enough'));
      },
    });
    const failure = await promise.catch((e: unknown) => e);
    expect(failure).toBeInstanceOf(AbortError);
    expect((failure as AbortError).cause).toEqual(new Error('enough'));
    expect(steps).toBeLessThanOrEqual(4);
    session.dispose();
  });

  it('runs two sessions at once', async () => {
    const expected = await decodeOne(engine.openSession(), PROMPT, 40, never);
    const both = await Promise.all([
      decodeOne(engine.openSession(), PROMPT, 40, never),
      decodeOne(engine.openSession(), PROMPT, 40, never),
    ]);
    expect(both).toEqual([expected, expected]);
  });
});

describe('disposal', () => {
  it('ends running calls and refuses new ones', async () => {
    const engine = await loadEngine('llama-mha-fp16');
    const session = engine.openSession();
    const running = decodeOne(session, PROMPT, 100_000, never).catch((e: unknown) => e);
    await engine.dispose();
    expect(await running).toBeInstanceOf(DisposedError);
    expect(() => engine.openSession()).toThrow(DisposedError);
    await expect(decodeOne(session, PROMPT, 1)).rejects.toThrow(DisposedError);
    await engine.dispose();
  });

  it('gives memory back, round after round', async () => {
    const round = async () => {
      const engine = await loadEngine('llama-mha-fp16', 1);
      await decodeOne(engine.openSession(), PROMPT, 4, never);
      await engine.dispose();
    };
    for (let i = 0; i < 30; i++) await round();
    globalThis.gc?.();
    const before = process.memoryUsage().rss;
    for (let i = 0; i < 100; i++) await round();
    globalThis.gc?.();
    // A leaked model would be 100 x 0.8 MB.
    expect(process.memoryUsage().rss - before).toBeLessThan(30e6);
  });
});

const child = path.join(import.meta.dirname, 'child.mjs');
const dist = path.resolve(import.meta.dirname, '../../dist/index.js');
const node = (...args: string[]) =>
  run(process.execPath, [child, dist, ...args], { timeout: 30_000 });

describe('processes and threads (dist/)', () => {
  it('an engine nobody disposed does not keep the process alive', async () => {
    expect((await node('undisposed')).stdout).toBe('loaded\n');
  });
  it('a running call does', async () => {
    expect((await node('running')).stdout).toBe('40 tokens\n');
  });
  it('process.exit in the middle of a stream is clean', async () => {
    await expect(node('exit')).rejects.toMatchObject({ code: 7, signal: null });
  });
  it('an uncaught error in the middle of a stream exits with its code', async () => {
    await expect(node('throw')).rejects.toMatchObject({ code: 1, signal: null });
  });
  // Root has no such limit: another user's, where root may become one.
  const limited = async () => {
    const ids = ['--reuid=12345', '--regid=12345', '--clear-groups'];
    const shell = (script: string) =>
      run('setpriv', [...ids, 'bash', '-c', script], {
        timeout: 30_000,
        env: { ...process.env, HOME: '/tmp' },
      });
    const readable = await shell(`test -r ${child} && test -x ${process.execPath}`).then(
      () => true,
      () => false,
    );
    return readable
      ? (await shell(`ulimit -u 20; exec ${process.execPath} ${child} ${dist} threads`)).stdout
      : null;
  };
  it('a limit on threads is an error, and ends nothing that runs', async ({ skip }) => {
    const stdout = await limited();
    if (stdout === null) skip('another user cannot be become, or cannot read this folder');
    expect(stdout).toBe('OutOfMemoryError, then 40 tokens\n');
  });
  it('workers generate at once, and may be terminated half way', async () => {
    expect((await node('workers')).stdout).toBe('equal\nterminated\n');
  });
});

it('a worker thread of the test runner itself loads the addon too', async () => {
  const worker = new Worker(new URL('./child.mjs', import.meta.url), {
    argv: [dist, 'running'],
    stdout: true,
  });
  const code = await new Promise((resolve) => worker.once('exit', resolve));
  expect(code).toBe(0);
});

it('a truncated weight file is a CheckpointError, and nothing stays open', async () => {
  const { copyFile, readdir, truncate } = await import('node:fs/promises');
  const { Engine: NativeEngine } = await import('../../lib/native/engine.js');
  const helpers = await import('./helpers.js');
  const { path: folder } = temporaryFolder();
  const source = path.join(helpers.GOLDENS, 'models/llama-mha-fp16');
  for (const file of await readdir(source))
    await copyFile(path.join(source, file), path.join(folder, file));
  const request = await helpers.loadRequest(folder);
  // Damaged after its header was read, as by a disk that fails during the load.
  await truncate(path.join(folder, 'model.safetensors'), 200_000);
  const handles = (await readdir('/proc/self/fd')).length;
  await expect(NativeEngine.load(request)).rejects.toThrow(CheckpointError);
  await expect(NativeEngine.load(request)).rejects.toThrow(/ends inside tensor/);
  expect((await readdir('/proc/self/fd')).length).toBeLessThanOrEqual(handles + 1);
});
