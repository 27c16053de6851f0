"""Krippendorff's alpha against the examples of his paper, worked out by hand."""

from __future__ import annotations

import math
import random

import pytest
from tokengym.rewards.assessors.agreement import Metric, krippendorff_alpha

# Krippendorff (2011), section C: four observers, twelve units, answers missing.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]
UNITS = [[answer for answer in unit if answer is not None] for unit in zip(*OBSERVERS, strict=True)]


# 40 answers can be paired, of 1 to 5: 9, 13, 10, 5, 3. Off the diagonal the coincidences are, above
# it, 12: 4/3, 13: 1/3, 14: 1/3, 23: 4/3, 24: 1/3, 34: 1/3, and as many below.
@pytest.mark.parametrize(
    ("metric", "alpha", "published"),
    [
        # 8 that differ; 40^2 - (9^2 + 13^2 + 10^2 + 5^2 + 3^2) = 1216 expected.
        ("nominal", 1 - 39 * 8 / 1216, 0.743),
        # The ranks of 1 to 5 are 4.5, 15.5, 27, 34.5, 38.5.
        ("ordinal", 1 - 39 * 1891 / 399480, 0.815),
        # 2 (4/3 + 4/3 + 9/3 + 4/3 + 4/3 + 1/3) = 52/3; 2 * 2240 expected.
        ("interval", 1 - 39 * (52 / 3) / 4480, 0.849),
    ],
)
def test_published_example_with_missing_answers(
    metric: Metric, alpha: float, published: float
) -> None:
    found = krippendorff_alpha(UNITS, metric)
    assert found == pytest.approx(alpha, abs=1e-12)
    assert round(found, 3) == published


def test_published_example_of_two_observers() -> None:
    # Section A: 0 and 1 meet in 4 of 10 units; 14 zeros and 6 ones in all.
    meg = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0]
    owen = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    alpha = krippendorff_alpha(zip(meg, owen, strict=True))
    assert alpha == pytest.approx(1 - 19 * 8 / (2 * 14 * 6))
    assert round(alpha, 3) == 0.095


def test_two_values_have_one_alpha_whatever_the_metric() -> None:
    units = [[0, 1], [1, 1], [0, 0, 1], [0, 0]]
    metrics: list[Metric] = ["nominal", "ordinal", "interval"]
    assert len({round(krippendorff_alpha(units, metric), 12) for metric in metrics}) == 1


def test_ends_of_the_scale() -> None:
    assert krippendorff_alpha([[1, 1], [2, 2, 2]]) == 1
    assert krippendorff_alpha([[1, 2], [2, 1]]) == pytest.approx(1 - 3 * 4 / 8)
    # Answers drawn at random: 0 within 5 standard errors, 1/sqrt(4000) each; one seed.
    draw = random.Random(0)
    units = [[draw.randrange(3), draw.randrange(3)] for _ in range(4_000)]
    assert abs(krippendorff_alpha(units)) < 5 / math.sqrt(4_000)


def test_units_with_one_answer_and_the_order_of_answers_do_not_count() -> None:
    alpha = krippendorff_alpha(UNITS, "ordinal")
    assert krippendorff_alpha([*UNITS, [5], []], "ordinal") == alpha
    turned = [unit[::-1] for unit in UNITS]
    assert krippendorff_alpha(turned, "ordinal") == pytest.approx(alpha, abs=1e-12)


@pytest.mark.parametrize("units", [[], [[1], [2]], [[3, 3], [3, 3]]])
def test_nothing_to_compare_has_no_alpha(units: list[list[float]]) -> None:
    assert math.isnan(krippendorff_alpha(units))


def test_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="'ratio'; expected 'nominal', 'ordinal' or 'interval'"):
        krippendorff_alpha(UNITS, "ratio")  # type: ignore[arg-type]
