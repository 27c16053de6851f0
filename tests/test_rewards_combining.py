"""Combinators: values by hand, sequences find their own again, failure never becomes a value."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tokengym.rewards import (
    Alternate,
    Chebyshev,
    Curriculum,
    GeometricMean,
    Linear,
    Pareto,
    Product,
    Progress,
    Ramp,
    Reward,
    Sigmoid,
    Sum,
    ValueMap,
    WeightedProduct,
    make_reward,
)
from tokengym.rewards.combining import pareto_fronts, pareto_ranks

from .conftest import encoded, given

TEXTS = ["a", "b", "c", "d", "e", "f"]
FIRST = given(
    {"a": 0.25, "b": 1.0, "c": None, "d": 0.0, "e": 0.5, "f": 0.75},
    name="first",
    range=(0.0, 1.0),
)
SECOND = given(
    {"a": 1.0, "b": 0.5, "c": 0.25, "d": 0.5, "e": None, "f": 0.25},
    name="second",
    range=(0.0, 1.0),
)
NOWHERE = given(dict.fromkeys(TEXTS), name="nowhere")


def ramped(share: float) -> Reward:
    made = FIRST + Ramp(SECOND, start=0, end=2)
    made.begin_round(Progress(3, share))
    return made


# Each with its values for a, b, d, f, worked out by hand; c fails in the first, e in the second.
BY_HAND: dict[str, tuple[Callable[[], Reward], list[float]]] = {
    "sum": (lambda: 0.5 * FIRST + 2 * SECOND, [2.125, 1.5, 1.0, 0.875]),
    "product": (lambda: FIRST * SECOND, [0.25, 0.5, 0.0, 0.1875]),
    "scaled product": (lambda: (2 * FIRST) * (0.5 * SECOND), [0.25, 0.5, 0.0, 0.1875]),
    "product of sums": (lambda: (FIRST + SECOND) * SECOND, [1.25, 0.75, 0.25, 0.25]),
    "weighted product": (
        lambda: WeightedProduct(FIRST, SECOND, weights=[0.5, 2]),
        [0.5, 0.25, 0.0, 0.75**0.5 / 16],
    ),
    "geometric mean": (lambda: GeometricMean(FIRST, SECOND), [0.5, 0.5**0.5, 0, 0.1875**0.5]),
    "weighted geometric mean": (
        lambda: GeometricMean(FIRST, SECOND, weights=[3, 1]),
        [0.25**0.75, 0.5**0.25, 0, (0.75**3 * 0.25) ** 0.25],
    ),
    "least": (lambda: Chebyshev(FIRST, SECOND), [0.25, 0.5, 0.0, 0.25]),
    "weighted shortfall": (
        lambda: Chebyshev(FIRST, SECOND, weights=[1, 2], reference=[1, 0.5]),
        [0.625, 1.0, 0.5, 0.75],
    ),
    # a and b lie on the first front; d is dominated by both and f by b, but not by one another.
    "pareto": (lambda: Pareto(FIRST, SECOND), [2.5 / 3, 2.5 / 3, 0.5 / 3, 0.5 / 3]),
    "ramp": (lambda: ramped(0.25), [0.75, 1.25, 0.25, 0.875]),
    "alternate": (lambda: Alternate(FIRST * SECOND, SECOND), [0.25, 0.5, 0.0, 0.1875]),
    "curriculum": (
        lambda: Curriculum(FIRST * SECOND, SECOND, thresholds=[2]),
        [0.25, 0.5, 0.0, 0.1875],
    ),
    "transform": (lambda: Linear(FIRST * SECOND, low=0, high=0.5), [0.5, 1.0, 0.0, 0.375]),
}
WHERE = torch.tensor([0, 1, 3, 5])


@pytest.mark.parametrize("kind", BY_HAND)
def test_values_by_hand(kind: str) -> None:
    make, by_hand = BY_HAND[kind]
    scores = make()(encoded(TEXTS))
    torch.testing.assert_close(scores.values_B[WHERE], torch.tensor(by_hand))
    assert scores.ok_B.tolist() == [True, True, False, True, False, True]
    assert scores.values_B.dtype is torch.float32


@pytest.mark.parametrize("kind", BY_HAND)
def test_shuffled_sequences_find_their_values_again(kind: str) -> None:
    sequences = encoded(TEXTS)
    before = BY_HAND[kind][0]()(sequences)
    order = torch.tensor([3, 5, 0, 2, 4, 1])
    after = BY_HAND[kind][0]()(sequences[order])
    assert torch.equal(after.ok_B, before.ok_B[order])
    torch.testing.assert_close(after.values_B, before.values_B[order], equal_nan=True)
    for name, part_B in before.parts.items():
        torch.testing.assert_close(after.parts[name], part_B[order], equal_nan=True)


@pytest.mark.parametrize("kind", BY_HAND)
def test_a_sequence_alone_scores_as_in_company_unless_it_is_ranked(kind: str) -> None:
    sequences, reward = encoded(TEXTS), BY_HAND[kind][0]()
    together = reward(sequences).values_B
    alone = torch.cat([reward(sequences[[row]]).values_B for row in range(len(TEXTS))])
    if kind == "pareto":
        assert alone[WHERE].tolist() == [0.5] * 4
    else:
        torch.testing.assert_close(alone, together, equal_nan=True)


COMBINATORS: dict[str, Callable[[Reward], Reward]] = {
    "sum": lambda reward: Sum([(1.0, reward), (0.5, FIRST)]),
    "product": lambda reward: Product([reward, FIRST]),
    "weighted_product": lambda reward: WeightedProduct(reward, FIRST, weights=[1, 2]),
    "geometric_mean": lambda reward: GeometricMean(reward, FIRST),
    "geometric_mean of one": lambda reward: GeometricMean(reward),
    "chebyshev": lambda reward: Chebyshev(reward, FIRST),
    "pareto": lambda reward: Pareto(reward, FIRST),
    "ramp": lambda reward: Ramp(reward, start=1, end=2),
    "alternate": lambda reward: Alternate(reward, FIRST),
    "curriculum": lambda reward: Curriculum(reward, FIRST, thresholds=[0.5]),
    "sigmoid": lambda reward: Sigmoid(reward, low=0, high=1),
    "value_map": lambda reward: ValueMap(reward, values={0: 1, 1: 0}, otherwise=1),
}


@pytest.mark.parametrize("kind", COMBINATORS)
def test_failure_is_never_a_value(kind: str) -> None:
    scores = COMBINATORS[kind](NOWHERE)(encoded(TEXTS))
    assert not scores.ok_B.any()
    assert scores.values_B.isnan().all()
    assert scores.parts["nowhere"].isnan().all()
    some = given({**dict.fromkeys(TEXTS, 1.0), "d": None}, name="some")
    scores = COMBINATORS[kind](some)(encoded(TEXTS))
    assert scores.values_B[3].isnan()
    assert not scores.ok_B[3]
    assert scores.ok_B[0]
    assert bool((scores.values_B.isnan() == ~scores.ok_B).all())


def test_what_failed_is_not_ranked_against() -> None:
    without = [text for text in TEXTS if text not in "ce"]
    with_failures = Pareto(FIRST, SECOND)(encoded(TEXTS)).values_B
    assert torch.equal(with_failures[WHERE], Pareto(FIRST, SECOND)(encoded(without)).values_B)


def test_a_negative_value_is_no_factor_of_a_mean() -> None:
    logp = given({"a": 0.5, "b": -1.5, "c": None}, name="logp")
    message = r"logp is -1\.5 for 'b'; geometric_mean\(logp, first\) takes values of at least 0"
    with pytest.raises(ValueError, match=message):
        GeometricMean(logp, FIRST)(encoded(["a", "c", "b"]))
    with pytest.raises(ValueError, match=r"bring it to \[0, 1\] with a transform"):
        WeightedProduct(FIRST, logp, weights=[1, 3])(encoded(["b"]))
    assert (2 * logp * FIRST)(encoded(["b"])).values_B.tolist() == [-3.0]


def test_fronts_by_hand_and_against_the_definition() -> None:
    points = torch.tensor([[3.0, 1, 2, 2, 0, 1], [1, 3, 2, 1, 0, 1]])
    assert pareto_fronts(points).tolist() == [0, 0, 0, 1, 3, 2]
    # of 6: three on the first front have three behind them and two beside them
    expected = [(3 + 1) / 5] * 3 + [2 / 5, 0.0, 1 / 5]
    torch.testing.assert_close(pareto_ranks(points), torch.tensor(expected))
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        points = torch.randint(0, 4, (3, 25), generator=generator).float()
        assert pareto_fronts(points).tolist() == fronts_by_definition(points.T.tolist())
        ranks = pareto_ranks(points)
        assert float(ranks.mean()) == pytest.approx(0.5)
        assert 0 <= float(ranks.min()) <= float(ranks.max()) <= 1


def fronts_by_definition(points: list[list[float]]) -> list[int]:
    """One more than the latest front of what dominates a point; 0 where nothing does."""

    def dominates(a: list[float], b: list[float]) -> bool:
        return all(x >= y for x, y in zip(a, b, strict=True)) and a != b

    def front(point: list[float]) -> int:
        return max((1 + front(other) for other in points if dominates(other, point)), default=0)

    return [front(point) for point in points]


def test_equal_points_have_equal_ranks() -> None:
    assert pareto_ranks(torch.ones(2, 5)).tolist() == [0.5] * 5
    assert pareto_ranks(torch.zeros(2, 1)).tolist() == [0.5]
    assert pareto_ranks(torch.zeros(2, 0)).tolist() == []


def test_credit_range_and_the_operators_own_value() -> None:
    cheap = given({"a": 0.5}, name="cheap", credit="rollouts", range=(0.0, 1.0))
    assert GeometricMean(cheap, cheap).credit == Chebyshev(cheap, cheap).credit == "rollouts"
    assert GeometricMean(cheap, FIRST).credit == Pareto(cheap, cheap).credit == "terminal"
    wide = given({"a": 0.5}, name="wide")
    assert GeometricMean(FIRST, SECOND).range == Pareto(wide, wide).range == (0.0, 1.0)
    assert GeometricMean(FIRST, wide).range == (0.0, math.inf)
    assert Chebyshev(FIRST, wide).range == (-math.inf, 1.0)
    assert (FIRST + -1 * SECOND).range == (-1.0, 1.0)
    parts = (cheap + GeometricMean(cheap, cheap))(encoded(["a"])).parts
    assert {name: float(part_B) for name, part_B in parts.items()} == {
        "cheap": 0.5,
        "geometric_mean": 0.5,
        "cheap#2": 0.5,
        "cheap#3": 0.5,
    }


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GeometricMean(), "GeometricMean takes one reward or more by position"),
        (lambda: Pareto(FIRST, 0.5), "Pareto takes one reward or more"),  # type: ignore[arg-type]
        (lambda: GeometricMean(FIRST, SECOND, weights=[1]), "expected 2 positive numbers, one for"),
        (lambda: GeometricMean(FIRST, weights=[0]), r"weights are \[0\]"),
        (lambda: Chebyshev(FIRST, reference=[math.nan]), "expected 1 finite numbers"),
    ],
)
def test_mistakes_are_named(make: Callable[[], Reward], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


ME = __name__
EXPRESSIONS: dict[str, Callable[[], Reward]] = {
    "1.5 * first + -1 * second": lambda: 1.5 * FIRST + -1 * SECOND,
    "(first + 0.1 * second) * second": lambda: (FIRST + 0.1 * SECOND) * SECOND,
    "0.5 * first * linear(second, low=0, high=2)": lambda: (
        0.5 * FIRST * Linear(SECOND, low=0, high=2)
    ),
    "geometric_mean(first, second, weights=[2, 1])": lambda: GeometricMean(
        FIRST, SECOND, weights=[2, 1]
    ),
    "weighted_product(first, second)": lambda: WeightedProduct(FIRST, SECOND),
    "pareto(first, chebyshev(second, reference=[0.5]))": lambda: Pareto(
        FIRST, Chebyshev(SECOND, reference=[0.5])
    ),
    "value_map(first, values={0: 0.5, 1: 1}, otherwise=0)": lambda: ValueMap(
        FIRST, values={0: 0.5, 1: 1}, otherwise=0
    ),
    "alternate(first, 0.5 * second, period=3)": lambda: Alternate(FIRST, 0.5 * SECOND, period=3),
    "first + 0.123456789 * ramp(second, start=1, end=0.5, over=0.2)": lambda: (
        FIRST + 0.123456789 * Ramp(SECOND, start=1, end=0.5, over=0.2)
    ),
    "curriculum(first, second, thresholds=[0.5])": lambda: Curriculum(
        FIRST, SECOND, thresholds=[0.5]
    ),
}


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_expressions_go_round(text: str) -> None:
    made = EXPRESSIONS[text]()
    assert made.name == text
    read = make_reward(text.replace("first", f"{ME}:FIRST").replace("second", f"{ME}:SECOND"))
    assert read.name == text
    assert (read.range, read.credit) == (made.range, made.credit)
    before, after = made(encoded(TEXTS)), read(encoded(TEXTS))
    torch.testing.assert_close(after.values_B, before.values_B, equal_nan=True)
    assert list(after.parts) == list(before.parts)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sigmoid(qed, 1, 3)", "rewards stand there, and options by name"),
        ("sigmoid(qed)", "missing 2 required keyword-only arguments"),
        ("sigmoid(low=0, high=1)", "missing 1 required positional argument"),
        ("sigmoid(qed, low=open('x'), high=1)", "cannot read the reward"),
        ("geometric_mean(qed, weights=[1, 2])", "expected 1 positive numbers"),
        ("geometric_mean(qde)", "did you mean qed"),
        ("geometric_mean(*qed)", "is no reward"),
        ("geometric_mean(qed, **valid)", "cannot read the reward"),
        (f"{ME}:FIRST(qed)", "takes no rewards in brackets"),
        ("+".join(["qed"] * 20_000), "cannot read the reward"),
        ("ramp(reward=qed, start=0, end=1)", "'reward=qed': .* rewards stand before the options"),
        ("sigmoid(qed, low=1-0.8, high=1)", "'1 - 0.8' is no literal; expected a number written"),
        (f"1{'0' * 400} * qed", "cannot read the reward '1000"),
        (f"sigmoid(qed, low=0, high=-1{'0' * 400})", "cannot read the reward"),
        ("tokengym.rewards.texts:Length.typo", "texts:Length has no 'typo', .*; it has score$"),
        ("tokengym.rewards:Clip.typo", "rewards:Clip has no 'typo'"),
    ],
)
def test_what_is_no_expression(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_reward(spec)


def test_hooks_reach_every_component() -> None:
    heard: list[Any] = []

    class Listener(Reward):
        name = "listener"

        def __call__(self, sequences: Any) -> Any:
            return FIRST(sequences)

        def begin_round(self, progress: Progress) -> None:
            heard.append(progress.round)

        def end_round(self, sequences: Any, scores: Any) -> None:
            heard.append(sequences)

    for wrap in COMBINATORS.values():
        wrap(wrap(Listener())).begin_round(Progress(7, 0.5))
    wrap(wrap(Listener())).end_round(encoded(TEXTS), FIRST(encoded(TEXTS)))
    assert heard[:-1] == [7] * len(COMBINATORS)
    assert heard[-1].texts == TEXTS
