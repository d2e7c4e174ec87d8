"""Hugging Face transformers on the checkpoint that komt has just run: the same figures, as JSON.

The argument is a JSON object {checkpoint, device, vocab, prompts, new_tokens}.
"""
import json
import statistics
import sys
import time

import torch
import transformers
from transformers import AutoModelForCausalLM
from transformers.generation.streamers import BaseStreamer


class TokenClock(BaseStreamer):
    """Times of the tokens of an answer; the first call brings the prompt."""

    def __init__(self):
        self.times = []

    def put(self, value):
        self.times.append(time.perf_counter())

    def end(self):
        pass


def main():
    spec = json.loads(sys.argv[1])
    device = spec["device"]
    transformers.logging.set_verbosity_error()
    started = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(spec["checkpoint"], dtype=torch.float16).to(device)
    model.generation_config.eos_token_id = None

    def finish():
        if device == "cuda":
            torch.cuda.synchronize()

    finish()
    load_s = time.perf_counter() - started

    def answer(length, new_tokens):
        rows = [[259 + (i * 7919) % (spec["vocab"] - 259) for i in range(length)]]
        ids = torch.tensor(rows, device=device)
        clock = TokenClock()
        begun = time.perf_counter()
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=new_tokens,
            streamer=clock,
        )
        # Seconds to the first token, and from it to the last.
        return clock.times[1] - begun, clock.times[-1] - clock.times[1]

    def median(length, new_tokens, which, repeats=3):
        return statistics.median(answer(length, new_tokens)[which] for _ in range(repeats))

    answer(min(64, *spec["prompts"]), 4)
    first = {str(length): median(length, 1, 0) for length in spec["prompts"]}
    step_s = median(min(spec["prompts"]), spec["new_tokens"] + 1, 1) / spec["new_tokens"]
    print()
    print(
        json.dumps(
            {
                "version": f"transformers {transformers.__version__}, torch {torch.__version__}",
                "load_s": load_s,
                "time_to_first_token_s": first,
                "decode_tokens_per_s": 1 / step_s,
                "step_us": 1e6 * step_s,
            }
        )
    )


main()
