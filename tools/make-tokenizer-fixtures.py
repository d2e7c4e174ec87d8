#!/usr/bin/env python3
"""Makes test/fixtures/tokenizers: small tokenizers, and what sentencepiece, tokenizers and
transformers answer with them.

Needs: pip install sentencepiece tokenizers transformers jinja2 protobuf
Usage: python3 tools/make-tokenizer-fixtures.py
The models are trained on models/komt-tiny/seed-qa.json and a few sentences below. Seeded; the files
change only with the versions of the packages.
"""

import io
import json
import pathlib
import random

import sentencepiece as spm
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers import processors, trainers
from tokenizers.models import BPE, Unigram
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import generate_merges

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "test" / "fixtures" / "tokenizers"
RANDOM = random.Random(20231)

ENGLISH = [
    "The quick brown fox jumps over the lazy dog.",
    "Language models predict the next token; they don't know what it's for.",
    "In 2023, 13 billion parameters were considered large.",
    "She sells sea shells by the sea shore, and we've heard you're there too.",
    "for (let i = 0; i < 10; i++) {\n  console.log(i);\n}",
    # Runs, whose merges tie: of equal scores the one further left comes first.
    *["aa aaa aaaa aaaaa aaaaaaaa aaaaaaaaaaaa aaaaaaaaaaaaaaaa"] * 20,
    *["x   x     x      x        x            x"] * 20,
]

# Full-width forms, a compatibility square, conjoining jamo and a ligature.
RULES = {
    "㎞": "km",
    "ﬁ": "fi",
    "\u1112\u1161\u11ab": "한",
    "\u1100\u1161": "가",
    "\t": " ",
    "\u3000": " ",
    "\u200b": "",
}
RULES.update({chr(c + 0xFEE0): chr(c) for c in range(0x21, 0x7F)})

# Llama 3's split expression.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

SPECIAL_CHAT = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}<<SYS>>{{ message['content'] | trim }}"
    "<</SYS>>\n{% elif message['role'] == 'user' %}[INST] {{ message['content'] | trim }} [/INST]{% elif message['role'] == 'assistant' %}"
    " {{ message['content'] }} {{ eos_token }}{% else %}{{ raise_exception('Unknown role: ' + message['role']) }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt and tools %}\nTOOLS {{ tools | tojson }}{% endif %}"
)
CHATML = (
    "{%- for message in messages %}\n    {%- if loop.first and message.role != 'system' %}\n"
    "        {{- '<|im_start|>system\\n당신은 친절합니다.<|im_end|>\\n' }}\n    {%- endif %}\n"
    "    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n"
    "{%- endfor %}\n{%- if documents %}\n    {%- for d in documents %}\n{{ loop.index }}. {{ d.title | upper }}\n    {%- endfor %}\n{%- endif %}\n"
    "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}"
)
CHAT = [
    {"role": "user", "content": " 대한민국의 수도는? "},
    {"role": "assistant", "content": "서울입니다."},
    {"role": "user", "content": "it's  big?"},
]
SYSTEM = [{"role": "system", "content": "짧게 답해."}, *CHAT]
TOOL = {
    "type": "function",
    "function": {
        "name": "날씨",
        "parameters": {"type": "object", "properties": {"도시": {"type": "string"}}},
    },
}


def corpus():
    qa = json.loads((ROOT / "models/komt-tiny/seed-qa.json").read_text("utf8"))
    texts = list(ENGLISH)

    def walk(value):
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, dict):
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    walk(qa)
    return [text for text in texts if text.strip()]


def make_texts(sources):
    """200 texts: Korean, emoji, English, white space and rare characters in every mixture."""
    emoji = ["😀", "👨‍👩‍👧‍👦", "🇰🇷", "👍🏽", "❤️", "🏳️‍🌈", "🦙", "1️⃣"]
    rare = [
        "뷁",
        "쀍",
        "갸륵",
        "ㅋㅋㅋ",
        "힣",
        "漢字",
        "ﬁ",
        "㎞",
        "Ｔｅｓｔ",
        "\u1112\u1161\u11ab글",
        "é",
        "e\u0301",
        "Ω",
        "\u00a0",
        "\u200b",
        "\ufeff",
        "𠮷",
        "<0x41>",
        "▁",
        "</s>",
        "<unk>",
        "<sep>",
        "§user",
        "\x00",
        "\x7f",
    ]
    space = [" ", "  ", "   ", "\n", "\n\n", "\t", " \n ", "\r\n", "      ", "\u3000"]
    texts = [
        "",
        " ",
        "  ",
        "\n",
        " a",
        "a ",
        "  두 칸 ",
        "가",
        "가나다라마바사아자차카타파하",
        "😀😀",
        "안녕하세요",
        "안녕 하세요!  \n\n끝",
        "aaaaaaaaaaaaa",
        "a" * 40,
        " " * 17,
        "\n" * 9,
        "ㄱㄴㄷ",
        "don't , it ' s .",
    ]
    while len(texts) < 200:
        parts = []
        for _ in range(RANDOM.randint(1, 5)):
            kind = RANDOM.random()
            if kind < 0.45:
                source = RANDOM.choice(sources)
                at = RANDOM.randrange(len(source))
                parts.append(source[at : at + RANDOM.randint(1, 12)])
            elif kind < 0.6:
                parts.append(RANDOM.choice(emoji))
            elif kind < 0.75:
                parts.append(RANDOM.choice(rare))
            elif kind < 0.87:
                parts.append(RANDOM.choice(space))
            else:
                parts.append(
                    "".join(
                        chr(RANDOM.randint(0xAC00, 0xD7A3)) for _ in range(RANDOM.randint(1, 4))
                    )
                )
        texts.append("".join(parts))
    return texts


def id_rows(size):
    """Rows of random ids: what a model may answer, well-formed or not."""
    rows = [[i] for i in range(min(size, 12))]
    while len(rows) < 60:
        rows.append([RANDOM.randrange(size + 2) for _ in range(RANDOM.randint(1, 10))])
    return rows


def train_spm(sources, **options):
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(line for text in sources for line in text.split("\n") if line),
        model_writer=model,
        minloglevel=2,
        num_threads=1,
        hard_vocab_limit=False,
        **options,
    )
    return model.getvalue()


def llama_layout(pieces, kind):
    """The tokenizer.json that transformers writes for a Llama model with these pieces."""
    vocab = {p: i for i, (p, _) in enumerate(pieces)}
    scores = dict(pieces)
    tokenizer = Tokenizer(
        BPE(
            vocab,
            generate_merges(vocab, scores),
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.add_special_tokens(
        [AddedToken(t, normalized=False) for t in ("<unk>", "<s>", "</s>")]
    )
    if kind == "legacy":
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
            replacement="▁", prepend_scheme="first", split=False
        )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def answers(tokenizer, texts):
    rows = id_rows(tokenizer.get_vocab_size())
    return {
        "encode": [tokenizer.encode(text, add_special_tokens=False).ids for text in texts],
        "decode": [
            {
                "ids": row,
                "text": tokenizer.decode(row, skip_special_tokens=False),
                "skipped": tokenizer.decode(row, skip_special_tokens=True),
            }
            for row in rows
        ],
    }


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", "utf8")


def main():
    sources = corpus()
    texts = make_texts(sources)
    expected = {"texts": texts}

    rule_file = OUT / "rules.tsv"
    OUT.mkdir(parents=True, exist_ok=True)
    hexes = lambda s: " ".join(f"{ord(c):X}" for c in s)
    rule_file.write_text("".join(f"{hexes(a)}\t{hexes(b)}\n" for a, b in RULES.items()), "utf8")

    common = dict(
        vocab_size=700, character_coverage=0.98, split_digits=True, max_sentence_length=20000
    )
    plain = dict(
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
    )
    mapped = dict(normalization_rule_tsv=str(rule_file), user_defined_symbols=["<sep>", "§user"])
    models = {
        "spm-bpe": dict(model_type="bpe", byte_fallback=True, **plain),
        "spm-bpe-mapped": dict(model_type="bpe", byte_fallback=False, **mapped),
        "spm-unigram": dict(
            model_type="unigram",
            byte_fallback=True,
            **plain,
            **{k: mapped[k] for k in ["user_defined_symbols"]},
        ),
        "spm-unigram-mapped": dict(model_type="unigram", byte_fallback=False, **mapped),
        "spm-bpe-suffix": dict(
            model_type="bpe", byte_fallback=True, treat_whitespace_as_suffix=True, **plain
        ),
        "spm-bpe-noprefix": dict(
            model_type="bpe", byte_fallback=True, add_dummy_prefix=False, **plain
        ),
    }
    for name, options in models.items():
        data = train_spm(sources, **{**common, **options})
        (OUT / name).mkdir(parents=True, exist_ok=True)
        (OUT / name / "tokenizer.model").write_bytes(data)
        processor = spm.SentencePieceProcessor(model_proto=data)
        expected[name] = {"encode": [processor.encode(text) for text in texts]}
        if name == "spm-bpe":
            pieces = [
                (processor.id_to_piece(i), processor.get_score(i)) for i in range(len(processor))
            ]
            for kind in ("legacy", "metaspace"):
                tokenizer = llama_layout(pieces, kind)
                write(OUT / f"llama-{kind}" / "tokenizer.json", json.loads(tokenizer.to_str()))
                expected[f"llama-{kind}"] = answers(tokenizer, texts)
            config = {
                "tokenizer_class": "LlamaTokenizer",
                "bos_token": "<s>",
                "eos_token": "</s>",
                "unk_token": "<unk>",
                "pad_token": "<unk>",
                "add_bos_token": True,
                "add_eos_token": False,
                "legacy": True,
                "chat_template": [
                    {"name": "default", "template": SPECIAL_CHAT},
                    {"name": "tool_use", "template": CHATML},
                ],
            }
            write(OUT / "llama-legacy" / "tokenizer_config.json", config)
    rule_file.unlink()

    byte_level = Tokenizer(BPE(ignore_merges=True))
    byte_level.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    byte_level.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    byte_level.train_from_iterator(sources, trainer)
    byte_level.add_tokens([AddedToken("<한 글>", normalized=False)])
    byte_level.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single="<|begin_of_text|> $A",
                pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
                special_tokens=[("<|begin_of_text|>", 0)],
            ),
        ]
    )
    write(OUT / "byte-level" / "tokenizer.json", json.loads(byte_level.to_str()))
    write(
        OUT / "byte-level" / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|begin_of_text|>",
            "eos_token": "<|end_of_text|>",
            "clean_up_tokenization_spaces": True,
            "model_max_length": 64,
        },
    )
    (OUT / "byte-level" / "chat_template.jinja").write_text(CHATML, "utf8")
    expected["byte-level"] = answers(byte_level, texts)

    unigram = Tokenizer(
        Unigram(
            [
                ("<unk>", 0.0),
                ("</s>", 0.0),
                *[(f"<0x{b:02X}>", -20.0) for b in range(256)],
                ("▁", -2.0),
                ("▁a", -3.0),
                ("안녕", -4.0),
                ("하", -5.0),
                (".", -2.5),
                ("▁it", -3.0),
                ("'", -3.5),
                ("s", -3.0),
            ],
            unk_id=0,
            byte_fallback=True,
        )
    )
    unigram.add_special_tokens(["<unk>", "</s>"])
    unigram.normalizer = normalizers.Replace(" ", "▁")
    unigram.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="never"), decoders.Fuse()]
    )
    write(OUT / "unigram-json" / "tokenizer.json", json.loads(unigram.to_str()))
    write(
        OUT / "unigram-json" / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "clean_up_tokenization_spaces": True,
        },
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=unigram,
        clean_up_tokenization_spaces=True,
        eos_token="</s>",
        unk_token="<unk>",
    )
    rows = answers(unigram, texts)
    for entry in rows["decode"]:
        entry["text"] = wrapped.decode(entry["ids"])
        entry["skipped"] = wrapped.decode(entry["ids"], skip_special_tokens=True)
    expected["unigram-json"] = rows
    expected["cleaned"] = [
        {"ids": ids, "text": wrapped.decode(ids)} for ids in rows["encode"] if ids
    ]

    metaspace = Tokenizer(BPE({"a": 0, "▁": 1, "▁a": 2, "b": 3, "▁▁▁": 4, "<x>": 5}, []))
    metaspace.decoder = decoders.Metaspace(prepend_scheme="always")
    expected["metaspace"] = {
        "json": json.loads(metaspace.to_str()),
        **{"decode": answers(metaspace, [])["decode"]},
    }

    chats = []
    for name in ("llama-legacy", "byte-level"):
        hf = AutoTokenizer.from_pretrained(OUT / name)
        for messages in (CHAT, SYSTEM):
            for options in (
                {},
                {"add_generation_prompt": True},
                {"tools": [TOOL], "add_generation_prompt": True},
                {"documents": [{"title": "seoul"}]},
            ):
                text = hf.apply_chat_template(messages, tokenize=False, **options)
                chats.append(
                    {
                        "tokenizer": name,
                        "messages": messages,
                        "options": options,
                        "text": text,
                        "ids": Tokenizer.from_file(str(OUT / name / "tokenizer.json"))
                        .encode(text, add_special_tokens=False)
                        .ids,
                    }
                )
        continued = [*CHAT, {"role": "assistant", "content": "네, 아주"}]
        chats.append(
            {
                "tokenizer": name,
                "messages": continued,
                "options": {"continue_final_message": True},
                "text": hf.apply_chat_template(
                    continued, tokenize=False, continue_final_message=True
                ),
            }
        )
    expected["chats"] = chats

    byte_hf = AutoTokenizer.from_pretrained(OUT / "byte-level")
    byte_hf.pad_token = byte_hf.eos_token
    calls = []
    pair = ["안녕하세요, 세계!", "Hi"]
    for options in (
        {},
        {"padding": True},
        {"padding": True, "padding_side": "left"},
        {"padding": "max_length", "max_length": 12, "truncation": True},
        {"truncation": True, "max_length": 3},
        {"add_special_tokens": False, "padding": "longest"},
        {"padding": "max_length"},
    ):
        for text in (pair, pair[0]):
            out = byte_hf(text, **options)
            calls.append(
                {
                    "text": text,
                    "options": options,
                    "input_ids": out["input_ids"],
                    "attention_mask": out["attention_mask"],
                }
            )
    expected["calls"] = calls

    # Metaspace as it splits words (its default), without a prefix, over pieces that reach across words.
    words = {t: i for i, t in enumerate(["<unk>", "a", "▁", "▁a", "▁▁", "a▁", "가", "▁가", "▁▁▁"])}
    split = Tokenizer(
        BPE(
            words,
            [("▁", "a"), ("▁", "▁"), ("a", "▁"), ("▁", "가"), ("▁▁", "▁")],
            unk_token="<unk>",
            fuse_unk=True,
        )
    )
    split.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=True)
    split.decoder = decoders.Metaspace(prepend_scheme="never")
    split_json = json.loads(split.to_str())
    write(OUT / "metaspace-split" / "tokenizer.json", split_json)
    expected["metaspace-split"] = answers(split, texts)
    write(OUT / "expected.json", expected)


if __name__ == "__main__":
    main()
