// Runs one scenario in a process (or worker) of its own: child.mjs DIST SCENARIO
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';

const [dist, scenario] = process.argv.slice(2);
const { AutoModelForCausalLM } = await import(pathToFileURL(dist).href);
const here = path.dirname(fileURLToPath(import.meta.url));
const model = await AutoModelForCausalLM.from_pretrained(path.join(here, '../../models/komt-tiny'));
const input_ids = [[1, 300, 301, 302]];
const options = { input_ids, min_new_tokens: 40, max_new_tokens: 40, do_sample: false };

/** Calls `act` when the n-th token arrives. */
function after(n, act) {
  let seen = 0;
  return {
    put() {
      if (++seen === n) act();
    },
    end() {},
  };
}

const scenarios = {
  undisposed: () => console.log('loaded'),
  running: async () => {
    const ids = await model.generate(options);
    console.log(`${ids.dims[1] - 4} tokens`);
  },
  exit: () => model.generate({ ...options, streamer: after(10, () => process.exit(7)) }),
  throw: () =>
    model.generate({
      ...options,
      streamer: after(10, () => {
        setImmediate(() => {
          throw new Error('uncaught');
        });
      }),
      max_new_tokens: 1500,
      min_new_tokens: 1500,
    }),
  answer: async () => parentPort.postMessage((await model.generate(options)).tolist()),
  endless: () =>
    model.generate({
      ...options,
      streamer: after(5, () => parentPort.postMessage('under way')),
      max_new_tokens: 2000,
      min_new_tokens: 2000,
    }),
  threads: async () => {
    const models = [model];
    for (let i = 0; i < 50; i++) {
      try {
        models.push(
          await AutoModelForCausalLM.from_pretrained(path.join(here, '../../models/komt-tiny'), {
            num_threads: 2,
          }),
        );
      } catch (error) {
        // What there is goes on.
        const ids = await model.generate(options);
        console.log(`${error.name}, then ${ids.dims[1] - 4} tokens`);
        break;
      }
    }
    await Promise.all(models.map((each) => each.dispose()));
  },
  workers: async () => {
    const spawn = (name) => new Worker(new URL(import.meta.url), { argv: [dist, name] });
    const answer = (worker) =>
      new Promise((resolve, reject) => {
        worker.once('message', resolve);
        worker.once('error', reject);
      });
    const own = (await model.generate(options)).tolist();
    const others = await Promise.all([answer(spawn('answer')), answer(spawn('answer'))]);
    const equal = others.every((ids) => JSON.stringify(ids) === JSON.stringify(own));
    console.log(equal ? 'equal' : 'different');
    const worker = spawn('endless');
    await answer(worker);
    await worker.terminate();
    console.log('terminated');
  },
};
if (isMainThread || parentPort) await scenarios[scenario]();
