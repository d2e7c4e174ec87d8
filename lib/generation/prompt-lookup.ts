/**
 * Prompt-lookup decoding (transformers' `prompt_lookup_num_tokens`): tokens that once followed the
 * text's last n-gram are proposed, and the model checks all of them in one run. What it would not
 * have chosen itself is dropped, so the result is the same as without.
 */

import { InvalidArgumentError, invalidArgument } from '../errors.js';
import type { Tensor } from '../tensor.js';
import { TimeSlice } from '../time-slice.js';
import { type DecodeRequest, newTokenLimits } from './decode-loop.js';
import { argmax } from './float32.js';
import {
  type ChosenTokenLogprob,
  chosenLogprob,
  type GenerateOutput,
  type PromptLookupStatistics,
  plainOutput,
  stackRows,
} from './output.js';
import { type RandomStream, randomStreams, sampleToken, uniform } from './random.js';
import { LATE } from './user-code.js';

/**
 * The tokens that followed the first earlier occurrence of the text's last n-gram, of the longest
 * n-gram that has one.
 *
 * @param longest longest n-gram to look for.
 * @param count most tokens to propose.
 * @returns no tokens where nothing matches, and none from an end-of-sequence token on.
 */
export function lookUp(
  ids: readonly number[],
  longest: number,
  count: number,
  eos: readonly number[],
): number[] {
  const matched = commonSuffixes(ids);
  const n = Math.min(
    longest,
    matched.reduce((most, length) => Math.max(most, length), 0),
  );
  if (n === 0) return [];
  const last = matched.findIndex((length) => length >= n);
  const found = ids.slice(last + 1, last + 1 + count);
  const end = found.findIndex((id) => eos.includes(id));
  return end < 0 ? found : found.slice(0, end);
}

/**
 * For every place but the last, how many tokens up to it are the text's last ones: the Z-function of
 * the text read backwards, in linear time.
 */
function commonSuffixes(ids: readonly number[]): Uint32Array {
  const n = ids.length;
  const back = (i: number): number => ids[n - 1 - i] as number;
  const out = new Uint32Array(Math.max(0, n - 1));
  let left = 0;
  let right = 0;
  const z = new Uint32Array(n);
  for (let i = 1; i < n; i++) {
    let length = i < right ? Math.min(right - i, z[i - left] as number) : 0;
    while (i + length < n && back(length) === back(i + length)) length++;
    z[i] = length;
    out[n - 1 - i] = length;
    if (i + length > right) [left, right] = [i, i + length];
  }
  return out;
}

function positive(name: string, value: number): number {
  if (!Number.isInteger(value) || value <= 0) throw invalidArgument(name, 'an integer > 0', value);
  return value;
}

/** Decodes one row with prompt lookup. */
export async function promptLookup(request: DecodeRequest): Promise<GenerateOutput> {
  const { session, config, inputs, processors, criteria, streamer, seed, scope } = request;
  const { signal } = scope;
  if (inputs.rows.length > 1) {
    throw new InvalidArgumentError('assisted generate is only supported for batch_size = 1', {
      subject: 'prompt_lookup_num_tokens',
      found: inputs.rows.length,
    });
  }
  const count = positive('prompt_lookup_num_tokens', config.prompt_lookup_num_tokens as number);
  const longest = positive('max_matching_ngram_size', config.max_matching_ngram_size ?? 2);
  const [limit] = newTokenLimits(request) as [number];
  const [stream] = randomStreams(inputs.prompts, 1) as [RandomStream];
  const prompt = inputs.prompts[0] as number[];
  // With padding for processors, criteria and the result; without it for the engine.
  const row = (inputs.rows[0] as number[]).slice();
  const text = prompt.slice();
  const eos = config.eos ?? [];

  const statistics: PromptLookupStatistics = { steps: 0, proposed: 0, accepted: 0 };
  const scores: Tensor[] | null = config.output_scores ? [] : null;
  const logits: Tensor[] | null = config.output_logits ? [] : null;
  const logprobs: ChosenTokenLogprob[] | null = request.output_logprobs === null ? null : [];

  const sequence = session.create();
  if (prompt.length > 1) {
    const tokens = prompt.slice(0, -1);
    await session.forward([{ sequence, tokens, logits: 'none' }], { signal });
  }
  const vocab = session.vocab_size;
  const slice = new TimeSlice(scope.signal);
  let generated = 0;
  let ended = false;
  while (!ended) {
    scope.check();
    // The run's last position gives a token of its own: propose one less than there is room for.
    const room = Math.min(count, limit - generated - 1);
    const proposed = room > 0 ? lookUp(text, longest, room, eos) : [];
    const cached = session.length(sequence);
    const run = await session.forward(
      [{ sequence, tokens: [text.at(-1) as number, ...proposed], logits: 'all' }],
      { signal },
    );
    statistics.steps++;
    statistics.proposed += proposed.length;

    const accepted: number[] = [];
    for (let i = 0; i <= proposed.length && !ended; i++) {
      const raw = run.logits.subarray(i * vocab, (i + 1) * vocab);
      logits?.push(stackRows([raw]));
      await processors.prepare([row], [true], scope);
      const [processed] = (await processors.run([row], [raw], slice)) as [Float32Array];
      scores?.push(stackRows([processed]));
      const token = config.do_sample
        ? sampleToken(processed, uniform(seed, stream, generated))
        : argmax(processed);
      logprobs?.push(chosenLogprob(processed, token, request.output_logprobs ?? 0));
      row.push(token);
      text.push(token);
      accepted.push(token);
      generated++;
      const done = await scope.wait(criteria([row], scores));
      ended = done === LATE || done[0] === true || generated >= limit;
      if (token !== proposed[i]) break;
      statistics.accepted++;
    }
    session.truncate(sequence, cached + accepted.length);
    if ((await scope.wait(streamer?.put([accepted]))) === LATE) ended = true;
  }
  return {
    ...plainOutput([row]),
    scores,
    logits,
    logprobs: logprobs === null ? null : [logprobs],
    prompt_lookup: statistics,
  };
}
