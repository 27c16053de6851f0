"""Sources whose entropy is known: how far above it a fit stays.

The gap is the mean of log p_source - log p_model over the same fresh samples: an unbiased estimate
of KL(source || model), with little spread. The distance to the limit is gap / (NLL of a model that
counts pairs of neighbours - entropy), 0 at the limit; for Markov-1, which such a model knows, of
one that counts tokens.

Floors: no fit is below 0 by more than three standard errors; Markov-1 with 10 states stays at most
3e-4 nats a token above its entropy, within 30 CPU-seconds; no classifier is above Pinsker's bound
by more than three standard errors.
"""

# Shapes: B sequences, T steps, V = A + 2 inputs
from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

import torch
from tokengym.agents import sample
from tokengym.envs import CopySource, DyckSource, HMMSource, MarkovSource, Sequences, StepSource
from tokengym.train.metrics import Estimate
from tokengym.train.supervised import Learner, TeacherForcing
from tokengym.train.supervised.exposure import (
    divergence,
    ngram_distance,
    nll_by_position,
    pinsker_bound,
    state_accuracy,
)

from ..results import Figures, Row, exactly
from .case import FIT_SECONDS, Case, Part, beyond, cpu_clock, named, scaled

FLOOR, WITHIN = 3e-4, 30.0  # nats a token, CPU-seconds
FRESH, FRESH_SEED = 20_000, 2**31 - 1
TIMES = (1, 2, 5, 10)  # the training length
_T = 20


@dataclass(frozen=True)
class Fit:
    """Teacher forcing of one policy for one pass over fresh sequences of a source.

    Args:
        policy: its name.
        policy_kwargs: its sizes.
        size: sequences that are learnt from.
        batch_size: B.
        learning_rate: at the beginning.
    """

    policy: str
    policy_kwargs: dict[str, int]
    size: int
    batch_size: int
    learning_rate: float

    def learner(self, source: StepSource, data: Sequences, seed: int) -> Learner:
        """Fitted."""
        learner = TeacherForcing(
            self.policy,
            vocabulary=source.vocabulary,
            policy_kwargs=self.policy_kwargs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            schedule="cosine",
            warmup_steps=50,
            seed=seed,
            device="cpu",
        )
        return learner.fit(data, max_epochs=1)


GRU_32: dict[str, int] = {"embedding": 16, "hidden": 32}
SOURCES: dict[str, tuple[Callable[[], StepSource], Fit]] = {
    "Markov-1": (lambda: MarkovSource.random(0), Fit("GRU", GRU_32, 480_000, 256, 0.02)),
    "HMM": (
        lambda: HMMSource.random(0),
        Fit("GRU", {"embedding": 16, "hidden": 64}, 200_000, 64, 0.01),
    ),
    "Dyck-3": (DyckSource, Fit("LSTM", {"embedding": 16, "hidden": 64}, 300_000, 64, 0.01)),
    "Copy": (
        CopySource,
        Fit("Transformer", {"width": 64, "layers": 2, "heads": 4}, 60_000, 64, 2e-3),
    ),
}
SHORT = Fit("GRU", GRU_32, 40_000, 256, 0.01)


def parts(quick: bool) -> list[Part]:
    """The limits, and the exposure bias of a short fit."""
    fresh = 200 if quick else FRESH
    cases = []
    for name, (source, fit) in SOURCES.items():
        fit = Fit(**(asdict(fit) | {"size": 256})) if quick else fit
        label = f"{name}, {fit.policy} of {fit.policy_kwargs.get('hidden', 64)}"
        settings = {**asdict(fit), "fresh": fresh}
        cases.append(Case(label, partial(above_the_limit, source, fit, fresh), settings))
    return [
        Part(
            "Distance to the limit",
            "Teacher forcing, one pass. *Gap*: mean of log p_source - log p_model over fresh "
            "sequences, in thousandths of a nat a token; *distance*: as a share of what a model "
            "that counts pairs of neighbours has above the entropy.",
            {
                "gap": "gap, nats / 1,000 a token",
                "percent": "distance, %",
                "entropy": "entropy, nats a sequence",
                "sequences": "sequences",
                FIT_SECONDS: "CPU-seconds of the fit",
            },
            cases,
            missed=missed,
        ),
        exposure_part(quick),
    ]


def above_the_limit(
    source_of: Callable[[], StepSource], fit: Fit, fresh_size: int, seed: int
) -> Figures:
    """The gap, and the distance to the limit."""
    source = source_of()
    with cpu_clock() as clock:
        data = source.sample(fit.size, seed=1 + seed)
        learner = fit.learner(source, data, seed)
    fresh = source.sample(fresh_size, seed=FRESH_SEED)
    gap, entropy = divergence(source, learner.policy, fresh), source.entropy()
    order = 0 if isinstance(source, MarkovSource) else 1
    counted = counted_nll(data, fresh, order)
    return {
        "gap": scaled(gap, 1000 * len(fresh) / fresh.num_tokens),
        "percent": scaled(gap, 100 / (counted - entropy.value)),
        "entropy": Estimate(entropy.value, entropy.se, len(fresh)),
        "sequences": exactly(fit.size),
        FIT_SECONDS: exactly(clock.seconds),
    }


def missed(rows: list[Row]) -> list[str]:
    """Fits beyond the limit, and the first source's floor."""
    markov, found = rows[0], beyond(rows, "gap")
    gap, seconds = markov["gap"], markov[FIT_SECONDS]
    if gap is not None and gap.value > 1000 * FLOOR:
        found.append(f"{markov.label}: {gap} is above {1000 * FLOOR:g}")
    if seconds is not None and seconds.value > WITHIN:
        found.append(f"{markov.label}: {seconds} CPU-seconds, more than {WITHIN:g}")
    return found


def counted_nll(data: Sequences, fresh: Sequences, order: int) -> float:
    """Nats a sequence of counted tokens (order 0) or pairs of neighbours, one added to each."""
    V, bos = data.vocabulary.num_inputs, data.vocabulary.bos

    def pairs(sequences: Sequences) -> torch.Tensor:
        tokens_BT = sequences.tokens_BT
        before_BT = torch.full_like(tokens_BT, bos)
        if order:
            before_BT[:, 1:] = tokens_BT[:, :-1]
        return (before_BT * V + tokens_BT)[sequences.mask_BT]

    counts = pairs(data).bincount(minlength=V * V).double().view(V, V)[:, : data.vocabulary.bos] + 1
    log_p = (counts / counts.sum(dim=1, keepdim=True)).log()
    seen = pairs(fresh)
    return -float(log_p[seen // V, seen % V].sum()) / len(fresh)


# --- exposure bias --------------------------------------------------------------------------------


def exposure_part(quick: bool) -> Part:
    """What a short fit writes far beyond the training length, and its hidden states."""
    fit = Fit(**(asdict(SHORT) | {"size": 256})) if quick else SHORT
    size = 100 if quick else 4000
    return Part(
        "Exposure bias",
        "A short fit to Markov-1, writing up to 10 times the training length: the source's NLL of "
        "the last token, the distance of the last 20 tokens' pairs from the source's beside that "
        "of two sets of the source, and how often a classifier tells the hidden states of both "
        "modes apart, of what Pinsker's inequality allows.",
        {
            "nll": "source's NLL at the end",
            "rate": "entropy rate",
            "pairs": "distance of pairs",
            "noise": "two sets of the source",
            "accuracy": "accuracy on hidden states",
            "bound": "Pinsker's bound",
        },
        [Case("", partial(exposure, fit, size), {**asdict(fit), "written": size})],
        rows_within=[f"{times} times the length" for times in TIMES],
        missed=above_pinsker,
    )


def exposure(fit: Fit, size: int, seed: int) -> Figures:
    """Of each length."""
    source = MarkovSource.random(0)
    policy = fit.learner(source, source.sample(fit.size, seed=1 + seed), seed).policy
    found: Figures = {}
    for times in TIMES:
        long = MarkovSource(source.transition_KK, length=times * _T)
        real, again = (long.sample(size, seed=FRESH_SEED - i) for i in range(2))
        own, start = sample(policy, size, max_length=times * _T, seed=seed), (times - 1) * _T
        accuracy, gap = state_accuracy(policy, real, own), divergence(long, policy, real)
        figures = {
            "nll": nll_by_position(long, own)[-1],
            "rate": exactly(source.entropy_rate()),
            "pairs": exactly(ngram_distance(own, real, 2, start)),
            "noise": exactly(ngram_distance(again, real, 2, start)),
            "accuracy": accuracy,
            "bound": exactly(pinsker_bound(gap.value)),
        }
        found |= named(f"{times} times the length", figures)
    return found


def above_pinsker(rows: list[Row]) -> list[str]:
    """Classifiers that are right more often than they can be."""
    return [
        f"{row.label} seed {seed}, {name}: {figure} is above {figures[bound].value:.3f}"
        for row in rows
        for seed, figures in enumerate(row.seeds)
        for name, figure in figures.items()
        if name.endswith("accuracy")
        and (bound := name.replace("accuracy", "bound")) in figures
        and figure.value > figures[bound].value + 3 * figure.se
    ]
