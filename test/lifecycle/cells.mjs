// Cells of the lifecycle matrix: every method of the addon's engine, in every state of an engine. Run by
// tools/test-sanitized-addon.mjs, one state a process:
//   node --expose-gc cells.mjs STATE [METHOD]
// Prints a line a cell, `METHOD OUTCOME`; an outcome that is none of the allowed ones ends with 1.
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.resolve(here, '../..');
const { Raw } = createRequire(import.meta.url)('./addon.cjs');

/** What lib/ passes for the small model. */
async function loadRequest() {
  if (workerData) return workerData.request;
  const { AutoModelForCausalLM } = await import(path.join(root, 'dist/index.js'));
  const model = await AutoModelForCausalLM.from_pretrained(path.join(root, 'models/komt-tiny'));
  await model.dispose();
  return globalThis.komtLoadRequest;
}
const request = await loadRequest();

const ints = (...values) => Int32Array.from(values);
const decodeRequest = (ask) => ({
  rows: [
    {
      sequence: 1,
      tokens: ints(1, 300, 301),
      history: ints(1, 300, 301),
      streamHash: 1n,
      streamLane: 0,
      max_new_tokens: 100_000,
    },
  ],
  sampling: {
    do_sample: true,
    temperature: 1,
    top_k: 0,
    top_p: 1,
    min_p: 0,
    typical_p: 1,
    repetition_penalty: 1.1,
    min_new_tokens: 0,
  },
  eos_token_ids: ints(),
  seed: 1n,
  logprobs: true,
  ask,
});

/** Calls that are answered later give a promise of their answer: 'ok', or the kind of the error. */
const answered = (start) =>
  new Promise((resolve, reject) => {
    const done = (error) => resolve(error ? (error.kind ?? `UNTYPED ${error.message}`) : 'ok');
    try {
      start(done);
    } catch (error) {
      reject(error);
    }
  });
const settled = (call) => {
  try {
    const result = call();
    if (!(result instanceof Promise)) return Promise.resolve('ok');
    return result.catch((error) => error.kind ?? `UNTYPED ${error.message}`);
  } catch (error) {
    return Promise.resolve(error.kind ?? `UNTYPED ${error.message}`);
  }
};

const load = (engine) => answered((done) => engine.load(...request, () => {}, done));
const decode = (engine, session, ask, onStep) =>
  answered((done) => {
    engine.call = engine.decode(session, decodeRequest(ask), onStep, done);
  });

const METHODS = {
  load: (e) => load(e),
  cancelLoad: (e) => e.cancelLoad(),
  openSession: (e) => {
    e.openSession();
  },
  closeSession: (e, s) => e.closeSession(s),
  create: (e, s) => e.create(s, 5),
  fork: (e, s) => e.fork(s, 1, 6),
  truncate: (e, s) => e.truncate(s, 1, 0),
  release: (e, s) => e.release(s, 1),
  forward: (e, s) =>
    answered((done) => e.forward(s, ints(3), ints(2), ints(1, 2), ints(2), true, done)),
  decode: (e, s) => {
    const call = answered((done) => {
      const id = e.decode(s, decodeRequest(false), () => e.cancel(id), done);
    });
    return call;
  },
  verdict: (e) => e.verdict(e.call ?? 1, Uint8Array.of(1)),
  cancel: (e) => e.cancel(e.call ?? 1),
  dispose: (e) => answered((done) => e.dispose(done)),
};

/** Brings an engine into the state; `pending` are calls under way. */
async function engineIn(state) {
  const engine = new Raw();
  const pending = [];
  let session = 0;
  if (state === 'new') return { engine, session, pending };
  pending.push(load(engine));
  if (state === 'loading') return { engine, session, pending };
  await pending[0];
  session = engine.openSession();
  for (const handle of [1, 2, 3]) engine.create(session, handle);
  if (state === 'idle') return { engine, session, pending };
  // Busy: steps come without being asked for. Streaming: a step waits for its verdict.
  const steps = { count: 0 };
  await new Promise((resolve) => {
    pending.push(
      decode(engine, session, state === 'streaming', () => {
        if (++steps.count === 3 || state === 'streaming') resolve();
      }),
    );
  });
  if (state === 'aborted') {
    engine.cancel(engine.call);
    await pending.at(-1);
  }
  if (state === 'disposed') await answered((done) => engine.dispose(done));
  return { engine, session, pending };
}

const late = (promise, what) =>
  Promise.race([
    promise,
    new Promise((resolve) => setTimeout(resolve, 20_000, `LATE ${what}`).unref()),
  ]);

async function cell(state, method) {
  const { engine, session, pending } = await engineIn(state);
  // Calls behind one that runs are answered when that is: ended here, as lib/ would.
  const outcome = settled(() => METHODS[method](engine, session));
  await new Promise((resolve) => setTimeout(resolve, 1));
  if (method !== 'dispose' && state !== 'disposed') {
    engine.cancel(engine.call ?? 1);
    if (state === 'loading' || method === 'load') engine.cancelLoad();
  }
  // A forward or decode of an engine that never loads is answered by its end.
  const end = settled(() => METHODS.dispose(engine));
  const result = await late(outcome, 'answer');
  const ends = [
    await late(end, 'dispose'),
    ...(await Promise.all(pending.map((p) => late(p, 'call')))),
  ];
  globalThis.gc?.();
  return { result, ends };
}

const ALLOWED = /^(ok|aborted|disposed|invalid_argument)$/;

const [state, only] = workerData ? ['worker', workerData.method] : process.argv.slice(2);
const methods = only ? [only] : Object.keys(METHODS);
let failed = false;
if (!isMainThread) {
  // Busy, streaming and loading at once, then the method; the parent terminates this thread meanwhile.
  const { method } = workerData;
  const engines = await Promise.all(['loading', 'busy', 'streaming'].map(engineIn));
  parentPort.postMessage('under way');
  for (const { engine, session } of engines) void settled(() => METHODS[method](engine, session));
} else if (state === 'worker') {
  for (const method of methods) {
    const worker = new Worker(fileURLToPath(import.meta.url), {
      workerData: { request, method },
    });
    const outcome = await new Promise((resolve) => {
      worker.once('message', () => setTimeout(() => worker.terminate(), 2));
      worker.once('error', (error) => resolve(`UNTYPED ${error.message}`));
      worker.once('exit', () => resolve('ok'));
    });
    failed ||= outcome !== 'ok';
    console.log(method, outcome);
  }
} else if (state === 'exiting') {
  const engines = await Promise.all(['loading', 'busy', 'streaming'].map(engineIn));
  for (const { engine, session } of engines) void settled(() => METHODS[only](engine, session));
  console.log(only, 'ok');
  process.exit(0);
} else {
  for (const method of methods) {
    const { result, ends } = await cell(state, method);
    const wrong = [result, ...ends].filter((outcome) => !ALLOWED.test(outcome));
    failed ||= wrong.length > 0;
    console.log(method, wrong.length > 0 ? wrong.join(', ') : result);
  }
}
process.exitCode = failed ? 1 : 0;
