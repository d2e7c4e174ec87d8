/**
 * Whether komt on a GPU computes what transformers computes on the same GPU: a random Llama is made, and
 * both run the same prompt in float16 and bfloat16. The reference is transformers in float32.
 *
 *   node bench/gpu/logits.mjs [--device cuda] [--json FILE] [--tiny]
 *
 * Held: komt's root mean square error is at most 1.25 times transformers' own in the same type, its largest
 * at most twice, and its greedy answer is the reference's for as long as the reference's choice leads by
 * more than twice komt's largest error. transformers keeps the residual stream in 16 bits, komt in 32, so
 * that komt is expected to be nearer. Needs torch and transformers (KOMT_BENCH_PYTHON, default python3).
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { AutoModelForCausalLM } from '../support/komt.mjs';
import { ROOT } from '../support/machine.mjs';

const RMS_BOUND = 1.25;
const LARGEST_BOUND = 2;

const { values: options } = parseArgs({
  options: {
    device: { type: 'string', default: 'cuda' },
    json: { type: 'string' },
    tiny: { type: 'boolean', default: false },
  },
});

function runTransformers(folder) {
  const spec = {
    folder,
    device: options.device.startsWith('cuda-emulated') ? 'cpu' : options.device,
    tiny: options.tiny,
    prompt: options.tiny ? 24 : 300,
    new_tokens: options.tiny ? 6 : 32,
  };
  const script = path.join(ROOT, 'bench/gpu/logits_transformers.py');
  const python = process.env.KOMT_BENCH_PYTHON ?? 'python3';
  const { status, stdout, stderr } = spawnSync(python, [script, JSON.stringify(spec)], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (status !== 0) throw new Error(`${python} ${script}: ${stderr.trimEnd()}`);
  return JSON.parse(stdout.trimEnd().split('\n').at(-1));
}

function readLogits(folder, dtype) {
  const bytes = readFileSync(path.join(folder, `${dtype}.f32`));
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}

/** Root mean square and largest difference; NaN stays NaN. */
function errors(found, expected) {
  let squares = 0;
  let largest = 0;
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs(found[i] - expected[i]);
    squares += error * error;
    if (!(error <= largest)) largest = error;
  }
  return { rms: Math.sqrt(squares / expected.length), largest };
}

async function runKomt(folder, dtype, { ids, positions, vocab, answer }) {
  const model = await AutoModelForCausalLM.from_pretrained(folder, {
    device_map: options.device,
    dtype,
  });
  try {
    const { logits } = await model.forward({ input_ids: [ids] });
    const all = logits[0];
    const found = new Float32Array(positions * vocab);
    for (let i = 0; i < positions; i++) found.set(all.at(i - positions).data, i * vocab);
    const generated = await model.generate({
      input_ids: [ids],
      do_sample: false,
      eos_token_id: null,
      max_new_tokens: answer.length,
    });
    return { found, tokens: generated.tolist()[0].slice(ids.length) };
  } finally {
    await model.dispose();
  }
}

const folder = mkdtempSync(path.join(os.tmpdir(), 'komt-logits-'));
const results = [];
let failures = 0;
try {
  const reference = runTransformers(folder);
  const expected = readLogits(folder, 'float32');
  for (const dtype of ['float16', 'bfloat16']) {
    const { found, tokens } = await runKomt(folder, dtype, reference);
    const komt = errors(found, expected);
    const transformers = errors(readLogits(folder, dtype), expected);
    const same = tokens.findIndex((token, i) => token !== reference.answer[i]);
    const agreed = same === -1 ? tokens.length : same;
    const lead = reference.margins[agreed];
    const wrong = [];
    if (!(komt.rms <= RMS_BOUND * transformers.rms)) wrong.push('root mean square');
    if (!(komt.largest <= LARGEST_BOUND * transformers.largest)) wrong.push('largest error');
    if (lead > 2 * komt.largest)
      wrong.push(`token ${agreed} of the answer, which leads by ${lead}`);
    failures += wrong.length;
    results.push({ dtype, komt, transformers, agreed, of: tokens.length, wrong });
    console.log(
      `${dtype}: komt rms ${komt.rms.toExponential(2)}, largest ${komt.largest.toExponential(2)}; ` +
        `transformers ${transformers.rms.toExponential(2)}, ${transformers.largest.toExponential(2)}; ` +
        `${agreed} of ${tokens.length} tokens alike` +
        (wrong.length > 0 ? `; OUT OF BOUNDS: ${wrong.join(', ')}` : ''),
    );
  }
  console.log(
    `${reference.version}; logits of deviation ${reference.deviation.toFixed(2)}; ` +
      results
        .map(
          ({ dtype, komt, transformers }) =>
            `${dtype} ${(komt.rms / transformers.rms).toFixed(2)}x of transformers' error`,
        )
        .join(', '),
  );
  if (options.json) {
    const { version, deviation } = reference;
    writeFileSync(options.json, `${JSON.stringify({ version, deviation, results }, null, 1)}\n`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = failures > 0 ? 1 : 0;
