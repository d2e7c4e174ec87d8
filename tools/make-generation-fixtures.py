#!/usr/bin/env python3
"""Writes what PyTorch and transformers answer, so that tests can hold generation against it without
an engine: torch-order.json, the order in which torch.sort and torch.topk leave equal values, and
table-model.json, what generate answers for a model that is a table.

usage: make-generation-fixtures.py [FOLDER]      needs torch and transformers 5.18
       FOLDER: test/fixtures/generation by default

The table model's logits after token x as the n-th token (padding not counted) are T[x] + P[n mod 7], all
multiples of 1/512 below 8 in size, so float32 holds them and their sums exactly.
"""

import json
import sys
import warnings

import torch
import transformers
from transformers import GenerationConfig, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

warnings.filterwarnings("ignore")
VOCAB, EOS, PAD = 24, 2, 0


def numbers(seed, count):
    """A linear congruential sequence, scaled."""
    out, x = [], seed
    for _ in range(count):
        x = (x * 1103515245 + 12345) % 2**31
        out.append((x >> 8) % 2048 / 512 - 2)
    return out


T = torch.tensor(numbers(1, VOCAB * VOCAB)).view(VOCAB, VOCAB)
P = torch.tensor(numbers(2, 7 * VOCAB)).view(7, VOCAB)


class TableConfig(PretrainedConfig):
    model_type = "table"
    vocab_size = VOCAB
    hidden_size = 1
    num_hidden_layers = 1


class TableModel(PreTrainedModel, GenerationMixin):
    config_class = TableConfig

    def __init__(self, config):
        super().__init__(config)
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, input_ids, attention_mask=None, **_):
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        places = mask[:, -input_ids.shape[1]:].cumsum(-1)
        return CausalLMOutputWithPast(logits=T[input_ids] + P[places % 7])


model = TableModel(TableConfig()).eval()
model.generation_config = GenerationConfig(use_cache=False)


def plain(tensor, digits=5):
    if tensor.dtype.is_floating_point:
        return [plain(t, digits) for t in tensor] if tensor.dim() else round(float(tensor), digits)
    return tensor.tolist()


def case(name, input_ids, attention_mask=None, **options):
    ids = torch.tensor(input_ids)
    mask = None if attention_mask is None else torch.tensor(attention_mask)
    call = {k: torch.tensor(v) if k.startswith("negative") else v for k, v in options.items()}
    out = model.generate(ids, attention_mask=mask, return_dict_in_generate=True, output_scores=True, output_logits=True, **call)
    record = {"name": name, "input_ids": input_ids, "attention_mask": attention_mask, "options": options,
              "sequences": out.sequences.tolist()}
    beams = options.get("num_beams", 1) > 1
    if beams:
        record["sequences_scores"] = plain(out.sequences_scores)
        record["beam_indices"] = out.beam_indices.tolist()
    record["steps"] = len(out.scores)
    finite = lambda t: [[None if not torch.isfinite(x) else round(float(x), 4) for x in row] for row in t]
    record["first_scores"] = finite(out.scores[0])
    record["last_scores"] = finite(out.scores[-1])
    transitions = model.compute_transition_scores(out.sequences, out.scores, out.beam_indices if beams else None, normalize_logits=not beams)
    record["transition_scores"] = finite(transitions)
    return record


one, two = [[1, 5, 9]], [[0, 0, 1, 7], [1, 3, 8, 4]]
mask = [[0, 0, 1, 1], [1, 1, 1, 1]]
cases = [
    case("greedy", one, eos_token_id=EOS, max_new_tokens=10),
    case("greedy, padded batch with a finished row", two, mask, eos_token_id=[EOS, 11, 12], pad_token_id=PAD, max_new_tokens=12),
    case("greedy, min_length", one, eos_token_id=[2, 11, 12, 13, 14, 15], max_new_tokens=10, min_length=7),
    case("greedy, encoder_repetition_penalty", one, max_new_tokens=8, encoder_repetition_penalty=3.0),
    case("greedy, guidance", one, max_new_tokens=8, guidance_scale=1.8),
    case("greedy, guidance with a negative prompt", one, max_new_tokens=8, guidance_scale=2.5, negative_prompt_ids=[[1, 4, 4, 6]]),
    case("greedy, forced first token", [[1]], max_new_tokens=4, forced_bos_token_id=7, begin_suppress_tokens=[3, 4]),
]
for early in (False, True, "never"):
    for penalty in (1.0, 0.0, 2.0, -1.0):
        for eos in (None, EOS, [2, 5, 11, 12, 17]):
            name = f"beams, early_stopping {early}, length_penalty {penalty}, eos {eos}"
            cases.append(case(name, one, num_beams=3, num_return_sequences=3, early_stopping=early,
                              length_penalty=penalty, eos_token_id=eos, max_new_tokens=9))
cases += [
    case("beams, padded batch", two, mask, num_beams=4, num_return_sequences=2, eos_token_id=[2, 11, 12, 13], pad_token_id=5, max_new_tokens=10),
    case("beams, penalties and minimum", one, num_beams=4, eos_token_id=[2, 11, 12, 13, 14], repetition_penalty=1.3, no_repeat_ngram_size=2, min_new_tokens=5, max_new_tokens=10, num_return_sequences=4),
    case("beams, renormalized bad words", one, num_beams=3, eos_token_id=EOS, bad_words_ids=[[3], [4, 5]], renormalize_logits=True, max_new_tokens=7, num_return_sequences=3),
    case("beams, as many as the vocabulary", one, num_beams=20, eos_token_id=EOS, max_new_tokens=3, num_return_sequences=5),
]
def order(seed, length, distinct, k):
    """Orders of `length` values of which `distinct` are different."""
    values = torch.tensor([float(int((x + 2) * 512) % distinct) for x in numbers(seed, length)])
    return {"values": [int(x) for x in values], "k": k, "sort": torch.sort(values[None])[1][0].tolist(),
            "topk": torch.topk(values[None], k)[1][0].tolist()}


def killer(length):
    """Values on which median-of-three partitions are as uneven as can be: introsort's heaps sort them."""
    half = length // 2
    values = [0] * length
    for i in range(half):
        values[i] = i + 1 if i % 2 == 0 else half + i + (half % 2)
        values[half + i] = 2 * (i + 1)
    values = torch.tensor([float(x // 2) for x in values])
    return {"values": [int(x) for x in values], "k": length, "sort": torch.sort(values[None])[1][0].tolist(),
            "topk": torch.topk(values[None], length)[1][0].tolist()}


orders = [order(length + distinct, length, distinct, k)
          for length, k in ((1, 1), (2, 1), (5, 3), (16, 16), (17, 4), (48, 48), (100, 60), (300, 4), (700, 9), (900, 100))
          for distinct in (1, 3, 20)] + [killer(256)]

folder = sys.argv[1] if len(sys.argv) > 1 else "test/fixtures/generation"
with open(f"{folder}/torch-order.json", "w") as f:
    json.dump({"torch": torch.__version__, "cases": orders}, f, separators=(",", ":"))
with open(f"{folder}/table-model.json", "w") as f:
    json.dump({"transformers": transformers.__version__, "vocab_size": VOCAB, "T": T.tolist(), "P": P.tolist(), "cases": cases}, f)
print(len(orders), "orders,", len(cases), "cases")
