"""How far answers can be relied on: what was asked twice, and what has a known answer."""

from __future__ import annotations

from collections.abc import Sequence

from .ratings import Rating

_SWAPPED = {"left": "right", "right": "left"}
Answer = tuple[frozenset[str], str]


def reliability(ratings: Sequence[Rating]) -> dict[str, float]:
    """Shares of answers, of those that can be compared; a figure without any is left out.

    Returns:
        ``consistency``: how often what was asked again got the answer of the first time, whichever
        side it stood on, by the same assessor or another; ``gold``: how often the answer was the
        known one.
    """
    first: dict[frozenset[str], str] = {}
    same: list[bool] = []
    for rating in ratings:
        shown, answer = unsided(rating)
        if rating.kind == "repeat" and shown in first:
            same.append(first[shown] == answer)
        first.setdefault(shown, answer)
    right = [rating.answer == rating.gold for rating in ratings if rating.gold is not None]
    shares = {"consistency": same, "gold": right}
    return {name: sum(found) / len(found) for name, found in shares.items() if found}


def unsided(rating: Rating) -> Answer:
    """What was shown, and the answer as if the two stood in the order of their texts."""
    shown = frozenset([rating.left, rating.left if rating.right is None else rating.right])
    swapped = rating.right is not None and rating.left > rating.right
    return shown, _SWAPPED.get(rating.answer, rating.answer) if swapped else rating.answer
