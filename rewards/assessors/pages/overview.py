"""The figures of the overview: how many ratings, how well assessors agree, what they like.

A pair is the same whichever side it was shown on: answers count for the samples, not for the sides.
Where an assessor answered the same question again, the first answer counts, the others tell how
constant the assessor is. Questions with a known answer are easy by choice, so they are left out of
the agreement.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean, pvariance
from typing import TYPE_CHECKING, TypedDict

from ..agreement import Metric, krippendorff_alpha
from ..ratings import ANSWERS, SKIP, Domain, Form, Rating
from .drawing import Drawn, drawn

if TYPE_CHECKING:
    from ..store import Store

_SHOWN = 6  # of the best, and of the most disputed
_BARS = 40
_STEPS = (10, 60, 300, 900, 3600, 3 * 3600, 6 * 3600, 86400, 7 * 86400, 28 * 86400)  # seconds
_METRIC: dict[Form, Metric] = {"scale": "ordinal", "yes_no": "nominal", "pair": "ordinal"}
_VALUE = {"left": 1.0, "equal": 0.5, "right": 0.0, "yes": 1.0, "no": 0.0}  # a scale's: the number
_FLIPPED = {"left": "right", "right": "left"}

Unit = tuple[str, str | None]


class Share(TypedDict):
    """So many of so many."""

    hits: int
    of: int


class Agreement(TypedDict):
    """Krippendorff's alpha and what it stands on."""

    alpha: float | None
    metric: Metric
    units: int
    answers: int


class OverTime(TypedDict):
    """Ratings in consecutive spans of ``step`` seconds, from ``start``, seconds since 1970."""

    start: float
    step: int
    counts: list[int]


class ByAssessor(TypedDict):
    """What one assessor did."""

    name: str
    ratings: int
    skips: Share
    answers: dict[str, int]
    repeats: Share
    gold: Share
    last: float


class Best(TypedDict):
    """A sample and the mean of its answers: of 1 to 5, or the share of yes, or of pairs won."""

    sample: Drawn
    mean: float
    ratings: int


class Disputed(TypedDict):
    """What assessors differ on."""

    left: Drawn
    right: Drawn | None
    answers: dict[str, int]


class Asked(TypedDict):
    """The question."""

    text: str
    form: Form
    domain: Domain


class Figures(TypedDict):
    """What the ratings say."""

    ratings: int
    skips: Share
    agreement: Agreement
    repeats: Share
    gold: Share
    over_time: OverTime
    assessors: list[ByAssessor]
    best: list[Best]
    disputed: list[Disputed]


class Overview(Figures):
    """All that the overview shows."""

    question: Asked
    waiting: int


def overview(store: Store, question: int) -> Overview:
    """What ``GET /api/overview`` sends."""
    asked = store.question_of(question)
    ratings = store.ratings(question, skips=True)
    return Overview(
        question=Asked(text=asked.text, form=asked.form, domain=asked.domain),
        waiting=store.waiting(question),
        **figures(ratings, asked.form, asked.domain),
    )


def figures(ratings: Sequence[Rating], form: Form, domain: Domain) -> Figures:
    """Of the ratings of one question, skips among them, in the order of their ids."""
    answers = [rating for rating in ratings if rating.answer != SKIP]
    first, again = _first_and_again(answers)
    names = sorted({rating.assessor for rating in ratings})
    return Figures(
        ratings=len(answers),
        skips=_share(rating.answer == SKIP for rating in ratings),
        agreement=_agreement(first, form),
        repeats=_share(same for _, same in again),
        gold=_share(_gold(answers)),
        over_time=_over_time([rating.at for rating in answers]),
        assessors=[_by_assessor(name, ratings, again, form) for name in names],
        best=_best(first, domain),
        disputed=_disputed(first, form, domain),
    )


def _first_and_again(answers: Iterable[Rating]) -> tuple[list[Rating], list[tuple[str, bool]]]:
    """Each assessor's first answer to each unit; of the later ones, whose it is, and if it agrees.

    The first ones are turned so that the samples of a pair stand in one order.
    """
    first: dict[tuple[Unit, str], Rating] = {}
    again = []
    for rating in map(_turned, answers):
        known = first.setdefault(((rating.left, rating.right), rating.assessor), rating)
        if known is not rating:
            again.append((rating.assessor, known.answer == rating.answer))
    return list(first.values()), again


def _turned(rating: Rating) -> Rating:
    if rating.right is None or rating.left <= rating.right:
        return rating
    gold = rating.gold and _FLIPPED.get(rating.gold, rating.gold)
    answer = _FLIPPED.get(rating.answer, rating.answer)
    return replace(rating, left=rating.right, right=rating.left, answer=answer, gold=gold)


def _value(rating: Rating) -> float:
    return _VALUE[rating.answer] if rating.answer in _VALUE else float(rating.answer)


def _share(outcomes: Iterable[bool]) -> Share:
    outcomes = list(outcomes)
    return Share(hits=sum(outcomes), of=len(outcomes))


def _counts(answers: Iterable[Rating], form: Form) -> dict[str, int]:
    counts = Counter(rating.answer for rating in answers)
    return {answer: counts[answer] for answer in ANSWERS[form] if counts[answer]}


def _gold(answers: Iterable[Rating]) -> Iterable[bool]:
    return (rating.answer == rating.gold for rating in answers if rating.gold is not None)


def _by_unit(first: Iterable[Rating]) -> dict[Unit, list[Rating]]:
    units = defaultdict(list)
    for rating in first:
        units[rating.left, rating.right].append(rating)
    return units


def _agreement(first: Iterable[Rating], form: Form) -> Agreement:
    units = _by_unit(rating for rating in first if rating.gold is None).values()
    values = [[_value(rating) for rating in unit] for unit in units if len(unit) > 1]
    alpha = krippendorff_alpha(values, _METRIC[form])
    return Agreement(
        alpha=None if math.isnan(alpha) else alpha,
        metric=_METRIC[form],
        units=len(values),
        answers=sum(map(len, values)),
    )


def _over_time(times: Sequence[float]) -> OverTime:
    """In spans of a usual length, the shortest that makes no more of them than can be drawn."""
    if not times:
        return OverTime(start=0.0, step=_STEPS[0], counts=[])
    low, high = min(times), max(times)
    step = next((s for s in _STEPS if high // s - low // s < _BARS), _STEPS[-1])
    counts = Counter(int(at // step - low // step) for at in times)
    return OverTime(
        start=low // step * step, step=step, counts=[counts[n] for n in range(max(counts) + 1)]
    )


def _by_assessor(
    name: str, ratings: Iterable[Rating], again: Iterable[tuple[str, bool]], form: Form
) -> ByAssessor:
    own = [rating for rating in ratings if rating.assessor == name]
    answers = [rating for rating in own if rating.answer != SKIP]
    return ByAssessor(
        name=name,
        ratings=len(answers),
        skips=_share(rating.answer == SKIP for rating in own),
        answers=_counts(answers, form),
        repeats=_share(same for who, same in again if who == name),
        gold=_share(_gold(answers)),
        last=max(rating.at for rating in own),
    )


def _best(first: Sequence[Rating], domain: Domain) -> list[Best]:
    """Those of the highest mean, each taken as if it had two average answers more.

    So that one lucky answer does not make the best.
    """
    values: dict[str, list[float]] = defaultdict(list)
    for rating in first:
        values[rating.left].append(_value(rating))
        if rating.right is not None:
            values[rating.right].append(1 - _value(rating))
    if not values:
        return []
    average = fmean(value for of_one in values.values() for value in of_one)
    rank = {
        text: (sum(of_one) + 2 * average) / (len(of_one) + 2) for text, of_one in values.items()
    }
    return [
        Best(sample=drawn(text, domain), mean=fmean(values[text]), ratings=len(values[text]))
        for text in sorted(values, key=rank.__getitem__, reverse=True)[:_SHOWN]
    ]


def _disputed(first: Iterable[Rating], form: Form, domain: Domain) -> list[Disputed]:
    """Those whose answers vary most; of equal ones those with more answers first."""
    units = _by_unit(first)
    spread = {unit: pvariance(map(_value, given)) for unit, given in units.items()}
    disputed = [unit for unit in units if spread[unit] > 0]
    disputed.sort(key=lambda unit: (spread[unit], len(units[unit])), reverse=True)
    return [
        Disputed(
            left=drawn(left, domain),
            right=None if right is None else drawn(right, domain),
            answers=_counts(units[left, right], form),
        )
        for left, right in disputed[:_SHOWN]
    ]
