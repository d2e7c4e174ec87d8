import { AutoModelForCausalLM } from '../support/komt.mjs';
import { komtVersion } from '../support/machine.mjs';
import { runEngine, TokenClock } from './protocol.mjs';

await runEngine(async ({ checkpoint, dtype, threads, prompt, new_tokens }) => {
  const started = performance.now();
  const model = await AutoModelForCausalLM.from_pretrained(checkpoint, {
    device_map: 'cpu',
    dtype,
    num_threads: threads,
  });
  const greedy = { do_sample: false, eos_token_id: null };
  await model.generate({ input_ids: [prompt.slice(0, 1)], ...greedy, max_new_tokens: 1 });
  const ready_s = (performance.now() - started) / 1000;

  const generate = async () => {
    const clock = new TokenClock();
    let isPrompt = true;
    await model.generate({
      input_ids: [prompt],
      ...greedy,
      max_new_tokens: new_tokens,
      streamer: {
        put(rows) {
          if (!isPrompt) clock.token(rows[0][0]);
          isPrompt = false;
        },
        end() {},
      },
    });
    return clock.result();
  };
  return { version: komtVersion(), ready_s, generate, dispose: () => model.dispose() };
});
