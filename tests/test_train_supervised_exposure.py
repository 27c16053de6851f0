"""Measures of exposure bias, on a source whose own text has none."""

# Shapes: B sequences, T steps
from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tokengym.agents import Policy, sample
from tokengym.envs import MarkovSource, Vocabulary
from tokengym.train.supervised.exposure import (
    divergence,
    impossible_share,
    ngram_distance,
    nll_by_position,
    pinsker_bound,
    state_accuracy,
    validity_by_length,
)

from .conftest import encoded

CHAIN = np.array([[0.8, 0.2], [0.3, 0.7]])


class ChainPolicy(Policy):
    """A Markov chain as a policy; its features say which token was read."""

    name = "Chain"

    def __init__(self, source: MarkovSource) -> None:
        super().__init__()
        self.vocabulary, self._source = source.vocabulary, source
        self.weight = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))

    def initial_state(self, batch: int, condition: torch.Tensor | None = None) -> Any:
        return ()

    def step(self, tokens_B: torch.Tensor, state: Any) -> Any:
        return self._source.step(tokens_B, state)

    def features(
        self, tokens_BT: torch.Tensor, condition: torch.Tensor | None = None
    ) -> torch.Tensor:
        return F.one_hot(self.shifted(tokens_BT), self.vocabulary.num_inputs).double()

    def forward(
        self, tokens_BT: torch.Tensor, condition: torch.Tensor | None = None
    ) -> torch.Tensor:
        return self._source.step(self.shifted(tokens_BT), ())[0]

    def config(self) -> dict[str, Any]:
        return {}


def entropy_of(p: float) -> float:
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def test_the_source_itself_has_no_exposure_bias() -> None:
    """Divergence 0, its text as probable as the data, states that cannot be told apart.

    z-tests at 4 standard errors of 10 positions and an accuracy: a false alarm once in 1,000.
    """
    source = MarkovSource(CHAIN, length=10)
    policy = ChainPolicy(source)
    real = source.sample(4000, seed=1)
    assert divergence(source, policy, real).value == pytest.approx(0, abs=1e-12)
    own = sample(policy, 4000, max_length=10, seed=2)
    first, *rest = nll_by_position(source, own)
    assert abs(first.value - entropy_of(0.6)) < 4 * first.se  # stationary: 0.3 / (0.2 + 0.3)
    rate = 0.6 * entropy_of(0.8) + 0.4 * entropy_of(0.7)
    for each in rest:
        assert abs(each.value - rate) < 4 * each.se
    accuracy = state_accuracy(policy, real, own)
    assert accuracy.value < pinsker_bound(0.0) + 4 * accuracy.se
    assert accuracy.n == 4000


def test_the_divergence_and_the_accuracy_of_another_chain() -> None:
    """KL in closed form; the classifier finds the difference, and keeps within Pinsker's bound."""
    source = MarkovSource(CHAIN, length=10)
    other = np.array([[0.6, 0.4], [0.4, 0.6]])
    policy = ChainPolicy(MarkovSource(other, length=10))
    pi = np.array([0.6, 0.4])
    k = float((pi * np.log(pi / 0.5)).sum())
    k += 9 * float((pi[:, None] * CHAIN * np.log(CHAIN / other)).sum())
    real = source.sample(4000, seed=1)
    figure = divergence(source, policy, real)
    assert abs(figure.value - k) < 4 * figure.se
    own = sample(policy, 4000, max_length=10, seed=2)
    accuracy = state_accuracy(policy, real, own)
    assert 0.55 < accuracy.value < pinsker_bound(k) + 4 * accuracy.se
    assert pinsker_bound(0.02) == pytest.approx(0.55)
    assert pinsker_bound(50.0) == 1.0
    with pytest.raises(ValueError, match="4000 real sequences and 10 own"):
        state_accuracy(policy, real, own[:10])


def test_ngram_distances_by_hand() -> None:
    first, second = encoded(["aab", "ab"]), encoded(["aab", "ba"])
    # Characters without ends: a a b a b and a a b b a.
    # Pairs with ends: aa ab b< ab b< and aa ab b< ba a<.
    assert ngram_distance(first, second, 1) == pytest.approx(0)
    assert ngram_distance(first, second, 2) == pytest.approx((1 + 1 + 1 + 1) / 5 / 2)
    assert ngram_distance(first, second, 1, 0, 1) == pytest.approx(0.5)
    assert ngram_distance(first, first, 2) == 0


def test_sequences_that_the_source_cannot_write() -> None:
    source = MarkovSource(np.array([[0.5, 0.5], [1.0, 0.0]]), length=3)
    written = source.vocabulary.encode(["0 0 1", "0 1 1", "1 0 1", "1 1 0"])
    assert impossible_share(source, written).value == 0.5
    assert [each.n for each in nll_by_position(source, written)] == [4, 3, 2]


def test_validity_by_length_by_hand(vocabulary: Vocabulary) -> None:
    written = vocabulary.encode(["a", "b", "ab", "abb", "bbb", "aa"])  # 2 2 3 4 4 3 tokens
    bins = validity_by_length(written, lambda text: text.startswith("a"), [1, 3, 4, 9])
    assert [(each.least, each.below, each.valid.n) for each in bins] == [
        (1, 3, 2),
        (3, 4, 2),
        (4, 9, 2),
    ]
    assert [each.valid.value for each in bins] == [0.5, 1.0, 0.5]
