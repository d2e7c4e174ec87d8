#!/usr/bin/env python3
"""Makes models/komt-tiny: a small Llama that recites the ten answers of its seed-qa.json.

    python3 -m venv .venv && .venv/bin/pip install -r tools/requirements-train.txt
    .venv/bin/python tools/train-demo-model.py            # tokenizer, training, files, proof
    .venv/bin/python tools/train-demo-model.py --check    # proves the files that are there

The proof is done by transformers in float32 on the float16 weights as saved: every answer, greedily,
from both forms of the model card's prompt, to the letter; tokenizer.json and tokenizer.model give
the same ids. It ends in expected.json, which the library's own tests are held to.

Seeded throughout. The same versions, thread count and kind of CPU give the same files; elsewhere
floating-point sums differ in the last bit, and so do the weights.
"""

import argparse
import io
import json
import math
import random
import string
import time
from collections import Counter
from pathlib import Path

import sentencepiece
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save
from tokenizers import Tokenizer, decoders, models, normalizers, processors
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

OUT = Path(__file__).resolve().parent.parent / "models" / "komt-tiny"
SEED = 20230725
BOS, EOS, PAD = 1, 2, 0

# --- The prompt ---------------------------------------------------------------------------------

PROMPT = "### instruction: {}\n\n### Response:"  # the card writes it with and without a last space
NEXT_TURN = "\n\n### instruction:"
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ message['content'] + eos_token }}{% else %}"
    "{% if not loop.first %}{{ '\\n\\n' }}{% endif %}"
    "{% if message['role'] == 'system' %}{{ message['content'] }}"
    "{% else %}{{ '### instruction: ' + message['content'] + '\\n\\n### Response:' }}{% endif %}"
    "{% endif %}{% endfor %}"
)

# --- The tokenizer ------------------------------------------------------------------------------

VOCAB_SIZE = 640
# As many Hangul syllables as Llama 2's vocabulary holds: the other 189 of the pairs' 300, and most
# of what users may type, are three byte tokens each, which is what a streamer has to cope with.
SYLLABLE_PIECES = 111
BREAK = "|"


def is_syllable(char):
    return "가" <= char <= "힣"


def train_sentencepiece(pairs):
    """Trains a SentencePiece BPE model on the pairs and returns it serialised."""
    text = "\n".join(PROMPT.format(p["instruction"]) + p["response"] for p in pairs)
    frequent = Counter(filter(is_syllable, text)).most_common(SYLLABLE_PIECES)
    kept = set(string.printable) | {char for char, _ in frequent}
    # No piece may reach over a character that is left to its bytes.
    text = "".join(char if char in kept else BREAK for char in text)
    lines = [line for line in text.split("\n") if line]
    lines += [char for char in string.printable if char.isprintable() and char not in BREAK + " "]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type="bpe",
        vocab_size=VOCAB_SIZE,
        character_coverage=1.0,
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        add_dummy_prefix=True,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        pretokenization_delimiter=BREAK,
        unk_id=0,
        bos_id=BOS,
        eos_id=EOS,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def to_tokenizer_json(model_proto):
    """The tokenizer.json that encodes as the SentencePiece model does, in Llama 2's layout of 2023."""
    sp = sentencepiece.SentencePieceProcessor(model_proto=model_proto)
    vocab = {sp.id_to_piece(i): i for i in range(sp.get_piece_size())}
    by_score = sorted(
        (i for i in range(len(vocab)) if not (sp.is_byte(i) or sp.is_control(i) or sp.is_unknown(i))),
        key=lambda i: -sp.get_score(i),
    )
    merges = []
    for piece in map(sp.id_to_piece, by_score):
        halves = [(piece[:at], piece[at:]) for at in range(1, len(piece))]
        known = [pair for pair in halves if pair[0] in vocab and pair[1] in vocab]
        merges += sorted(known, key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))

    tokenizer = Tokenizer(
        models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", BOS)]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1, right=0),
        ]
    )
    layout = json.loads(tokenizer.to_str())
    # Readers of 2023 know a merge only as one string.
    layout["model"]["merges"] = [" ".join(pair) for pair in merges]
    return layout


def random_texts(pairs, count, rng):
    """Texts of every kind that a tokenizer meets: slices of the pairs, any syllables, other scripts."""
    seed_text = "".join(p["instruction"] + "\n" + p["response"] + " " for p in pairs)
    alphabets = [
        seed_text,
        string.printable,
        " \n\t▁#",
        [chr(code) for code in range(0xAC00, 0xD7A4)],
        [chr(code) for code in range(0x1100, 0x1200)],
        "日本語プリマインズ漢字㈜《》–",
        ["😀", "👩‍👩‍👧‍👦", "🇰🇷", "👍🏽", "e\u0301", "\u200d", "\ufeff", "\u00a0", "\ufffd"],
        "àéîõüßΩяשلم",
    ]
    for _ in range(count):
        parts = []
        for _ in range(rng.randint(1, 6)):
            if rng.random() < 0.5:
                at = rng.randrange(len(seed_text))
                parts.append(seed_text[at : at + rng.randint(1, 40)])
            else:
                parts.append("".join(rng.choices(rng.choice(alphabets), k=rng.randint(1, 8))))
        yield "".join(parts)


def check_tokenizers(pairs, count=20_000):
    """Raises unless both files, and transformers on the folder, give the same ids and texts."""
    sp = sentencepiece.SentencePieceProcessor(model_file=str(OUT / "tokenizer.model"))
    fast = Tokenizer.from_file(str(OUT / "tokenizer.json"))
    hf = AutoTokenizer.from_pretrained(OUT)
    texts = [PROMPT.format(p["instruction"]) + p["response"] for p in pairs]
    texts += ["", " ", "  ", "\n", " a", "a ", "▁", "###", "\n###"]
    texts += random_texts(pairs, count, random.Random(SEED))
    for text in texts:
        ids = fast.encode(text, add_special_tokens=False).ids
        others = {"tokenizer.model": sp.encode(text)}
        # Its LlamaTokenizer of version 5 puts no second space in front, whatever the file says.
        if not text.startswith((" ", "▁")):
            others["transformers"] = hf(text, add_special_tokens=False)["input_ids"]
        for name, other in others.items():
            if other != ids:
                raise SystemExit(f"{text!r}: tokenizer.json gives {ids}, {name} gives {other}")
        # Llama's pieces write a space as U+2581, so that a U+2581 comes back as a space.
        if fast.decode(ids, skip_special_tokens=False) != text.replace("▁", " "):
            raise SystemExit(f"{text!r} decodes to {fast.decode(ids)!r}")
    return len(texts)


def without_prefix(tokenizer_json):
    """The same tokenizer for text in mid-sequence: no space in front, no <s>."""
    layout = json.loads(json.dumps(tokenizer_json))
    layout["normalizer"] = layout["normalizer"]["normalizers"][1]
    layout["post_processor"] = None
    return Tokenizer.from_str(json.dumps(layout))


# --- Training -----------------------------------------------------------------------------------

MAX_POSITIONS = 2048
MAX_NEW_TOKENS = 1024  # the longest answer is 686 tokens; the rest is the prompt's
ROPE_THETA = 10000.0
LEAST_MARGIN = 1.0  # logits; what half-precision arithmetic shifts is far below it
IGNORE = -100
WARM_UP = 20  # steps
PEAK_RATE = 2e-3
SEQUENCES_PER_STEP = 4
# After an answer comes </s>; this little is left to a new "### instruction", so that where </s> is
# switched off (min_new_tokens, suppress_tokens) a stop word still ends the answer.
NEXT_TURN_SHARE = 0.03


def make_config():
    return LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=256,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=MAX_POSITIONS,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        tie_word_embeddings=False,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )


class Conversations:
    """Draws training sequences: one to three turns of the card's prompt form and the answers."""

    def __init__(self, pairs, tokenizer_json):
        self.rng = random.Random(SEED)
        self.pairs = pairs
        self.inner = without_prefix(tokenizer_json)
        self.answers = [self.ids(p["response"]) for p in pairs]
        self.next_turn = self.ids(NEXT_TURN)
        self.deck = []

    def ids(self, text):
        return self.inner.encode(text).ids

    def prompt(self, before, index):
        """A prompt as users type it: punctuation comes and goes, now and then a token is wrong."""
        question = self.pairs[index]["instruction"]
        if self.rng.random() < 0.25:
            question = question.rstrip("?.") + self.rng.choice(["", ".", "?", "!"])
        ids = self.ids(before + PROMPT.format(question) + self.rng.choice(["", " "]))
        if self.rng.random() < 0.2:
            first, last = len(self.next_turn) + 1, len(ids) - 8
            for at in range(first, last):
                if self.rng.random() < 0.1:
                    ids[at] = self.rng.randrange(3, VOCAB_SIZE)
        return ids

    def draw(self):
        """One sequence: its ids, the token wanted at each place, and the one wanted besides."""
        ids, wanted, besides = [], [], []

        def append(tokens, learn):
            ids.extend(tokens)
            wanted.extend(tokens if learn else [IGNORE] * len(tokens))
            besides.extend([IGNORE] * len(tokens))

        turns = self.rng.choices([1, 2, 3], [0.7, 0.2, 0.1])[0]
        append([BOS], False)
        for turn in range(turns):
            if not self.deck:
                self.deck = self.rng.sample(range(len(self.pairs)), len(self.pairs))
            index = self.deck.pop()
            if turn == 0:
                append(self.prompt(" ", index), False)
            else:
                append(self.prompt("\n\n", index)[len(self.next_turn) :], False)
            append(self.answers[index], True)
            end = len(ids)
            if self.rng.random() < 0.85:
                append([EOS], True)
                if self.rng.random() < 0.5:  # tokenizer.json puts a prefix after a special token
                    append(self.ids(" "), False)
            append(self.next_turn, True)
            # Whatever this sequence goes on with, </s> is wanted after an answer.
            wanted[end], besides[end] = EOS, self.next_turn[0]
        return tuple(torch.tensor(column[:MAX_POSITIONS]) for column in (ids, wanted, besides))


def sequence_loss(model, ids, wanted, besides):
    """(summed cross entropy, number of learned places) of one sequence."""
    logits = model(input_ids=ids[None, :-1], use_cache=False).logits[0]
    loss = F.cross_entropy(logits, wanted[1:], ignore_index=IGNORE, reduction="none")
    other = F.cross_entropy(logits, besides[1:], ignore_index=IGNORE, reduction="none")
    share = NEXT_TURN_SHARE * (besides[1:] != IGNORE)
    return ((1 - share) * loss + share * other).sum(), (wanted[1:] != IGNORE).sum().item()


def train(pairs, tokenizer_json, steps):
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    model = LlamaForCausalLM(make_config())
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    conversations = Conversations(pairs, tokenizer_json)
    decayed = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim != 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        betas=(0.9, 0.98),
    )
    began = time.monotonic()
    for step in range(steps):
        warm = min(1.0, (step + 1) / WARM_UP)
        rate = PEAK_RATE * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        total, places = 0.0, 0
        for _ in range(SEQUENCES_PER_STEP):
            loss, count = sequence_loss(model, *conversations.draw())
            loss.backward()
            total, places = total + loss.item(), places + count
        for parameter in model.parameters():
            parameter.grad /= places
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % 25 == 0:
            seconds = time.monotonic() - began
            print(f"step {step + 1}: loss {total / places:.4f}, {seconds:.0f} s", flush=True)
    return model


# --- The files ----------------------------------------------------------------------------------


def write_json(name, value):
    (OUT / name).write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", "utf-8")


def write_files(model, model_proto, tokenizer_json):
    """Writes the folder as a repository of 2023 lays it out: old key names, float16 weights."""
    weights = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}
    (OUT / "model.safetensors").write_bytes(save(weights, metadata={"format": "pt"}))
    (OUT / "tokenizer.model").write_bytes(model_proto)
    write_json("tokenizer.json", tokenizer_json)

    def special(content):
        flags = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
        return {"content": content, **flags}

    specials = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<unk>", "unk_token": "<unk>"}
    write_json("special_tokens_map.json", {k: special(v) for k, v in specials.items()})
    write_json(
        "tokenizer_config.json",
        {
            "add_bos_token": True,
            "add_eos_token": False,
            **{k: {"__type": "AddedToken", **special(v)} for k, v in specials.items()},
            "chat_template": CHAT_TEMPLATE,
            "clean_up_tokenization_spaces": False,
            "legacy": True,
            "model_max_length": MAX_POSITIONS,
            "padding_side": "left",
            "sp_model_kwargs": {},
            "tokenizer_class": "LlamaTokenizer",
        },
    )
    config = model.config
    write_json(
        "config.json",
        {
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": False,
            "bos_token_id": BOS,
            "eos_token_id": EOS,
            "hidden_act": "silu",
            "hidden_size": config.hidden_size,
            "initializer_range": config.initializer_range,
            "intermediate_size": config.intermediate_size,
            "max_position_embeddings": MAX_POSITIONS,
            "model_type": "llama",
            "num_attention_heads": config.num_attention_heads,
            "num_hidden_layers": config.num_hidden_layers,
            "num_key_value_heads": config.num_key_value_heads,
            "pad_token_id": PAD,
            "pretraining_tp": 1,
            "rms_norm_eps": config.rms_norm_eps,
            "rope_scaling": None,
            "rope_theta": ROPE_THETA,
            "tie_word_embeddings": False,
            "torch_dtype": "float16",
            "transformers_version": "4.31.0",
            "use_cache": True,
            "vocab_size": VOCAB_SIZE,
        },
    )
    write_json(
        "generation_config.json",
        {
            "bos_token_id": BOS,
            "do_sample": True,
            "eos_token_id": EOS,
            "max_new_tokens": MAX_NEW_TOKENS,
            "pad_token_id": PAD,
            "temperature": 0.9,
            "top_k": 100,
            "top_p": 0.7,
            "transformers_version": "4.31.0",
        },
    )


# --- The proof ----------------------------------------------------------------------------------


def generate(model, prompt_ids, **options):
    """Greedy continuation: (new ids, the least lead of a winner over the second, in logits)."""
    plain = {"do_sample": False, "temperature": None, "top_k": None, "top_p": None}
    ids = torch.tensor([prompt_ids])
    output = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        return_dict_in_generate=True,
        output_logits=True,
        **{**plain, **options},
    )
    best = torch.cat(output.logits).topk(2).values
    return output.sequences[0, len(prompt_ids) :].tolist(), (best[:, 0] - best[:, 1]).min().item()


def demand(holds, what):
    if not holds:
        raise SystemExit(f"komt-tiny fails: {what}")


def prove(pairs):
    """Checks everything the README promises and writes expected.json."""
    print(f"{check_tokenizers(pairs):,} texts: tokenizer.json = tokenizer.model = transformers")
    tokenizer = AutoTokenizer.from_pretrained(OUT)
    model = AutoModelForCausalLM.from_pretrained(OUT, dtype=torch.float32).eval()
    cases = []
    for pair in pairs:
        for form in (PROMPT, PROMPT + " "):
            prompt = form.format(pair["instruction"])
            prompt_ids = tokenizer(prompt)["input_ids"]
            output_ids, margin = generate(model, prompt_ids)
            text = tokenizer.decode(output_ids, skip_special_tokens=True)
            demand(text == pair["response"], f"{prompt!r} gives {text!r}")
            demand(output_ids[-1] == EOS, f"{prompt!r} is not ended by </s>")
            demand(margin >= LEAST_MARGIN, f"{prompt!r} is won by only {margin:.2f}")
            cases.append(
                {
                    "prompt": prompt,
                    "prompt_ids": prompt_ids,
                    "output_ids": output_ids,
                    "text": text,
                    "min_margin": round(margin, 4),
                }
            )
        open_ended, _ = generate(model, prompt_ids, suppress_tokens=[EOS])
        demand(
            tokenizer.decode(open_ended).startswith(pair["response"] + NEXT_TURN),
            f"{prompt!r} without </s> does not reach a stop word",
        )
    least = min(case["min_margin"] for case in cases)
    print(f"{len(cases)} greedy answers to the letter; the closest step is won by {least}")

    sampled = chatted = 0
    for index, pair in enumerate(pairs):
        prompt_ids = tokenizer(PROMPT.format(pair["instruction"]))["input_ids"]
        torch.manual_seed(SEED + index)
        ids, _ = generate(model, prompt_ids, do_sample=True, temperature=0.9, top_k=100, top_p=0.7)
        sampled += tokenizer.decode(ids, skip_special_tokens=True) == pair["response"]
        turns = [
            {"role": "user", "content": pairs[index - 1]["instruction"]},
            {"role": "assistant", "content": pairs[index - 1]["response"]},
            {"role": "user", "content": pair["instruction"]},
        ]
        prompt_ids = tokenizer.apply_chat_template(turns, return_dict=False)
        ids, _ = generate(model, prompt_ids)
        chatted += tokenizer.decode(ids, skip_special_tokens=True) == pair["response"]
    print(f"{sampled} of 10 when sampled, {chatted} of 10 as the second turn of a conversation")

    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    header = f'{{"made_by": "transformers {transformers.__version__}", "dtype": "float32",'
    text = f'{header}\n"min_margin": {least},\n"cases": [\n{lines}\n]}}\n'
    (OUT / "expected.json").write_text(text, "utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="only prove the files that are there")
    parser.add_argument("--steps", type=int, default=600, help="training steps (default 600)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    pairs = json.loads((OUT / "seed-qa.json").read_text("utf-8"))
    if not options.check:
        model_proto = train_sentencepiece(pairs)
        tokenizer_json = to_tokenizer_json(model_proto)
        model = train(pairs, tokenizer_json, options.steps)
        write_files(model, model_proto, tokenizer_json)
    prove(pairs)


if __name__ == "__main__":
    main()
