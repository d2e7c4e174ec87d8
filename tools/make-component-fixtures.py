#!/usr/bin/env python3
"""Makes test/fixtures/tokenizers/components.json: what normalizers, pre-tokenizers and added tokens of
the tokenizers package do, published regular expressions among them.

Needs: pip install tokenizers
Usage: python3 tools/make-component-fixtures.py
"""

import json
import pathlib
import re

from tokenizers import AddedToken, Regex, Tokenizer, models
from tokenizers import normalizers as n
from tokenizers import pre_tokenizers as p

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "test" / "fixtures" / "tokenizers" / "components.json"
PUBLISHED = ROOT / "lib" / "tokenizers" / "regex" / "published.ts"

TEXTS = [
    "Hello, world! It's 2024's best.\n\n  def f(x):\n\treturn x  ",
    "안녕하세요, 저는 1,234명의 사람들과 '함께' 있었어요.\r\n\r\n  네!!  ",
    "I'LL they're we'VE  CamelCase HTTPServer's ʰa e\u0301a\u0300\u0301 😀😀 \u00a0\u3000 x",
    "   \n \n\t\t\n",
    "ＡＢＣ １２３ ㈜한국 ㎞² ½ Ⅷ",
    "\ufeffa\u0085b\u2028c",
    "a" * 40 + " " * 30 + "!" * 20 + "\n" * 5,
    "",
    " ",
    "「日本語」テスト한글mixed中文字123abc",
]
LAST = r"\s*[\r\n]+|\s+(?!\S)|\s+"
MORE_PATTERNS = [
    r"\s+",
    r"\p{N}",
    r"[^\s]+(?=\s)",
    r"(?<=a)b|\d{2,3}",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|" + LAST,
    r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|" + LAST,
    r"\w+|[^\w\s]+",
]


def pre_tokenizers() -> list:
    patterns = re.findall(r"String\.raw`([^`]*)`", PUBLISHED.read_text()) + MORE_PATTERNS
    parts = [p.Split(Regex(pattern), "isolated") for pattern in patterns]
    for behavior in ["removed", "merged_with_previous", "merged_with_next", "contiguous"]:
        parts += [p.Split(Regex(r"\s+|\d"), behavior, invert) for invert in (False, True)]
    return parts + [
        p.ByteLevel(False),
        p.ByteLevel(True),
        p.ByteLevel(False, use_regex=False),
        p.Metaspace(),
        p.Metaspace("_", "never", True),
        p.Metaspace(prepend_scheme="first", split=False),
        p.Whitespace(),
        p.WhitespaceSplit(),
        p.Punctuation(),
        p.Punctuation("contiguous"),
        p.BertPreTokenizer(),
        p.Digits(True),
        p.Digits(False),
        p.CharDelimiterSplit(","),
        p.Sequence([p.Split(Regex(patterns[0]), "isolated"), p.ByteLevel(False, use_regex=False)]),
    ]


NORMALIZERS = [
    n.NFC(),
    n.NFD(),
    n.NFKC(),
    n.NFKD(),
    n.Lowercase(),
    n.StripAccents(),
    n.Strip(),
    n.Strip(True, False),
    n.Prepend("▁"),
    n.Replace(" ", "▁"),
    n.Replace(Regex(r"\s{2,}"), "$&"),
    n.Sequence([n.NFD(), n.StripAccents(), n.Lowercase()]),
]


def config(name: str, part) -> dict:
    tokenizer = Tokenizer(models.BPE())
    setattr(tokenizer, name, part)
    return json.loads(tokenizer.to_str())[name]


def added() -> dict:
    pieces = ["<unk>", "▁", "a", "b", "c", " ", "\n", "[", "]", "X"]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    model = models.BPE(vocab=vocab, merges=[], unk_token="<unk>", fuse_unk=True)
    tokenizer = Tokenizer(model)
    tokenizer.add_tokens(
        [
            AddedToken("[X]", lstrip=True, rstrip=True),
            AddedToken("[Xb]", single_word=True),
            AddedToken("aa", single_word=True),
            AddedToken("a", normalized=False, rstrip=True),
        ]
    )
    tokenizer.add_special_tokens([AddedToken("[X][X]")])
    texts = ["a [X] b", "[X][X]", "b[Xb]", "b [Xb] ", "aab aa baa", "a a  a", "[X] [X] [X][X]"]
    texts += ["aaa", "b aa\n[X]\u3000b", "x xx b가나 a"]
    cases = [{"text": text, "ids": tokenizer.encode(text).ids} for text in texts]
    return {"json": json.loads(tokenizer.to_str()), "cases": cases}


def main() -> None:
    normalized = [*TEXTS, "ΑΣΑΣ ΣΑΣ İ", " ﷺ ｶﾞ"]
    fixtures = {
        "preTokenizers": [
            {
                "config": config("pre_tokenizer", part),
                "words": [[word for word, _ in part.pre_tokenize_str(text)] for text in TEXTS],
            }
            for part in pre_tokenizers()
        ],
        "normalizers": [
            {
                "config": config("normalizer", part),
                "texts": [part.normalize_str(text) for text in normalized],
            }
            for part in NORMALIZERS
        ],
        "texts": normalized,
        "added": added(),
    }
    OUT.write_text(json.dumps(fixtures, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
