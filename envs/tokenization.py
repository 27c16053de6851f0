"""What a token is, for each kind of text: the patterns, and which of them a file was made with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Literal, get_args

from tokenizers import Tokenizer

Tokenization = Literal["characters", "smiles", "selfies", "smiles_as_selfies", "words"]

# Each pattern ends with "any character", so that what does not fit is one character, by itself
# found missing in the vocabulary, and named in the error.
_ANY = r"[\s\S]"
PATTERNS: dict[str, str] = {
    "characters": _ANY,
    "smiles": r"\[[^\[\]]*\]|Br|Cl|%[0-9][0-9]|@@|" + _ANY,
    "selfies": r"\[[^\[\]]*\]|" + _ANY,
    # Texts are SMILES, tokens their SELFIES symbols; the same pattern, spelt to be told apart.
    "smiles_as_selfies": r"(?:\[[^\[\]]*\])|" + _ANY,
}
# What the library's WhitespaceSplit splits at: Unicode's White_Space. Python's str.split also takes
# four separators of ASCII for it.
_WORD = r"[^\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+"


def splitter(tokenization: Tokenization) -> Callable[[str], list[str]]:
    """What splits a text into tokens as the library does, four times as fast as its calls."""
    return re.compile(PATTERNS.get(tokenization, _WORD)).findall


def tokenization_of(tokenizer: Tokenizer) -> Tokenization:
    """What a tokenizer was made for.

    Raises:
        ValueError: it was not made by ``Vocabulary.from_tokens``.
    """
    stage = _parts(tokenizer)["pre_tokenizer"] or {}
    if stage.get("type") == "WhitespaceSplit":
        return "words"
    pattern = stage.get("pattern", {}).get("Regex")
    for name in get_args(Tokenization):
        if name in PATTERNS and pattern == PATTERNS[name]:
            found: Tokenization = name
            return found
    raise ValueError(
        f"not a tokengym vocabulary: its pre-tokenizer is {stage!r}, expected one of "
        f"{', '.join(get_args(Tokenization))}; make it with Vocabulary.from_corpus"
    )


def is_plain(tokenizer: Tokenizer) -> bool:
    """Is it a pattern and a table, as ``from_tokens`` makes it, and nothing else?"""
    parts = _parts(tokenizer)
    stages = ("normalizer", "post_processor", "truncation", "padding", "added_tokens")
    model = parts["model"]
    return (
        not any(parts.get(stage) for stage in stages)
        and model["type"] == "WordLevel"
        and model["unk_token"] not in model["vocab"]
    )


def _parts(tokenizer: Tokenizer) -> dict[str, Any]:
    parts: dict[str, Any] = json.loads(tokenizer.to_str())
    return parts
