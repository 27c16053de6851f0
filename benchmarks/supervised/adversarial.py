"""Learners with a discriminator, beside teacher forcing.

Professor forcing: a GRU-8 on a hidden Markov model of 30 states, too much for it, so that there is
exposure bias to be measured; and one of teacher forcing that is stopped as soon as its NLL on the
same held-out sequences is no higher. How well a classifier tells the hidden states of the two modes
apart, and what both write up to ten times the training length. Floor: no classifier is above
Pinsker's bound by more than three standard errors.

GumbelGAN: what the same policy writes after 200 steps of teacher forcing, and after 300 adversarial
ones, with either feedback. No floor.
"""

# Shapes: B sequences, T steps
from __future__ import annotations

from typing import Any

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
from tokengym.train.supervised.professor_forcing import gates

from .case import Case, Row, cpu_clock

_T, _HELD_OUT, _STEPS = 20, 2000, 400


def cases() -> list[Case]:
    """Both learners."""
    return [Case("professor forcing", professor_forcing), Case("GumbelGAN", gumbel_gan)]


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

    def __init__(self, policy: str, **options: Any) -> None:
        super().__init__(policy, **options)
        self.reached: list[bool] = []  # a step each

    def training_step(self, batch: Sequences, step: int) -> dict[str, float]:
        """As ever."""
        figures = super().training_step(batch, step)
        self.reached.append(gates(figures["discriminator_accuracy"])[1])
        return figures


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
