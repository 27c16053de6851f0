"""Transforms: the formulas by hand, their limits, and what they keep of their reward."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tokengym.rewards import (
    Clip,
    DoubleSigmoid,
    Gaussian,
    Linear,
    MaxGaussian,
    MinGaussian,
    ReverseSigmoid,
    Reward,
    Sigmoid,
    Step,
    Transform,
    ValueMap,
    make_reward,
)

from .conftest import encoded, given

ANY = given({}, name="any")

# Values worked out by hand: 10 ** -2.5 = 0.00316228, 10 ** -1.25 = 0.0562341, exp(-1/2) = 0.606531.
BY_HAND: list[tuple[Transform, dict[float, float]]] = [
    (
        Sigmoid(ANY, low=1, high=3),
        {1: 0.00315231, 2: 0.5, 2.5: 0.946760, 3: 0.996848},
    ),
    (Sigmoid(ANY, low=1, high=3, k=0.2), {3: 10 / 11, 1: 1 / 11}),
    (ReverseSigmoid(ANY, low=1, high=3), {1: 0.996848, 2: 0.5, 3: 0.00315231}),
    (DoubleSigmoid(ANY, low=0, high=2, k=1), {-1: 1 / 11, 0: 0.5, 1: 10 / 11, 2: 0.5, 3: 1 / 11}),
    (DoubleSigmoid(ANY, low=0, high=2), {1: 0.969347, -1: 0.0306534}),  # 1 / (1 + 10 ** -1.5)
    (Step(ANY, low=1, high=2), {0.999: 0, 1: 1, 2: 1, 2.001: 0}),
    (Step(ANY, low=1), {0: 0, 1: 1, 1e6: 1}),
    (Step(ANY, high=1), {-1e6: 1, 1: 1, 1.5: 0}),
    (Linear(ANY, low=1, high=3), {0: 0, 1: 0, 2.5: 0.75, 3: 1, 9: 1}),
    (Linear(ANY, low=5, high=1.5), {9: 0, 5: 0, 3.25: 0.5, 1.5: 1, 0: 1}),
    (Gaussian(ANY, mean=2, sd=3), {2: 1, 5: 0.606531, -1: 0.606531, 8: 0.135335}),
    (MinGaussian(ANY, mean=2, sd=3), {-9: 1, 2: 1, 5: 0.606531}),
    (MaxGaussian(ANY, mean=2, sd=3), {-1: 0.606531, 2: 1, 9: 1}),
    (Clip(ANY), {-0.5: 0, 0.25: 0.25, 7: 1}),
    (Clip(ANY, low=-2, high=-1), {-3: -2, -1.5: -1.5, 0: -1}),
    (ValueMap(ANY, values={0: 0.2, 1: 1, 2.5: 0.7}), {0: 0.2, 1: 1, 2.5: 0.7}),
    (ValueMap(ANY, values={0.1: 0.5}, otherwise=0), {0.1: 0.5, 3: 0}),
]
MONOTONE = {"Sigmoid": 1, "ReverseSigmoid": -1, "MinGaussian": -1, "MaxGaussian": 1, "Clip": 1}


@pytest.mark.parametrize(("made", "pairs"), BY_HAND, ids=lambda p: getattr(p, "name", ""))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_by_hand(made: Transform, pairs: dict[float, float], dtype: torch.dtype) -> None:
    values = made.transform(torch.tensor([*pairs], dtype=dtype))
    torch.testing.assert_close(
        values, torch.tensor([*pairs.values()], dtype=dtype), atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("made", [made for made, _ in BY_HAND], ids=lambda made: made.name)
def test_nan_stays_and_the_range_holds_and_is_reached(made: Transform) -> None:
    assert made.transform(torch.tensor([math.nan, math.nan])).isnan().all()
    if isinstance(made, ValueMap):
        assert made.range[0] < made.range[1] <= 1
        return
    generator = torch.Generator().manual_seed(0)
    for low, high in (torch.randn(20, 2, generator=generator).double() * 5).sort()[0].tolist():
        x = torch.linspace(low, high, 4001, dtype=torch.float64)
        least, greatest = made.image(low, high)
        values = made.transform(x)
        assert float(values.min()) == pytest.approx(least, abs=0.02)
        assert float(values.max()) == pytest.approx(greatest, abs=0.02)
        assert least <= float(values.min())
        assert float(values.max()) <= greatest
    assert made.range == made.image(-math.inf, math.inf)


@pytest.mark.parametrize("made", [made for made, _ in BY_HAND], ids=lambda made: made.name)
def test_monotone_and_limits(made: Transform) -> None:
    x = torch.linspace(-30, 30, 10_001, dtype=torch.float64)
    direction = MONOTONE.get(type(made).__name__)
    if isinstance(made, Linear):
        direction = 1 if made.low < made.high else -1
    if direction is not None:
        steps = made.transform(x).diff() * direction
        assert bool((steps >= 0).all())
        assert bool((steps > 0).any())
        ends = made.transform(torch.tensor([-math.inf, math.inf], dtype=torch.float64))
        assert ends.sort()[0].tolist() == pytest.approx(list(made.range))
    if isinstance(made, DoubleSigmoid | Gaussian) and direction is None:
        centre = made.turns()[0]
        torch.testing.assert_close(made.transform(centre + x), made.transform(centre - x))
        assert made.transform(torch.tensor([-1e9, 1e9])).tolist() == [0.0, 0.0]


def test_a_sigmoid_and_its_reverse_sum_to_one() -> None:
    x = torch.linspace(-9, 9, 101, dtype=torch.float64)
    up, down = Sigmoid(ANY, low=-1, high=2), ReverseSigmoid(ANY, low=-1, high=2)
    torch.testing.assert_close(up.transform(x) + down.transform(x), torch.ones_like(x))


def test_raw_and_transformed_values_are_both_kept() -> None:
    inner = given({"a": 1.0, "b": 3.0, "c": None}, name="size", credit="rollouts")
    made = Linear(inner, low=0, high=4)
    scores = made(encoded(["a", "b", "c"]))
    torch.testing.assert_close(
        scores.values_B, torch.tensor([0.25, 0.75, math.nan]), equal_nan=True
    )
    assert scores.ok_B.tolist() == [True, True, False]
    assert list(scores.parts) == ["size", "size.raw"]
    assert scores.parts["size"][:2].tolist() == [0.25, 0.75]
    assert scores.parts["size.raw"][:2].tolist() == [1.0, 3.0]
    assert (made.credit, made.label) == ("rollouts", "size")
    assert [component.name for component in made.components()] == ["size"]


def test_transforms_of_transforms_and_of_sums_keep_every_value() -> None:
    size = given({"a": 1.0, "b": 3.0}, name="size")
    twice = Clip(Linear(size, low=0, high=4), low=0.5)
    parts = {name: part_B.tolist() for name, part_B in twice(encoded(["a", "b"])).parts.items()}
    assert parts == {"size": [0.5, 0.75], "size.raw": [0.25, 0.75], "size.raw.raw": [1, 3]}
    total = Clip(size + 2 * size, high=4)
    parts = {name: part_B.tolist() for name, part_B in total(encoded(["a", "b"])).parts.items()}
    assert parts == {"sum": [3, 4], "sum.raw": [3, 9], "size": [1, 3], "size#2": [1, 3]}


def test_names_that_repeat_are_numbered_with_their_raw_values() -> None:
    size = given({"a": 1.0, "b": 3.0}, name="size")
    reward = size + Linear(size, low=0, high=4) + (Linear(size, low=0, high=2) + size) * size
    parts = {name: part_B.tolist() for name, part_B in reward(encoded(["a", "b"])).parts.items()}
    assert parts == {
        "size": [1, 3],
        "size#2": [0.25, 0.75],
        "size#2.raw": [1, 3],
        "size#3": [0.5, 1],
        "size#3.raw": [1, 3],
        "size#4": [1, 3],
        "size#5": [1, 3],
    }


def test_a_value_that_is_in_no_map() -> None:
    made = ValueMap(given({"a": 1.0, "b": 3.0, "c": None}, name="rings"), values={1: 0.5, 2: 1})
    assert made(encoded(["a", "c"])).ok_B.tolist() == [True, False]
    with pytest.raises(ValueError, match=r"value_map\(rings, .*\): 3 is not among values; add it"):
        made(encoded(["a", "b"]))


UNIT = given({}, name="unit", range=(0.0, 1.0))


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (Sigmoid, {"low": 3, "high": 1}, r"sigmoid\(any, low=3, high=1\): expected low < high"),
        (Sigmoid, {"low": 0, "high": 1, "k": 0}, "k > 0"),
        (Sigmoid, {"low": math.nan, "high": 1}, "low is nan; expected a number"),
        (DoubleSigmoid, {"low": 1, "high": 1}, "expected low < high"),
        (Step, {"low": 2, "high": 1}, "expected low <= high"),
        (Linear, {"low": 1, "high": 1}, "low and high that differ"),
        (Linear, {"low": "1", "high": 2}, "low is '1'; expected a number"),
        (Gaussian, {"mean": 0, "sd": 0}, "sd > 0"),
        (Clip, {"low": 1, "high": 0}, "low < high"),
        (ValueMap, {"values": {}}, "at least one pair"),
        (ValueMap, {"values": {"a": 1}}, "finite numbers"),
        (ValueMap, {"values": {0: 1}, "otherwise": math.inf}, "finite numbers"),
    ],
)
def test_options_that_do_not_fit(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(ANY, **options)


def test_a_transform_that_says_nothing_of_its_reward_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0 \.\. 1, which becomes 1e-05 \.\. 0\.00315"):
        Sigmoid(UNIT, low=1, high=3)
    with pytest.raises(ValueError, match=r"says nothing.*becomes 1 \.\. 1; choose options"):
        Step(UNIT, low=0)
    with pytest.raises(TypeError, match="Sigmoid takes one reward or more by position"):
        Sigmoid("qed", low=0, high=1)  # type: ignore[arg-type]


def test_expressions_say_the_same_as_python() -> None:
    texts = ["a", "b", "c"]
    for made, _ in BY_HAND:
        inner = f"{__name__}:LENGTHS"
        read = make_reward(made.name.replace("any", inner, 1))
        assert type(read) is type(made)
        assert isinstance(read, Transform)
        assert read.options() == made.options()
        torch.testing.assert_close(
            read(encoded(texts)).values_B, made.transform(LENGTHS(encoded(texts)).values_B)
        )


LENGTHS: Reward = given({"a": 0.0, "b": 0.0, "c": 0.0}, name="lengths")
