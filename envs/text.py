"""Sentences, character by character or word by word: the task and its built-in text.

``texts/harbour.txt`` was written for this project: 291 sentences about a town by the sea, most of
them short and plain, 12,187 characters, 941 different words with their punctuation.
"""

from __future__ import annotations

import warnings
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal, get_args

from ..rewards import RewardSpec, make_reward
from ..rewards.files import DataError, ensure_exists, file_stamp, keep_valid, read_lines, read_text
from ..rewards.texts import KnownPairs, KnownWords
from .encoding import encode_data, vocabulary_of
from .task import Task
from .vocabulary import SPECIAL, Vocabulary

BUILT_IN = {"harbour": Path(__file__).parent / "texts" / "harbour.txt"}
Unit = Literal["characters", "words"]


def text(
    *,
    data: str = "harbour",
    tokenization: Unit = "characters",
    reward: RewardSpec | None = None,
    window: int | None = None,
    max_length: int | None = None,
    vocabulary: Vocabulary | None = None,
    column: str | None = None,
    skip_invalid: bool = False,
) -> Task:
    """The task ``tokengym/Text-v0``: write a line of text, by characters or words.

    Args:
        data: ``"harbour"``, the built-in text, or a file: a sequence is a line of a ``.txt`` (any
            ending but these), a row of a ``.csv`` or ``.parquet``; ``.gz`` of these too.
        tokenization: ``"characters"``; or ``"words"``, what white space separates, written with
            single spaces between.
        reward: by default the share of known words (``KnownWords``), or by words the share of known
            pairs of neighbours (``KnownPairs``): in [0, 1], 1 for every line of the data.
        window: cut the file, ends of lines and all, into pieces of so many characters, which are
            the sequences then; they have no end token. For one long text.
        max_length: T; by default the longest line of the data and its end token.
        vocabulary: which tokens can be written; by default those of the data.
        column: the column of a ``.csv`` or ``.parquet``.
        skip_invalid: leave out, and count in a warning, lines that hold other tokens than the
            vocabulary, words that spell ``<eos>``, ``<bos>`` or ``<pad>``, or are longer than
            ``max_length``.

    Raises:
        DataError: the file cannot be used; the message says why.
        ValueError: an unknown tokenisation, a window that is none or not of characters, or no word
            in the data and no other reward.
    """
    if tokenization not in get_args(Unit):
        raise ValueError(f"tokenization is {tokenization!r}; expected 'characters' or 'words'")
    if window is None:
        texts = _lines(data, column, tokenization, skip_invalid, file_stamp(data))
    elif window >= 1 and tokenization == "characters" and column is None:
        texts = _windows(data, window, file_stamp(data))
        vocabulary = vocabulary or Vocabulary.from_corpus(texts, eos=False)
    else:
        raise ValueError(
            f"window is {window}; expected at least 1, of the characters of a text file"
        )
    if vocabulary is None:
        vocabulary = vocabulary_of(texts, tokenization)
    load_data = partial(encode_data, texts, data, vocabulary, max_length, skip_invalid=skip_invalid)
    if reward is None:
        reward = (KnownWords if tokenization == "characters" else KnownPairs)(texts)
    return Task(
        name="Text",
        vocabulary=vocabulary,
        max_length=load_data().tokens_BT.shape[1],
        reward=make_reward(reward),
        load_data=load_data,
    )


@lru_cache(maxsize=4)
def _lines(
    data: str, column: str | None, tokenization: Unit, skip_invalid: bool, stamp: tuple[int, int]
) -> tuple[str, ...]:
    """Read once a process, and again when the file changes."""
    path = Path(BUILT_IN.get(data, data))
    ensure_exists(path, BUILT_IN)
    lines = read_lines(path, column)
    fault = _special_word if tokenization == "words" else lambda text: None
    texts, skipped = keep_valid(lines, data, fault, skip=skip_invalid)
    if skipped:
        warnings.warn(f"{data}: left out {skipped} lines with a special token", stacklevel=4)
    return tuple(texts)


@lru_cache(maxsize=4)
def _windows(data: str, window: int, stamp: tuple[int, int]) -> tuple[str, ...]:
    """The pieces of a file, read once a process, and again when it changes."""
    path = Path(BUILT_IN.get(data, data))
    ensure_exists(path, BUILT_IN)
    text = read_text(path)
    if not text:
        raise DataError(f"{data} is empty; expected a text")
    return tuple(text[start : start + window] for start in range(0, len(text), window))


def _special_word(text: str) -> str | None:
    word = next((word for word in text.split() if word in SPECIAL), None)
    return word and f"the word {word!r} is the name of a token that no text can hold"
