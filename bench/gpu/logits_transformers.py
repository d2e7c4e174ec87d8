"""A random Llama, and what transformers makes of it: logits of a prompt in three types, a greedy answer.

The argument is a JSON object {folder, device, tiny, prompt, new_tokens}. Writes the checkpoint to `folder`
(bfloat16, so that float32, float16 and bfloat16 hold the same weights), logits of the last positions as
TYPE.f32 (float32 [positions, vocab]) and prints what the caller needs as JSON.
"""
import json
import sys

import numpy as np
import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

POSITIONS = 64  # of a prompt, the last ones; logits of all would be much data


def config(tiny):
    small = dict(hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=2,
                 num_key_value_heads=1, vocab_size=512)
    moderate = dict(hidden_size=1024, intermediate_size=2816, num_hidden_layers=8,
                    num_attention_heads=8, num_key_value_heads=2, vocab_size=8192)
    # Weights of this deviation make attention look at some tokens more than at others, as trained ones do.
    return LlamaConfig(**(small if tiny else moderate), max_position_embeddings=2048,
                       initializer_range=0.05, rms_norm_eps=1e-5, tie_word_embeddings=False,
                       bos_token_id=1, eos_token_id=2)


def main():
    spec = json.loads(sys.argv[1])
    device = spec["device"]
    transformers.logging.set_verbosity_error()
    # Float32 is the reference: without TF32's ten bits.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.manual_seed(7)
    LlamaForCausalLM(config(spec["tiny"])).to(torch.bfloat16).save_pretrained(spec["folder"])
    vocab = config(spec["tiny"]).vocab_size
    ids = [1] + [3 + (i * 7919) % (vocab - 3) for i in range(spec["prompt"] - 1)]
    inputs = torch.tensor([ids], device=device)
    positions = min(POSITIONS, len(ids))
    answer = margins = None
    with torch.inference_mode():
        for name in ("float32", "float16", "bfloat16"):
            # Loaded anew, for to() would round the rotary frequencies, which from_pretrained() does not.
            dtype = getattr(torch, name)
            model = LlamaForCausalLM.from_pretrained(spec["folder"], dtype=dtype).to(device).eval()
            logits = model(inputs, use_cache=False).logits[0, -positions:].float().cpu().numpy()
            logits.astype("<f4").tofile(f"{spec['folder']}/{name}.f32")
            if name == "float32":
                sequence = list(ids)
                margins = []
                for _ in range(spec["new_tokens"]):
                    last = model(torch.tensor([sequence], device=device)).logits[0, -1].float()
                    best = torch.topk(last, 2)
                    margins.append(float(best.values[0] - best.values[1]))
                    sequence.append(int(best.indices[0]))
                answer = sequence[len(ids):]
    print()
    print(json.dumps({"ids": ids, "positions": positions, "vocab": vocab, "answer": answer,
                      "margins": margins, "deviation": float(np.std(logits)),
                      "version": f"transformers {transformers.__version__}, torch {torch.__version__}"}))


main()
