"""Hugging Face transformers on the CPU; the protocol is that of protocol.mjs."""
import json
import re
import resource
import sys
import time

import torch
import transformers
from transformers import AutoModelForCausalLM
from transformers.generation.streamers import BaseStreamer


class TokenClock(BaseStreamer):
    """Times one answer from its construction on."""

    def __init__(self):
        self.times = []
        self.tokens = []
        self.is_prompt = True
        self.started = time.perf_counter()

    def put(self, value):
        if not self.is_prompt:
            self.tokens.append(int(value[0]))
            self.times.append(time.perf_counter())
        self.is_prompt = False

    def end(self):
        pass

    def result(self):
        return {
            "prefill_s": self.times[0] - self.started,
            "decode_s": self.times[-1] - self.times[0],
            "tokens": self.tokens,
        }


def peak_memory():
    """Highest resident memory of this process in bytes."""
    try:
        with open("/proc/self/status", encoding="utf-8") as status:
            return int(re.search(r"^VmHWM:\s+(\d+) kB", status.read(), re.M).group(1)) * 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main():
    spec = json.loads(sys.argv[1])
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(spec["threads"])
    started = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(
        spec["checkpoint"], dtype=getattr(torch, spec["dtype"])
    )
    model.generation_config.eos_token_id = None
    prompt = torch.tensor([spec["prompt"]])

    def generate(input_ids, new_tokens):
        clock = TokenClock()
        model.generate(
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            do_sample=False,
            max_new_tokens=new_tokens,
            streamer=clock,
        )
        return clock.result()

    generate(prompt[:, :1], 1)
    ready_s = time.perf_counter() - started
    runs = [generate(prompt, spec["new_tokens"]) for _ in range(spec["repeats"])]
    version = f"{transformers.__version__}, torch {torch.__version__}"
    answer = {
        "version": version,
        "ready_s": ready_s,
        "runs": runs,
        "peak_rss_bytes": peak_memory(),
        "cpu_s": time.process_time(),
    }
    print(f"\n{json.dumps(answer)}")


main()
