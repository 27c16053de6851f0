"""Learners with a discriminator, and the gradient estimators beneath one of them.

Gumbel: the gradient of E[f(y)] by four logits, y a one-hot draw, against the exact one by
enumeration. With w = (-1, 0.5, 2, 1) and v = (1, -0.5, 0.5, 2)

    linear        f(y) = w . y
    quadratic     f(y) = sum_k w_k y_k^2
    squared sum   f(y) = (v . y)^2

at logits (1, 0.5, 0, -0.5), 200,000 draws each, in float64. Bias and spread of one draw are norms,
as shares of the exact gradient's. Floors: REINFORCE is unbiased for all three, and straight-through
softmax is exact for the linear one and has no spread there; bias falls with tau (all within four
standard errors); from tau 1 to 0.1, tenfold colder, the spread grows by 4 to 20.

Professor forcing: a GRU-8 on a hidden Markov model of 30 states, too much for it, so that there is
exposure bias to be measured; and one of teacher forcing that is stopped as soon as its NLL on the
same held-out sequences is no higher. How well a classifier tells the hidden
states of the two modes apart, and what both write up to ten times the training length. Floor: no
classifier is above Pinsker's bound by more than three standard errors.

GumbelGAN: what the same policy writes after 200 steps of teacher forcing, and after 300 adversarial
ones, with either feedback. No floor.
"""

# Shapes: B draws or sequences, T steps, K = 4 classes
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from tokengym.agents import Policy, sample
from tokengym.envs import HMMSource, Sequences
from tokengym.train.metrics import mean_of
from tokengym.train.supervised import GumbelGAN, Learner, ProfessorForcing, TeacherForcing
from tokengym.train.supervised.exposure import (
    divergence,
    ngram_distance,
    pinsker_bound,
    state_accuracy,
)
from tokengym.train.supervised.gumbel import gumbel_max, gumbel_softmax, straight_through
from torch import Tensor

from .case import Case, Row, cpu_clock

Function = Callable[[Tensor], Tensor]
Estimator = Callable[[Function, Tensor], Tensor]

DRAWS = 200_000
LOGITS_K = torch.tensor([1.0, 0.5, 0.0, -0.5], dtype=torch.float64)
_W = torch.tensor([-1.0, 0.5, 2.0, 1.0], dtype=torch.float64)
_V = torch.tensor([1.0, -0.5, 0.5, 2.0], dtype=torch.float64)
FUNCTIONS: dict[str, Function] = {
    "linear": lambda y_BK: y_BK @ _W,
    "quadratic": lambda y_BK: y_BK.square() @ _W,
    "squared sum": lambda y_BK: (y_BK @ _V).square(),
}
TAUS = (1.0, 0.5, 0.1)
_T, _HELD_OUT, _STEPS = 20, 2000, 400


def cases() -> list[Case]:
    """Estimators of one draw, and learners beside teacher forcing."""
    return [
        Case("Gumbel estimators", gumbel),
        Case("professor forcing", professor_forcing),
        Case("GumbelGAN", gumbel_gan),
    ]


# --- estimators -----------------------------------------------------------------------------------


def gumbel(seed: int) -> list[Row]:
    """Bias and spread of every estimator for every function."""
    torch.manual_seed(seed)
    return [row for name, f in FUNCTIONS.items() for row in estimated(name, f)]


def estimated(name: str, f: Function) -> list[Row]:
    """The rows of one function."""
    rows: list[Row] = []
    bias, error, spread = {}, {}, {}
    for estimator, estimate in estimators().items():
        bias[estimator], error[estimator], spread[estimator] = quality(f, estimate)
    for estimator in bias:
        limit, good = "", True
        exact = estimator == "ST-softmax" and name == "linear"
        if estimator == "REINFORCE" or exact:
            limit = "exact" if exact else "0 within 4 standard errors"
            good = bias[estimator] <= 4 * error[estimator] + 1e-12
        elif warmer := _warmer(estimator):
            limit = f"< {bias[warmer]:.3f}, that of {warmer}"
            allowed = 4 * math.hypot(error[estimator], error[warmer])
            good = bias[estimator] < bias[warmer] + allowed
        rows.append(
            Row(f"{name}, {estimator}: bias", bias[estimator], error[estimator], limit, good)
        )
        limit, good = ("0", spread[estimator] < 1e-12) if exact else ("", True)
        if estimator.endswith(" 0.1"):
            warm = spread[estimator.replace(" 0.1", " 1.0")]
            limit = f"4 to 20 times {warm:.3g}, that of tau 1"
            good = 4 <= spread[estimator] / warm <= 20
        rows.append(Row(f"{name}, {estimator}: spread", spread[estimator], None, limit, good))
    return rows


def quality(f: Function, estimate: Estimator) -> tuple[float, float, float]:
    """Bias, its standard error, and the spread of one draw, as shares of the gradient's norm."""
    logits_BK = LOGITS_K.expand(DRAWS, -1).clone().requires_grad_()
    found_BK = estimate(f, logits_BK)
    exact_K = exact_gradient(f)
    norm, spread = float(exact_K.norm()), float(found_BK.var(dim=0).sum().sqrt())
    bias = float((found_BK.mean(dim=0) - exact_K).norm())
    return bias / norm, spread / math.sqrt(DRAWS) / norm, spread / norm


def exact_gradient(f: Function) -> Tensor:
    """Of sum_k p_k f(e_k) by the logits, (K,)."""
    logits_K = LOGITS_K.clone().requires_grad_()
    expected = logits_K.softmax(dim=0) @ f(torch.eye(len(logits_K), dtype=torch.float64))
    (gradient_K,) = torch.autograd.grad(expected, [logits_K])
    return gradient_K


def estimators() -> dict[str, Estimator]:
    """By name; each gives a gradient (B, K) for each row of logits."""
    found: dict[str, Estimator] = {"REINFORCE": reinforce, "ST-softmax": straight_through_softmax}
    for hard, name in ((False, "GS"), (True, "ST-GS")):
        for tau in TAUS:
            found[f"{name} tau {tau}"] = relaxed_estimator(tau, hard)
    return found


def reinforce(f: Function, logits_BK: Tensor) -> Tensor:
    """f(y) grad log p(y)."""
    drawn_B = gumbel_max(logits_BK.detach())
    one_hot_BK = torch.eye(logits_BK.shape[1], dtype=logits_BK.dtype)[drawn_B]
    log_probs_B = (logits_BK.log_softmax(dim=1) * one_hot_BK).sum(dim=1)
    return _gradient((f(one_hot_BK) * log_probs_B), logits_BK)


def straight_through_softmax(f: Function, logits_BK: Tensor) -> Tensor:
    """One-hot forward, the softmax's gradient backward."""
    y_BK = straight_through(gumbel_max(logits_BK.detach()), logits_BK.softmax(dim=1))
    return _gradient(f(y_BK), logits_BK)


def relaxed_estimator(tau: float, hard: bool) -> Estimator:
    """Gumbel-softmax at a temperature, straight-through where ``hard``."""
    return lambda f, logits_BK: _gradient(f(gumbel_softmax(logits_BK, tau, hard=hard)), logits_BK)


def _gradient(values_B: Tensor, logits_BK: Tensor) -> Tensor:
    (gradient_BK,) = torch.autograd.grad(values_B.sum(), [logits_BK])
    return gradient_BK


def _warmer(estimator: str) -> str | None:
    """The same at the next higher temperature."""
    name, _, tau = estimator.rpartition(" ")
    place = TAUS.index(float(tau)) if name else 0
    return f"{name} {TAUS[place - 1]}" if place else None


# --- professor forcing ----------------------------------------------------------------------------


def professor_forcing(seed: int) -> list[Row]:
    """It, and teacher forcing to the same NLL."""
    source = source_of(_T)
    data = source.sample(_STEPS * 64, seed=1 + seed)
    held_out = source.sample(_HELD_OUT, seed=2**31 - 1)
    options = common(seed)
    with cpu_clock() as clock:
        professor = Watched("GRU", discriminator_learning_rate=3e-3, **options)
        professor.fit(data, max_epochs=1)
    reached = divergence(source, professor.policy, held_out).value

    def is_behind(learner: Learner) -> bool:
        step = learner.progress.step
        return step % 10 != 0 or divergence(source, learner.policy, held_out).value > reached

    teacher = TeacherForcing("GRU", **options).fit(data, max_epochs=3, callback=is_behind)
    share = sum(professor.reached) / len(professor.reached)
    steps = f"{teacher.progress.step} of teacher forcing"
    return [
        Row("professor: steps", professor.progress.step, None, steps, True, clock.seconds),
        Row("professor: share of steps that D reached", share),
        *compared("professor", professor.policy, held_out, seed),
        *compared("teacher", teacher.policy, held_out, seed),
    ]


class Watched(ProfessorForcing):
    """Professor forcing that remembers when its discriminator reached the policy."""

    def training_step(self, batch: Sequences, step: int) -> dict[str, float]:
        """As ever."""
        figures = super().training_step(batch, step)
        self.reached.append(figures["discriminator_accuracy"] > 0.75)
        return figures

    @property
    def reached(self) -> list[bool]:
        """A step each."""
        return self.__dict__.setdefault("_reached", [])  # type: ignore[no-any-return]


def source_of(length: int) -> HMMSource:
    """The same model whatever the length of its sequences."""
    return HMMSource.random(0, hidden=30, concentration=0.02, length=length)


def compared(who: str, policy: Policy, held_out: Sequences, seed: int) -> list[Row]:
    """NLL above the source's, hidden states of both modes, and text of several lengths."""
    source = source_of(_T)
    gap = divergence(source, policy, held_out)
    own = sample(policy, len(held_out), max_length=_T, seed=seed)
    accuracy, bound = state_accuracy(policy, held_out, own), pinsker_bound(gap.value)
    good = accuracy.value <= bound + 3 * accuracy.se
    rows = [
        Row(f"{who}: gap, nats a sequence", gap.value, gap.se, ">= 0", gap.value >= -3 * gap.se),
        Row(
            f"{who}: accuracy on hidden states",
            accuracy.value,
            accuracy.se,
            f"Pinsker <= {bound:.4f}",
            good,
        ),
    ]
    for times in (1, 2, 5, 10):
        rows += far(f"{who}, {times}x", policy, times * _T, seed)
    return rows


def far(who: str, policy: Policy, length: int, seed: int) -> list[Row]:
    """The last tokens of own text: their NLL under the source, and their pairs."""
    source, start = source_of(length), length - _T
    real, again = (source.sample(1000, seed=2**31 - 2 - i) for i in range(2))
    own = sample(policy, 1000, max_length=length, seed=seed)
    nll, truth = (
        mean_of((-source.log_prob(each)[:, start:].mean(dim=1)).tolist()) for each in (own, real)
    )
    found, noise = (ngram_distance(each, real, 2, start) for each in (own, again))
    against = f"the source's text {truth.value:.4f} +- {truth.se:.2g}"
    return [
        Row(f"{who}: source's NLL, nats a token", nll.value, nll.se, against),
        Row(f"{who}: distance of pairs", found, None, f"two sets of the source {noise:.4f}"),
    ]


def common(seed: int) -> dict[str, Any]:
    """Options of all learners."""
    return {
        "vocabulary": source_of(_T).vocabulary,
        "policy_kwargs": {"embedding": 8, "hidden": 8},
        "learning_rate": 5e-3,
        "schedule": "constant",
        "seed": seed,
        "device": "cpu",
    }


# --- GumbelGAN ------------------------------------------------------------------------------------


def gumbel_gan(seed: int) -> list[Row]:
    """Hard feedback with the relativistic loss, soft feedback with binary cross-entropy."""
    data = source_of(_T).sample(500 * 64, seed=1 + seed)
    rows: list[Row] = []
    forms: list[dict[str, Any]] = [
        {"feedback": "hard", "loss": "relativistic", "beta": 20},
        {"feedback": "soft", "loss": "bce", "beta": 5},
    ]
    for chosen in forms:
        learner = GumbelGAN(
            "GRU",
            **chosen,
            **common(seed),
            annealing=300,
            pretraining=200,
            adversarial_learning_rate=2e-4,
            discriminator_learning_rate=5e-3,
            discriminator="recurrent",
            discriminator_kwargs={"embedding": 16, "hidden": 32, "dropout": 0.0},
        )
        learner.fit(data, max_epochs=1, callback=lambda each: each.progress.step < 200)
        if not rows:
            rows += far("pretrained", learner.policy, _T, seed)
        learner.fit(data, max_epochs=1, reset=False)
        rows += far(f"{chosen['feedback']} feedback", learner.policy, _T, seed)
    return rows
