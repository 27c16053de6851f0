"""Figures of what occurs how often, by hand, and whether their standard errors are right."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance
from tokengym.rewards.sets.diversity import mean_similarities
from tokengym.train.metrics import Estimate
from tokengym.train.metrics.estimate import by_influence, by_jackknife
from tokengym.train.metrics.hidden import squared_mmd
from tokengym.train.metrics.melodies import melody_figures
from tokengym.train.metrics.moses import wasserstein_1
from tokengym.train.metrics.ngrams import ngram_figures, ngrams
from tokengym.train.metrics.occurrences import (
    against,
    cosine_similarity,
    distinct_share,
    jensen_shannon,
)

HALF = 0.3112781  # bits between (1/2, 1/2) and (1, 0): (1/2 log2 2/3 + 1/2)/2 + (log2 4/3)/2


def cosine(rows: Sequence[Sequence[str]], reference: Mapping[str, float]) -> Estimate:
    return cosine_similarity(*against(rows, reference))


def divergence(rows: Sequence[Sequence[str]], reference: Mapping[str, float]) -> Estimate:
    return jensen_shannon(*against(rows, reference))


def test_cosine_by_hand() -> None:
    assert cosine([["a"], ["b"]], {"a": 5}).value == pytest.approx(math.sqrt(0.5))
    assert cosine([["a", "a"], [], ["b"]], {"a": 4, "b": 2}).value == pytest.approx(1.0)
    assert cosine([["c"]], {"a": 1}).value == 0.0
    assert math.isnan(cosine([[]], {"a": 1}).value)
    assert math.isnan(cosine([["a"]], {}).value)
    assert cosine([["a"], [], ["b"]], {"a": 1}).n == 3


def test_divergence_by_hand() -> None:
    assert divergence([["a"], ["b"]], {"a": 7}).value == pytest.approx(HALF, abs=1e-7)
    assert divergence([["a"]], {"b": 1}).value == pytest.approx(1.0)
    same = divergence([["a", "b"], ["b"], []], {"a": 10, "b": 20})
    assert same.value == pytest.approx(0.0)
    assert same.se == pytest.approx(0.0)


def test_distinct_n_and_its_jackknife_by_hand() -> None:
    rows = [["a", "b", "a"], ["a", "c"], ["c", "c"]]
    found = distinct_share(against(rows, {})[0])
    without = np.array([2 / 4, 3 / 5, 3 / 5])
    assert found.value == pytest.approx(3 / 7)
    assert found.se == pytest.approx(math.sqrt(2 / 3 * ((without - without.mean()) ** 2).sum()))


def test_ngrams_are_numbered_alike_and_end_with_their_text() -> None:
    texts, known = [["a", "b", "a", "b"], [], ["b"]], [["a", "b"]]
    ones, twos, threes = ngrams([texts, known], 3)
    assert [len(found.keys_E) for found, _ in (ones, twos, threes)] == [5, 3, 2]
    assert ones[0].rows_E.tolist() == [0, 0, 0, 0, 2]
    (ab, ba, again), (same,) = twos[0].keys_E.tolist(), twos[1].keys_E.tolist()
    assert ab == again == same != ba
    assert len(set(threes[0].keys_E.tolist())) == 2
    assert not len(threes[1].keys_E)


def test_ngram_figures_by_hand() -> None:
    figures = ngram_figures([["a", "b"], ["a", "b"]], [["a", "a"]])
    assert figures["distinct_1"].value == pytest.approx(2 / 4)
    assert figures["distinct_2"].value == pytest.approx(1 / 2)
    assert figures["jsd_1"].value == pytest.approx(HALF, abs=1e-7)
    assert figures["jsd_2"].value == pytest.approx(1.0)
    assert math.isnan(figures["jsd_3"].value)  # no text has three tokens
    assert set(ngram_figures([["a"]], [])) == {"distinct_1", "distinct_2"}


def test_histograms_of_notes_by_hand() -> None:
    figures = melody_figures(["C4:1/4 r:1/4", "D5:1/4", "nothing"], ["C3:1/4"])
    assert figures["pitch_class_jsd"].value == pytest.approx(HALF, abs=1e-7)
    assert figures["duration_jsd"].value == pytest.approx(0.0)
    figures = melody_figures(["C4:1/4 C4:1/8"], ["G#4:2/8"])
    assert figures["pitch_class_jsd"].value == pytest.approx(1.0)
    assert figures["duration_jsd"].value == pytest.approx(HALF, abs=1e-7)


def test_wasserstein_distance_is_the_area_between_distribution_functions() -> None:
    assert wasserstein_1(np.array([0.0, 1.0]), np.array([0.0, 3.0])).value == pytest.approx(1.0)
    moved = wasserstein_1(np.array([0.0, 1.0, 2.0]), np.array([3.0, 4.0, 5.0]))
    assert moved.value == pytest.approx(3.0)
    assert moved.se == pytest.approx(math.sqrt(1 / 3))  # that of the mean, all move one way
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=50), generator.normal(0.2, 2, size=70)
    assert wasserstein_1(a, b).value == pytest.approx(wasserstein_distance(a, b))
    assert wasserstein_1(b, b[::-1]).value == 0.0
    assert math.isnan(wasserstein_1(a, b[:0]).value)


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.array([1.0, 4.0, 5.0, 10.0])
    without = np.array([np.delete(values, i).mean() for i in range(4)])
    assert by_jackknife(5.0, without, 4).se == pytest.approx(values.std(ddof=1) / 2)
    assert by_influence(5.0, values).se == pytest.approx(values.std(ddof=1) / 2)
    assert math.isnan(by_jackknife(5.0, without[:2], 2).se)


SHARES = np.arange(1, 9) / 36
OTHERS = dict(zip("abcdefgh", SHARES[::-1].tolist(), strict=True))
NORMAL = np.random.default_rng(1).normal(size=(300, 3))


def rows_of(generator: np.random.Generator) -> list[list[str]]:
    sizes = generator.integers(1, 6, size=100)
    return [generator.choice(list("abcdefgh"), size, p=SHARES).tolist() for size in sizes]


def power_mean(generator: np.random.Generator) -> Estimate:
    bits_NF = (generator.random((60, 40)) < generator.random((60, 1))).astype(np.float32)
    means_N = mean_similarities(bits_NF, 2)
    root = math.sqrt(means_N.mean())
    return by_influence(1 - root, means_N / root)


def discrepancy(generator: np.random.Generator) -> Estimate:
    x_NH = torch.from_numpy(generator.normal(0.5, 1.0, (100, 3)))
    return squared_mmd(x_NH, torch.from_numpy(NORMAL))


@pytest.mark.parametrize(
    "draw",
    [
        lambda generator: cosine(rows_of(generator), OTHERS),
        lambda generator: divergence(rows_of(generator), OTHERS),
        lambda generator: wasserstein_1(generator.normal(0.3, 1.2, 100), NORMAL[:, 0]),
        power_mean,
        discrepancy,
    ],
    ids=["cosine", "divergence", "wasserstein", "internal diversity", "mmd"],
)
def test_the_standard_error_is_that_of_drawing_anew(
    draw: Callable[[np.random.Generator], Estimate],
) -> None:
    """200 sets: the ratio's own error is 5 %, and what lies 25 % apart is a mistake.

    Five of those errors: a false alarm in fewer than one of 10^5 seeds.
    """
    found = [draw(np.random.default_rng((5, seed))) for seed in range(200)]
    stated = math.sqrt(np.mean([each.se**2 for each in found]))
    seen = np.std([each.value for each in found], ddof=1)
    assert 0.75 < stated / seen < 1.25
