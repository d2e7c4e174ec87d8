"""Hugging Face transformers on the checkpoint that komt has just run: the same figures, as JSON.

The argument is a JSON object {checkpoint, device, prompts, new_tokens}.
"""
import json
import statistics
import sys
import time

import torch
import transformers
from transformers import AutoModelForCausalLM


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
        ids = torch.tensor([[300 + (i * 7919) % 31000 for i in range(length)]], device=device)
        begun = time.perf_counter()
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            min_new_tokens=new_tokens,
            max_new_tokens=new_tokens,
        )
        finish()
        return time.perf_counter() - begun

    def median(length, new_tokens, repeats=3):
        return statistics.median(answer(length, new_tokens) for _ in range(repeats))

    answer(64, 4)
    first = {str(length): median(length, 1) for length in spec["prompts"]}
    shortest = min(spec["prompts"])
    whole = median(shortest, spec["new_tokens"] + 1)
    step_s = (whole - first[str(shortest)]) / spec["new_tokens"]
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
