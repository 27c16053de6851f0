"""Objectives over sentences: how long they are, and whether the data's words are in them.

What needs a library of its own stands by itself: bleu.py, pattern.py, perplexity.py, classifier.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal, Unpack, get_args

from .objective import Objective, ObjectiveOptions
from .reference import Reference, reference_lines

_WORD = re.compile(r"\w+(?:['’-]\w+)*")  # noqa: RUF001 - the apostrophe that books print
_EDGE = ""  # stands before the first word and after the last
Unit = Literal["characters", "words"]


class KnownWords(Objective):
    """The share of a text's words that occur in the data, in [0, 1]; 0.0 for a text without words.

    Upper and lower case are the same word; what is neither letter nor digit separates words. It is
    stationary: a text has the same value in every batch. Repeating one known word has the value 1,
    so combine it with a discriminator or with ``repetition_penalty``.

    Args:
        reference: the texts whose words are known, or a file of them.
        **options: as for ``Objective``.
    """

    name = "known_words"
    range = (0.0, 1.0)

    def __init__(self, reference: Reference, **options: Unpack[ObjectiveOptions]) -> None:
        super().__init__(**options)
        self.known = frozenset(
            part for text in reference_lines(reference) for part in self.parts(text)
        )
        if not self.known:
            raise ValueError("the data hold no word that could be known; give texts with words")

    def parts(self, text: str) -> Iterator[object]:
        """What is looked up: each word."""
        return iter(words(text))

    def score(self, texts: list[str]) -> Sequence[float | None]:
        """The share of known parts, one value a text."""
        return [self._share(list(self.parts(text))) for text in texts]

    def _share(self, parts: list[object]) -> float:
        return sum(part in self.known for part in parts) / len(parts) if parts else 0.0


class KnownPairs(KnownWords):
    """The share of a text's neighbouring words that are neighbours in the data, in [0, 1].

    The beginning and the end of a text count as neighbours of its first and last word. For texts
    that are written word by word, where every word is known.
    """

    name = "known_pairs"

    def parts(self, text: str) -> Iterator[object]:
        """What is looked up: each pair of neighbours."""
        found = words(text)
        return pairwise([_EDGE, *found, _EDGE]) if found else iter(())


class Length(Objective):
    """The length of a text, in characters or in words: no score before a transform names the aim.

    ``double_sigmoid(length, low=20, high=60)`` asks for 20 to 60 characters.

    Args:
        unit: ``"characters"``, or ``"words"`` as ``KnownWords`` counts them.
        **options: as for ``Objective``.
    """

    name = "length"
    range = (0.0, float("inf"))
    microseconds = 3.0

    def __init__(self, unit: Unit = "characters", **options: Unpack[ObjectiveOptions]) -> None:
        super().__init__(**options)
        if unit not in get_args(Unit):
            raise ValueError(f"unit is {unit!r}; expected 'characters' or 'words'")
        self.unit = unit

    def score(self, texts: list[str]) -> Sequence[float | None]:
        """How many there are, one value a text."""
        return [float(len(text if self.unit == "characters" else words(text))) for text in texts]


def words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return _WORD.findall(text.lower())
