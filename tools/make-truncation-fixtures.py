#!/usr/bin/env python3
"""Makes test/fixtures/tokenizers/truncation.json: how many tokens of a text, and of a second one, the
tokenizers package keeps under each strategy.

Needs: pip install tokenizers
Usage: python3 tools/make-truncation-fixtures.py
"""

import json
import pathlib

from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel

OUT = pathlib.Path(__file__).resolve().parent.parent / "test/fixtures/tokenizers/truncation.json"


def kept(tokenizer, first, second, room, strategy):
    """[first, second] lengths after truncation, or the error's text."""
    tokenizer.enable_truncation(room, strategy=strategy)
    texts = [" ".join("a" * first)] + ([" ".join("b" * second)] if second is not None else [])
    try:
        ids = tokenizer.encode(*texts, add_special_tokens=False).ids
    except Exception as error:
        return str(error)
    return [ids.count(0), ids.count(1)]


def main():
    tokenizer = Tokenizer(WordLevel({"a": 0, "b": 1}))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    cases = [
        [first, second, room, strategy, kept(tokenizer, first, second, room, strategy)]
        for strategy in ("longest_first", "only_first", "only_second")
        for first in (0, 1, 2, 5, 9)
        for second in (None, 0, 1, 3, 6, 10)
        for room in (0, 1, 2, 3, 4, 7, 8, 11, 30)
    ]
    OUT.write_text(json.dumps(cases, separators=(",", ":")).replace("],[", "],\n[") + "\n", "utf8")


main()
