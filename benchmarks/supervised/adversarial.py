"""Learners with a discriminator, beside teacher forcing.

Professor forcing: a GRU-8 on a hidden Markov model of 30 states, too much for it, so that there is
exposure bias to be measured; and one of teacher forcing that is stopped as soon as its NLL on the
same held-out sequences is no higher. How well a classifier tells the hidden states of the two modes
apart, and what both write up to ten times the training length.

GumbelGAN: what the same policy writes after 200 steps of teacher forcing, and after 300 adversarial
ones, with either feedback; it is evaluated by hard samples.

Floors: no fit is below the entropy, and no classifier above Pinsker's bound, by more than three
standard errors.
"""

# Shapes: B sequences, T steps
from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
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

from ..results import Figures, Row, exactly
from .case import Case, Part, beyond, named
from .limits import TIMES, above_pinsker

_T = 20
_FRESH_SEED = 2**31 - 1
PROFESSOR, TEACHER, SOURCE = "professor forcing", "teacher forcing, as far", "the source"
PRETRAINED = "teacher forcing alone"
FORMS: dict[str, dict[str, Any]] = {
    "hard feedback, relativistic": {"feedback": "hard", "loss": "relativistic", "beta": 20},
    "soft feedback, cross-entropy": {"feedback": "soft", "loss": "bce", "beta": 5},
}


@dataclass(frozen=True)
class Sizes:
    """How much is done.

    Args:
        steps: of professor forcing.
        teaching: of teacher forcing, before the GAN.
        adversarial: of the GAN.
        held_out: sequences that both professor and teacher are compared on.
        written: samples behind the figures.
    """

    steps: int = 400
    teaching: int = 200
    adversarial: int = 300
    held_out: int = 2000
    written: int = 1000


QUICK = Sizes(10, 5, 5, 100, 50)


def parts(quick: bool) -> list[Part]:
    """Both learners."""
    sizes = QUICK if quick else Sizes()
    of_length = {
        f"{what}_{times}": f"{heading}, {times}x"
        for what, heading in (("nll", "source's NLL"), ("pairs", "pairs"))
        for times in TIMES
    }
    professor = Part(
        "Professor forcing",
        "GRU of 8 on a hidden Markov model of 30 states, at equal NLL of held-out sequences. "
        "*Source's NLL* of the last 20 own tokens, nats a token, and the distance of their *pairs* "
        "from the source's, at 1, 2, 5 and 10 times the training length; *D reached*: the share "
        "of steps in which the gate let the discriminator through.",
        {
            "gap": "gap, nats a sequence",
            "accuracy": "accuracy on hidden states",
            "bound": "Pinsker's bound",
            **of_length,
            "steps": "steps",
            "reached": "D reached",
        },
        [Case("", partial(professor_forcing, sizes), asdict(sizes))],
        rows_within=(PROFESSOR, TEACHER, SOURCE),
        missed=beyond_what_can_be,
    )
    gan = Part(
        "GumbelGAN",
        f"The same policy and source: what it writes after {sizes.teaching} steps of teacher "
        f"forcing, and after {sizes.adversarial} adversarial ones. More likely text with less "
        "variety is the collapse that GANs of text are known for.",
        {"nll_1": "source's NLL, nats a token", "pairs_1": "distance of pairs"},
        [Case("", partial(gumbel_gan, sizes), asdict(sizes))],
        rows_within=(PRETRAINED, *FORMS, SOURCE),
    )
    return [professor, gan]


def beyond_what_can_be(rows: list[Row]) -> list[str]:
    """Fits below the entropy, and classifiers above Pinsker's bound."""
    found = above_pinsker(rows)
    for who in (PROFESSOR, TEACHER):
        found += beyond(rows, f"{who}: gap")
    return found


def source_of(length: int) -> HMMSource:
    """The same model whatever the length of its sequences."""
    return HMMSource.random(0, hidden=30, concentration=0.02, length=length)


def far(policy: Policy | None, times: int, written: int, seed: int) -> Figures:
    """The last tokens of own text: their NLL under the source, and their pairs.

    Without a policy the source writes.
    """
    length = times * _T
    source, start = source_of(length), length - _T
    real = source.sample(written, seed=_FRESH_SEED - 1)
    if policy is None:
        own = source.sample(written, seed=_FRESH_SEED - 2 - seed)
    else:
        own = sample(policy, written, max_length=length, seed=seed)
    nll_B = -source.log_prob(own)[:, start:].mean(dim=1)
    return {
        f"nll_{times}": mean_of(nll_B.tolist()),
        f"pairs_{times}": exactly(ngram_distance(own, real, 2, start)),
    }


def at_all_lengths(policy: Policy | None, written: int, seed: int) -> Figures:
    """The same at every multiple of the training length."""
    return {k: v for times in TIMES for k, v in far(policy, times, written, seed).items()}


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


# --- professor forcing ----------------------------------------------------------------------------


def professor_forcing(sizes: Sizes, seed: int) -> Figures:
    """It, and teacher forcing to the same NLL."""
    source = source_of(_T)
    data = source.sample(sizes.steps * 64, seed=1 + seed)
    held_out = source.sample(sizes.held_out, seed=_FRESH_SEED)
    professor = Watched("GRU", discriminator_learning_rate=3e-3, **common(seed))
    professor.fit(data, max_epochs=1)
    reached = divergence(source, professor.policy, held_out).value

    def is_behind(learner: Learner) -> bool:
        step = learner.progress.step
        return step % 10 != 0 or divergence(source, learner.policy, held_out).value > reached

    teacher = TeacherForcing("GRU", **common(seed))
    teacher.fit(data, max_epochs=3, callback=is_behind)
    share = sum(professor.reached) / len(professor.reached)
    return {
        **named(PROFESSOR, compared(professor, held_out, sizes, seed)),
        f"{PROFESSOR}: reached": exactly(share),
        **named(TEACHER, compared(teacher, held_out, sizes, seed)),
        **named(SOURCE, at_all_lengths(None, sizes.written, seed)),
    }


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


def compared(learner: Learner, held_out: Sequences, sizes: Sizes, seed: int) -> Figures:
    """NLL above the source's, hidden states of both modes, and text of several lengths."""
    policy = learner.policy
    gap = divergence(source_of(_T), policy, held_out)
    own = sample(policy, len(held_out), max_length=_T, seed=seed)
    return {
        "gap": gap,
        "accuracy": state_accuracy(policy, held_out, own),
        "bound": exactly(pinsker_bound(gap.value)),
        "steps": exactly(learner.progress.step),
        **at_all_lengths(policy, sizes.written, seed),
    }


# --- GumbelGAN ------------------------------------------------------------------------------------


def gumbel_gan(sizes: Sizes, seed: int) -> Figures:
    """Both forms, from one beginning."""
    data = source_of(_T).sample((sizes.teaching + sizes.adversarial) * 64, seed=1 + seed)
    found = named(SOURCE, far(None, 1, sizes.written, seed))
    for label, form in FORMS.items():
        learner = GumbelGAN(
            "GRU",
            **form,
            **common(seed),
            annealing=sizes.adversarial,
            pretraining=sizes.teaching,
            adversarial_learning_rate=2e-4,
            discriminator_learning_rate=5e-3,
            discriminator="recurrent",
            discriminator_kwargs={"embedding": 16, "hidden": 32, "dropout": 0.0},
        )
        learner.fit(data, max_epochs=1, callback=lambda each: each.progress.step < sizes.teaching)
        found |= named(
            PRETRAINED, far(learner.policy, 1, sizes.written, seed)
        )  # the same in both forms
        learner.fit(data, max_epochs=1, reset=False)
        found |= named(label, far(learner.policy, 1, sizes.written, seed))
    return found
