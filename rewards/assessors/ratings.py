"""Ratings: what a person said of a sample or of a pair, wherever it is kept.

A rating is an answer in one of three forms. ``RatingsFile`` reads them from a file that grows, for
those who collect ratings in their own way; ``store.py`` keeps them in a database.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Form = Literal["scale", "yes_no", "pair"]
Domain = Literal["molecules", "melodies", "text"]
Kind = Literal["random", "informed", "repeat", "gold"]

SKIP = "skip"
ANSWERS: dict[str, tuple[str, ...]] = {
    "scale": ("1", "2", "3", "4", "5"),
    "yes_no": ("yes", "no"),
    "pair": ("left", "right", "equal"),
}
DOMAINS = ("molecules", "melodies", "text")
KINDS = ("random", "informed", "repeat", "gold")


@dataclass(frozen=True)
class Rating:
    """One answer: what a preference model learns from, and what files hold."""

    id: int
    """Grows from rating to rating; who reads asks for those after the last that was seen."""
    assessor: str
    """Who answered."""
    left: str
    """The sample as text; the only one of the forms ``"scale"`` and ``"yes_no"``."""
    right: str | None
    """The other sample of a pair."""
    answer: str
    """``"1"`` to ``"5"``; ``"yes"`` or ``"no"``; ``"left"``, ``"right"`` or ``"equal"``."""
    kind: Kind = "random"
    """Why it was asked: at random, for what it tells, once more, or with a known answer."""
    at: float = 0.0
    """When, in seconds since the epoch."""
    note: str = ""
    """What the assessor remarked."""
    gold: str | None = None
    """The answer that was expected, of the kind ``"gold"``."""


class RatingSource(Protocol):
    """Where ratings come from, in the order of their ids."""

    def ratings(self, after: int = 0) -> list[Rating]:
        """Those with a greater id; skips and withdrawn ones are left out."""
        ...


def check_answer(form: str, answer: str) -> None:
    """Refuse what is no answer in this form.

    Raises:
        ValueError: it is none.
    """
    known = (*ANSWERS[form], SKIP)
    if answer not in known:
        raise ValueError(
            f"the answer is {answer[:80]!r}; expected one of {', '.join(map(repr, known))}"
        )
