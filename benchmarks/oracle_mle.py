"""The MLE that agents of the oracle's task begin with: which settings do best on what is held out.

With 10,000 sequences a plain LSTM of 32 units stays far above the source's entropy, so what an
agent gains over it may be what a better fit would have had. The candidates differ in what is known
to help with little data: weight decay, dropout of whole units, averaged weights, an output tied to
the embedding, more units. Each stops by the held-out tenth; the lowest there is taken.
"""

# Shapes: B sequences
from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import tokengym
import torch
from tokengym.envs import Sequences, Task
from tokengym.train.supervised import Learner, TeacherForcing

from .results import Figures, Row, Study

TEMPERATURES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1)
PLAIN = "plain, 32"
# Settings of TeacherForcing, and of the LSTM (embedding and state of `hidden` units).
CANDIDATES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    PLAIN: ({}, {"hidden": 32}),
    "averaged, 32": ({"averaging": 0.999}, {"hidden": 32}),
    "tied, 32": ({}, {"hidden": 32, "tied": True}),
    "decay 0.1, 32": ({"weight_decay": 0.1}, {"hidden": 32}),
    "decay 0.3, 32": ({"weight_decay": 0.3}, {"hidden": 32}),
    "decay 1, 32": ({"weight_decay": 1.0}, {"hidden": 32}),
    "decay 3, 32": ({"weight_decay": 3.0}, {"hidden": 32}),
    "dropout 0.3, 32": ({}, {"hidden": 32, "dropout": 0.3, "variational": True}),
    "dropout 0.5, 64": ({}, {"hidden": 64, "dropout": 0.5, "variational": True}),
    "decay 0.3, 64": ({"weight_decay": 0.3}, {"hidden": 64}),
    "decay 0.3, averaged, dropout 0.3, 32": (
        {"weight_decay": 0.3, "averaging": 0.999},
        {"hidden": 32, "dropout": 0.3, "variational": True},
    ),
    "decay 0.3, averaged, dropout 0.5, tied, 64": (
        {"weight_decay": 0.3, "averaging": 0.999},
        {"hidden": 64, "dropout": 0.5, "variational": True, "tied": True},
    ),
}
FITTING: dict[str, Any] = {
    "batch_size": 64,
    "learning_rate": 4e-3,
    "schedule": "cosine",
    "patience": 5,
}
_HELD_OUT = 10  # every tenth


@dataclass(frozen=True)
class Sizes:
    """How much is done.

    Args:
        data: sequences of the source, a tenth of them held out.
        samples: behind the figures, and as many fresh ones of the source for NLL_gen.
        epochs: the most of teacher forcing.
        rounds: of an agent, of 64 sequences of 20 tokens.
        discriminator_steps: updates of the discriminator before the first round.
        discriminator: its expression; by default the paper's.
        completions: of every prefix.
        temperatures: of the curve.
    """

    data: int = 10_000
    samples: int = 10_000
    epochs: int = 40
    rounds: int = 200
    discriminator_steps: int = 300
    discriminator: str = "conv_discriminator"
    completions: int = 16
    temperatures: tuple[float, ...] = TEMPERATURES


QUICK = Sizes(
    500, 200, 1, 1, 1, "conv_discriminator(widths=(1, 2), filters=(8, 8))", 1, (0.5, 1.0, 1.5)
)


def sizes(study: Study) -> Sizes:
    """Those of this run."""
    return QUICK if study.quick else Sizes()


@cache
def oracle_task(data: int) -> Task:
    """The task, its random network and data those of seed 0."""
    return tokengym.make_task("tokengym/Oracle-v0", data_size=data)


def parts_of(data: Sequences) -> tuple[Sequences, Sequences]:
    """What is learnt from, and what a fit stops by."""
    held_out = torch.arange(len(data)) % _HELD_OUT == _HELD_OUT - 1
    return data[~held_out], data[held_out]


def fitting(study: Study, candidate: str) -> dict[str, Any]:
    """What a candidate depends on."""
    of, (options, network) = sizes(study), CANDIDATES[candidate]
    return {**FITTING, **options, "network": network, "data": of.data, "epochs": of.epochs}


def fitted(study: Study, candidate: str, seed: int) -> Learner:
    """A candidate for the best MLE, fitted until its held-out likelihood falls no more."""
    of, (options, network) = sizes(study), CANDIDATES[candidate]

    def fit() -> Learner:
        task = oracle_task(of.data)
        assert task.data is not None
        learner = TeacherForcing(
            "LSTM",
            vocabulary=task.vocabulary,
            policy_kwargs={**network, "embedding": network["hidden"]},
            seed=seed,
            device="cpu",
            **FITTING,
            **options,
        )
        return learner.fit(*parts_of(task.data), max_epochs=of.epochs)

    return study.learner(f"oracle LSTM {candidate}", seed, fitting(study, candidate), fit)


def search(study: Study, compute: bool) -> list[Row]:
    """How every candidate does on what it did not learn from."""
    of = sizes(study)

    def held_out(candidate: str, seed: int) -> Figures:
        learner, data = fitted(study, candidate, seed), oracle_task(of.data).data
        assert data is not None
        learning, other = parts_of(data)
        return {
            "held_out": learner.evaluate(other)["nats_a_token"],
            "learnt": learner.evaluate(learning)["nats_a_token"],
        }

    candidates = list(CANDIDATES)[:2] if study.quick else list(CANDIDATES)
    rows: list[Row] = []
    for name in candidates:
        wanted, compute_one = None if compute else False, partial(held_out, name)
        row = study.row(f"search, {name}", fitting(study, name), compute_one, wanted=wanted)
        rows.append(Row(name, row.seeds))
    return rows


def best(rows: list[Row]) -> str:
    """The candidate with the lowest held-out NLL; the plain one where none was searched."""
    found = {row.label: figure.value for row in rows if (figure := row["held_out"]) is not None}
    return min(found, key=lambda name: found[name], default=PLAIN)
