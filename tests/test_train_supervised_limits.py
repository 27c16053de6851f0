"""Likelihood against a known source: no model is beyond the limit (N1, N2)."""

# Shapes: B sequences, S all sequences of the source, T steps
from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from tokengym.agents import GRUPolicy, Policy
from tokengym.envs import LSTMOracle, Sequences
from tokengym.train.metrics import mean_of
from tokengym.train.supervised import TeacherForcing
from tokengym.train.supervised.exposure import divergence

from .conftest import log_probs

V, T = 3, 4


@pytest.fixture
def oracle() -> LSTMOracle:
    """SeqGAN's oracle, small enough to enumerate."""
    draw = np.random.default_rng(0).standard_normal
    weights: dict[str, Any] = {"embedding": draw((V, 3)), "W_out": draw((4, V)), "b_out": draw(V)}
    for gate in "ifoc":
        weights |= {f"W_{gate}": draw((3, 4)), f"U_{gate}": draw((4, 4)), f"b_{gate}": draw(4)}
    return LSTMOracle(weights, length=T)


@pytest.fixture
def everything(oracle: LSTMOracle) -> Sequences:
    tokens_ST = torch.cartesian_prod(*[torch.arange(V)] * T)
    return Sequences.from_tokens(tokens_ST, oracle.vocabulary)


def enumerated(oracle: LSTMOracle, sequences: Sequences) -> torch.Tensor:
    """Log p of every sequence (S,), which sum to 1."""
    log_p_S = oracle.log_prob(sequences).sum(dim=1).double()
    assert float(log_p_S.exp().sum()) == pytest.approx(1, abs=1e-5)
    return log_p_S


def test_N1_the_oracles_likelihood_of_its_samples_is_its_entropy(
    oracle: LSTMOracle, everything: Sequences
) -> None:
    """By enumeration: of 20,000 samples, and what ``entropy`` says; 4 standard errors each."""
    log_p_S = enumerated(oracle, everything)
    entropy = -float((log_p_S.exp() * log_p_S).sum())
    found = mean_of((-oracle.log_prob(oracle.sample(20_000, seed=1)).sum(dim=1)).tolist())
    assert found.value == pytest.approx(entropy, abs=4 * found.se)
    said = oracle.entropy()
    assert said.value == pytest.approx(entropy, abs=4 * said.se)


def test_N2_no_model_is_below_the_entropy_and_the_gap_is_the_divergence(
    oracle: LSTMOracle, everything: Sequences
) -> None:
    """KL(p || m) of five random policies, and of one that was fitted, against the enumerated one.

    Within 4 standard errors, and never below 0 by more than 3.
    """
    log_p_S, real = enumerated(oracle, everything), oracle.sample(3000, seed=2)
    policies: list[Policy] = []
    for seed in range(5):
        torch.manual_seed(seed)
        policies.append(GRUPolicy(oracle.vocabulary, embedding=4, hidden=8))
    learner = TeacherForcing(
        GRUPolicy(oracle.vocabulary, embedding=4, hidden=8),
        batch_size=100,
        learning_rate=0.04,
        device="cpu",
    )
    gaps = []
    for policy in [*policies, learner.fit(real, max_epochs=2).policy]:
        log_m_S = log_probs(policy, everything).detach().double()
        gap = float((log_p_S.exp() * (log_p_S - log_m_S)).sum())
        found = divergence(oracle, policy, real)
        assert gap >= -1e-6
        assert found.value >= -3 * found.se
        assert found.value == pytest.approx(gap, abs=4 * found.se)
        gaps.append(gap)
    assert gaps[-1] < 0.05 < min(gaps[:-1]) < math.log(V) * T
