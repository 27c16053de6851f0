"""The vocabulary: which tokens can be written, and how text becomes tokens and comes back.

Ids ``0 .. A-1`` are what a policy can emit, the end token among them when the language has one;
``bos = A`` and ``pad = A + 1`` are inputs only. So an action space of A actions is exactly what can
be written, and nothing has to keep an agent from emitting padding.

The ``tokenizers`` library defines what a token is, and a vocabulary is saved as its
``tokenizer.json``. Texts are split by the same pattern in Python's own regular expressions, four
times as fast as by the library's calls; a test holds them equal.
Left out: subword merges (BPE). A token is one symbol of the domain.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from .sequences import Sequences
from .tokenization import PATTERNS, Tokenization, is_plain, splitter, tokenization_of

SPECIAL = EOS, BOS, PAD = "<eos>", "<bos>", "<pad>"

_SURROGATE = re.compile("[\ud800-\udfff]")


class UnknownTokenError(ValueError):
    """A text holds something that is not in the vocabulary.

    A molecule that SELFIES cannot write is one unknown token.

    Attributes:
        index: which text of the batch.
        position: the offset of the token in that text, or in its SELFIES, in characters, from 0.
        token: what stands there.
    """

    def __init__(self, index: int, position: int, token: str, text: str, size: int) -> None:
        shown = text if len(text) <= 60 else text[:57] + "..."
        super().__init__(
            f"token {token!r} at character {position + 1} of text {index} ({shown!r}) is not among "
            f"the {size} tokens of the vocabulary; build the vocabulary from texts that hold it, "
            "or leave this text out"
        )
        self.index, self.position, self.token = index, position, token


class Vocabulary:
    """The tokens of a language, with ids as described at the top of this file.

    Args:
        tokenizer: a ``tokenizers.Tokenizer`` made by ``from_tokens``, ``from_corpus`` or ``load``.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        ids = tokenizer.get_vocab(with_added_tokens=True)
        ordered = sorted(ids, key=ids.__getitem__)
        marks = [EOS, BOS, PAD] if EOS in ids else [BOS, PAD]
        if ordered[-len(marks) :] != marks or sorted(ids.values()) != list(range(len(ids))):
            raise ValueError(
                f"not a tokengym vocabulary: the last ids should be {', '.join(marks)} and ids "
                f"should run from 0 without gaps, but the last are {ordered[-len(marks) :]}; "
                "make it with Vocabulary.from_corpus or Vocabulary.from_tokens"
            )
        self.tokens: tuple[str, ...] = tuple(ordered[:-2])
        self.eos: int | None = ids.get(EOS)
        self._first_mark = len(ordered) - len(marks)
        self.tokenization: Tokenization = tokenization_of(tokenizer)
        self._separator = " " if self.tokenization == "words" else ""
        self._split = splitter(self.tokenization)
        # What is written with the library's further stages, only the library reads.
        self._ids = {token: id for id, token in enumerate(ordered[: self._first_mark])}
        self._spellings = np.array([*ordered[: self._first_mark], *[None] * len(marks)], object)
        self._plain = is_plain(tokenizer)
        self._to_selfies: Callable[[str], str | None] | None = None
        self._to_smiles: Callable[[str], str] | None = None
        if self.tokenization == "smiles_as_selfies":
            from .selfies_notation import to_selfies, to_smiles  # an extra

            self._to_selfies, self._to_smiles = to_selfies, to_smiles

    @classmethod
    def from_tokens(
        cls, tokens: Iterable[str], tokenization: Tokenization = "words", *, eos: bool = True
    ) -> Vocabulary:
        """Make a vocabulary of these tokens, in this order, then the end token if ``eos``.

        Raises:
            ValueError: no token, a token twice, one that is no text, or an unknown tokenisation.
        """
        if tokenization not in get_args(Tokenization):
            raise ValueError(_unknown("tokenization", tokenization, get_args(Tokenization)))
        ordered = [*tokens, *([EOS] if eos else []), BOS, PAD]
        if len(ordered) < 3 + eos:
            raise ValueError("a vocabulary needs at least one token; the corpus holds none")
        if len(set(ordered)) < len(ordered):
            twice = next(token for token in ordered if ordered.count(token) > 1)
            why = "is added by itself" if twice in SPECIAL else "stands twice in the vocabulary"
            raise ValueError(f"token {twice!r} {why}; list each token once, and none of {SPECIAL}")
        if (half := next((t for t in ordered if _SURROGATE.search(t)), None)) is not None:
            raise ValueError(
                f"token {half!r} holds half of a surrogate pair, which UTF-8 cannot; decode the "
                "text as what it is before its vocabulary is made"
            )
        tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(ordered)}))
        if tokenization == "words":
            tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        else:
            pattern = Regex(PATTERNS[tokenization])
            tokenizer.pre_tokenizer = pre_tokenizers.Split(pattern, behavior="isolated")
            tokenizer.decoder = decoders.Fuse()
        return cls(tokenizer)

    @classmethod
    def from_corpus(
        cls,
        texts: Iterable[str],
        tokenization: Tokenization = "characters",
        *,
        eos: bool = True,
    ) -> Vocabulary:
        """Collect the tokens that occur in ``texts``, in sorted order."""
        splitter = cls.from_tokens(["placeholder"], tokenization)
        found: set[str] = set()
        for text in texts:
            found.update(splitter.tokenize(text))
        return cls.from_tokens(sorted(found), tokenization, eos=eos)

    @property
    def num_actions(self) -> int:
        """A, the number of tokens that can be emitted."""
        return len(self.tokens)

    @property
    def num_inputs(self) -> int:
        """V = A + 2, the number of ids that a policy can read."""
        return len(self.tokens) + 2

    @property
    def bos(self) -> int:
        """The id that a policy reads before the first token."""
        return len(self.tokens)

    @property
    def pad(self) -> int:
        """The id that fills a sequence after its end."""
        return len(self.tokens) + 1

    def tokenize(self, text: str) -> list[str]:
        """Split a text into tokens, known or not.

        Raises:
            ValueError: the text is a molecule that SELFIES cannot write, and these are its tokens.
        """
        return list(self._split(self._spelling(text)))

    def encode(
        self, texts: Sequence[str], *, end: bool = True, at_most: int | None = None
    ) -> Sequences:
        """Encode texts, one row each, padded to the longest.

        Args:
            texts: B texts.
            end: append the end token, where the language has one (prompts do not want it).
            at_most: tokens of a text that are kept, the end token not counted.

        Raises:
            UnknownTokenError: a text holds a token that is not in the vocabulary, or cannot be
                written with its tokens at all.
        """
        if isinstance(texts, str):
            raise TypeError("encode takes a list of texts; write encode([text]) for a single one")
        try:
            rows = self._encode_rows(texts)
        except Exception:  # KeyError, TypeError, and the library's bare Exceptions
            self._raise_unknown(texts)
            raise
        if at_most is not None:
            rows = [row[:at_most] for row in rows]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        ids = np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum()))
        if ids.size and ids.max() >= self._first_mark:
            self._raise_unknown(texts)  # a word that spells a special token
        eos = self.eos if end else None
        append = eos is not None
        table = np.full((len(rows), int(lengths.max(initial=0)) + append), self.pad, np.int64)
        columns = np.arange(table.shape[1])
        table[columns < lengths[:, None]] = ids
        if eos is not None:
            table[np.arange(len(rows)), lengths] = eos
        return Sequences(
            torch.from_numpy(table), torch.from_numpy(lengths + append), vocabulary=self
        )

    def first_unknown(self, text: str) -> tuple[int, str] | None:
        """The position (in characters, from 0) and the spelling of the first unknown token."""
        if (surrogate := _SURROGATE.search(text)) is not None:
            return surrogate.start(), surrogate.group()
        try:
            text = self._spelling(text)
        except ValueError:
            return 0, text
        for piece, (start, _) in self.tokenizer.pre_tokenizer.pre_tokenize_str(text):
            token = self.tokenizer.token_to_id(piece)
            if token is None or token >= self._first_mark:
                return start, piece
        return None

    def decode(self, tokens_BT: Tensor | np.ndarray) -> list[str]:
        """Spell rows of ids as text, up to the end token or the first padding.

        Raises:
            ValueError: an id is outside ``0 .. V-1``.
        """
        table = tokens_BT.numpy(force=True) if isinstance(tokens_BT, Tensor) else tokens_BT
        if not table.size:
            return [""] * len(table)
        if table.min() < 0 or table.max() > self.pad:
            wrong = int(table.max() if table.max() > self.pad else table.min())
            raise ValueError(
                f"token {wrong} is outside the vocabulary of {self.num_inputs} ids "
                f"(0..{self.pad}); was it encoded with another Vocabulary?"
            )
        ends = (table >= self._first_mark).argmax(axis=1)  # 0 where there is none, too
        rows = zip(self._spellings[table].tolist(), ends.tolist(), strict=True)
        join = self._separator.join
        texts = [join(row[:end] if row[end] is None else row) for row, end in rows]
        return texts if self._to_smiles is None else list(map(self._to_smiles, texts))

    def to_json(self) -> str:
        """The vocabulary as the text of a ``tokenizer.json``."""
        return str(self.tokenizer.to_str())

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """The inverse of ``to_json``; raises ValueError on anything else."""
        try:
            return cls(Tokenizer.from_str(text))
        except ValueError:
            raise
        except Exception as error:  # the library raises bare Exceptions
            raise ValueError(f"not a tokenizer.json that tokengym can read: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write ``tokenizer.json``."""
        Path(path).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """Read a ``tokenizer.json`` that ``save`` wrote."""
        return cls.from_json(Path(path).read_text(encoding="utf-8"))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return (self.tokens, self.tokenization) == (other.tokens, other.tokenization)

    def __hash__(self) -> int:
        return hash((self.tokens, self.tokenization))

    def __repr__(self) -> str:
        end = "no end token" if self.eos is None else "with an end token"
        return f"Vocabulary({self.num_actions} actions, {self.tokenization}, {end})"

    def _encode_rows(self, texts: Sequence[str]) -> list[list[int]]:
        if not self._plain:
            return [encoding.ids for encoding in self.tokenizer.encode_batch_fast(list(texts))]
        id_of = self._ids.__getitem__
        return [list(map(id_of, self._split(self._spelling(text)))) for text in texts]

    def _spelling(self, text: str) -> str:
        """The text whose pieces are tokens: the text itself, or the SELFIES of a SMILES."""
        if self._to_selfies is None:
            return text
        spelt = self._to_selfies(text)
        if spelt is None:
            raise ValueError(f"{text!r} cannot be written as SELFIES; leave this molecule out")
        return spelt

    def _raise_unknown(self, texts: Sequence[str]) -> None:
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"text {index} is {text!r}; expected a string") from None
            if (unknown := self.first_unknown(text)) is not None:
                position, token = unknown
                shown = text if token == text else self._spelling(text)  # where the position is
                raise UnknownTokenError(index, position, token, shown, self.num_actions) from None


def _unknown(what: str, name: object, known: Iterable[str]) -> str:
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=3)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(known)}"
    return f"unknown {what} {name!r}; {hint}"
