/** What is meant by the names that other libraries have for what `generate()` does. */

import { nearestName } from '../nearest-name.js';

const FORMAT = 'Answers in a given form are not supported yet; ask for it in the prompt.';
const TEMPLATE =
  'Make a prompt of messages first: tokenizer.apply_chat_template(messages, { add_generation_prompt: true, return_tensors: "pt" }).';

/** By name, what to do; in the order OpenAI, Ollama and llama.cpp, node-llama-cpp, transformers.js. */
const REMEDIES: Readonly<Record<string, string>> = {
  stop: 'The option is `stop_strings`, and wants `tokenizer` beside it.',
  max_tokens: 'The option is `max_new_tokens`.',
  max_completion_tokens: 'The option is `max_new_tokens`.',
  n: 'The option is `num_return_sequences`, with `do_sample: true`.',
  frequency_penalty: 'There is `repetition_penalty` (1 changes nothing, above it repeats less).',
  presence_penalty: 'There is `repetition_penalty` (1 changes nothing, above it repeats less).',
  logit_bias: 'The option is `sequence_bias`: [[[id], bias], ...].',
  logprobs:
    'Pass `return_dict_in_generate: true` and `output_scores: true`, then model.compute_transition_scores().',
  top_logprobs: 'Pass `return_dict_in_generate: true` and `output_scores: true`.',
  response_format: FORMAT,
  tools: 'Pass `tools` to tokenizer.apply_chat_template().',
  tool_choice: 'Pass `tools` to tokenizer.apply_chat_template().',
  messages: TEMPLATE,
  prompt: 'Encode it first: generate({ ...tokenizer(prompt, { return_tensors: "pt" }) }).',
  stream: 'Use model.stream(...), or pass a `streamer`.',
  best_of: 'There is `num_beams`.',
  num_predict: 'The option is `max_new_tokens`.',
  n_predict: 'The option is `max_new_tokens`.',
  num_ctx: 'The cache is sized when the model is loaded: `cache_tokens` of from_pretrained().',
  repeat_penalty: 'The option is `repetition_penalty`.',
  tfs_z: 'There are `top_p`, `min_p` and `typical_p`.',
  format: FORMAT,
  grammar: FORMAT,
  temp: 'The option is `temperature`.',
  maxTokens: 'The option is `max_new_tokens`.',
  customStopTriggers: 'The option is `stop_strings`, and wants `tokenizer` beside it.',
  repeatPenalty: 'The option is `repetition_penalty`.',
  onTextChunk: 'Pass a `streamer`: new TextStreamer(tokenizer, { callback_function }).',
  onToken: 'Pass a `streamer`.',
  callback_function: 'Pass a `streamer`: new TextStreamer(tokenizer, { callback_function }).',
  assistant_model: 'For speculation without a draft model there is `prompt_lookup_num_tokens`.',
};

/** What to do instead of an option that does not exist. */
export function remedyFor(name: string, names: readonly string[]): string {
  const remedy = Object.hasOwn(REMEDIES, name) ? REMEDIES[name] : undefined;
  if (remedy !== undefined) return remedy;
  // topP, maxNewTokens: the same words in JavaScript's spelling.
  const snake = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  return `Did you mean \`${names.includes(snake) ? snake : nearestName(name, names)}\`?`;
}
