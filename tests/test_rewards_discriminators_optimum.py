"""On two known sources discriminators reach the optimum that each loss is known to have.

Two Markov chains over a, b and the end, of at most four tokens: 31 sequences, whose probabilities
p and q are known. A discriminator learns from N sequences of each, all of them at every update, so
the optimum of what it is given is known exactly, too: the same formula with the counted shares.
"""

# Shapes: S = 31 sequences of the small language
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from tokengym.envs import Sequences
from tokengym.rewards import (
    ConvDiscriminator,
    RecurrentDiscriminator,
    TransformerDiscriminator,
)
from tokengym.rewards.discriminators import Discriminator
from torch import Tensor

N = 1000
# What follows a, b and the beginning: a, b or the end.
P = torch.tensor([[0.5, 0.2, 0.3], [0.3, 0.4, 0.3], [0.6, 0.3, 0.1]], dtype=torch.float64)
Q = torch.tensor([[0.3, 0.5, 0.2], [0.5, 0.3, 0.2], [0.3, 0.5, 0.2]], dtype=torch.float64)
SMALL: dict[str, Any] = {"dropout": 0.0, "l2": 0.0, "learning_rate": 0.02}


def conv(**options: Any) -> ConvDiscriminator:
    return ConvDiscriminator(8, (1, 2, 3, 4), (16, 16, 16, 16), **{**SMALL, **options})


MAKERS: dict[str, Callable[..., Discriminator]] = {
    "conv": conv,
    "recurrent": lambda **options: RecurrentDiscriminator("gru", 8, 32, **{**SMALL, **options}),
    "transformer": lambda **options: TransformerDiscriminator(16, 2, 2, **{**SMALL, **options}),
}


def probabilities(transitions: Tensor, sequences: Sequences) -> Tensor:
    """Of each of the S sequences."""
    p_S = torch.ones(len(sequences), dtype=torch.float64)
    last_S = torch.full((len(sequences),), 2)  # the beginning
    for t in range(sequences.tokens_BT.shape[1]):
        token_S = sequences.tokens_BT[:, t].clamp(max=2)
        factor_S = transitions[last_S, token_S]
        p_S = p_S * torch.where(sequences.mask_BT[:, t], factor_S, 1.0)
        last_S = token_S
    return p_S


class Drawn:
    """N sequences of each source, and what is known of them."""

    def __init__(self, sequences: Sequences) -> None:
        self.p_S, self.q_S = (probabilities(source, sequences) for source in (P, Q))
        generator = torch.Generator().manual_seed(0)
        rows = [
            torch.multinomial(each_S, N, replacement=True, generator=generator)
            for each_S in (self.p_S, self.q_S)
        ]
        self.real, self.generated = (sequences[each] for each in rows)
        size = len(sequences)
        self.drawn_p_S, self.drawn_q_S = (
            torch.bincount(each, minlength=size).double() / N for each in rows
        )
        self.mixture_S = (self.drawn_p_S + self.drawn_q_S) / 2
        self.seen_S = self.mixture_S > 0
        self.optimum_S = self.drawn_p_S / (self.drawn_p_S + self.drawn_q_S)  # of what was drawn

    def train(self, made: Discriminator, updates: int) -> dict[str, float]:
        made.prepare(self.real.vocabulary, 4, "cpu")
        torch.manual_seed(0)
        for _ in range(updates):
            metrics = made.update(self.real, self.generated)
        return metrics

    def error(self, found_S: Tensor, wanted_S: Tensor) -> float:
        """The root of the mean square over the mixture of what was drawn."""
        squares_S = (found_S.double() - wanted_S).square()
        return float((self.mixture_S * squares_S)[self.seen_S].sum().sqrt())


@pytest.fixture
def drawn(all_sequences: Sequences) -> Drawn:
    return Drawn(all_sequences)


def test_the_sources_are_distributions(drawn: Drawn) -> None:
    assert float(drawn.p_S.sum()) == pytest.approx(1)
    assert float(drawn.q_S.sum()) == pytest.approx(1)
    assert float((drawn.p_S - drawn.q_S).abs().sum() / 2) > 0.3  # far enough apart to tell


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "loss"),
    [("conv", "bce"), ("recurrent", "bce"), ("transformer", "bce"), ("conv", "least_squares")],
)
def test_the_probability_is_p_of_p_plus_q(
    kind: str, loss: Any, drawn: Drawn, all_sequences: Sequences
) -> None:
    made = MAKERS[kind](loss=loss)
    metrics = drawn.train(made, 200)
    found_S = made(all_sequences).values_B
    assert drawn.error(found_S, drawn.optimum_S) < 0.02
    # Against the sources themselves: a share of n sequences has the variance D (1 - D) / n, and
    # over the mixture of 2 N this sums to at most 31 / (8 N). Twice its root is missed once in more
    # than a million.
    truth_S = drawn.p_S / (drawn.p_S + drawn.q_S)
    assert drawn.error(found_S, truth_S) < 0.02 + 2 * (31 / (8 * N)) ** 0.5
    assert drawn.error(torch.full((31,), 0.5), truth_S) > 0.2  # what knowing nothing gives
    assert metrics["calibration_error"] < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["bce", "least_squares"])
def test_smoothing_scales_the_probability(
    loss: Any, drawn: Drawn, all_sequences: Sequences
) -> None:
    made = conv(loss=loss, smoothing=0.2)
    drawn.train(made, 200)
    assert drawn.error(made(all_sequences).values_B, 0.8 * drawn.optimum_S) < 0.02


@pytest.mark.slow
def test_hinge_gives_the_sign_and_the_total_variation(
    drawn: Drawn, all_sequences: Sequences
) -> None:
    made = conv(loss="hinge", learning_rate=0.005)
    metrics = drawn.train(made, 300)
    least = 2 * float(torch.minimum(drawn.drawn_p_S, drawn.drawn_q_S).sum())
    assert least - 1e-6 < metrics["loss"] < least + 0.02
    clear_S = drawn.seen_S & ((drawn.optimum_S - 0.5).abs() > 0.1)
    assert clear_S.sum() > 15
    signs_S = made(all_sequences).values_B.sign().double()
    assert torch.equal(signs_S[clear_S], (drawn.optimum_S - 0.5).sign()[clear_S])


@pytest.mark.slow
def test_relativistic_gives_the_log_ratio_up_to_a_constant(
    drawn: Drawn, all_sequences: Sequences
) -> None:
    made = conv(loss="relativistic")
    drawn.train(made, 150)
    both_S = (drawn.drawn_p_S > 0) & (drawn.drawn_q_S > 0)
    found_S = made(all_sequences).values_B.double()
    ratio_S = (drawn.drawn_p_S / drawn.drawn_q_S).log()
    weight_S = (drawn.mixture_S * both_S) / (drawn.mixture_S * both_S).sum()
    constant = (weight_S * (found_S - ratio_S))[both_S].sum()
    assert drawn.error((found_S - constant).sigmoid(), drawn.optimum_S) < 0.02


@pytest.mark.slow
def test_wasserstein_comes_near_the_distance_and_not_beyond(
    drawn: Drawn, all_sequences: Sequences
) -> None:
    made = conv(loss="wasserstein", learning_rate=0.005)
    metrics = drawn.train(made, 200)
    with torch.no_grad():
        embedded_SX = made.network.embedding(all_sequences.tokens_BT).flatten(1).double()
    distance = transport(drawn.drawn_p_S, drawn.drawn_q_S, torch.cdist(embedded_SX, embedded_SX))
    # A penalty of weight 10 lets the slope k exceed 1: k W - 10 (k - 1)^2 is largest at 1 + W / 20.
    assert 0.7 * distance < metrics["difference"] < (1 + distance / 20 + 0.05) * distance
    assert metrics["gradient_penalty"] < 0.1


def transport(p_S: Tensor, q_S: Tensor, costs_SS: Tensor) -> float:
    """The least mean cost of moving p to q: the Wasserstein distance, by linear programming."""
    S = len(p_S)
    eye, ones = np.eye(S), np.ones((1, S))
    margins = np.vstack([np.kron(eye, ones), np.kron(ones, eye)])
    moved = linprog(
        costs_SS.flatten().numpy(), A_eq=margins, b_eq=np.concatenate([p_S.numpy(), q_S.numpy()])
    )
    assert moved.status == 0
    return float(moved.fun)
