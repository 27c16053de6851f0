"""Molecules: what teacher forcing, VRAE, AAE and their conditional forms write.

RDKit's 10,000 drug-like molecules, every fifth held out. The condition is logP and QED; asked for
are those of held-out molecules, in turn. What is written by a learner without a condition is held
against the same requests: that is what not listening comes to. Reconstruction is of held-out
molecules, from the mean code, the most probable token at every step.

Floor: every conditional learner's logP follows what was asked, a correlation of 0.5 or more, and
that of every other does not (below 0.1).
"""

# Shapes: B sequences, C = 2 properties
from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rdkit.Chem.QED import qed
from tokengym.envs import Sequences, Task, make_task
from tokengym.rewards.molecules import canonical_smiles, molecule
from tokengym.rewards.molecules.properties import crippen_logp
from tokengym.train.evaluation import figures_of_texts, further_figures
from tokengym.train.metrics import Estimate, mean_of, share_of
from tokengym.train.supervised import AAE, VRAE, Learner, TeacherForcing
from tokengym.train.supervised.latent import LatentLearner
from torch import Tensor

from ..results import Figures, Row, exactly
from .case import FIT_SECONDS, Case, Part, cpu_clock

PROPERTIES = ("logp", "qed")
HEARD, UNHEARD = 0.5, 0.1  # correlations with what was asked
EVERY = 5  # is held out
SEEDS = 1

LATENT_OPTIONS: dict[str, Any] = {"latent": 32, "encoder_kwargs": {"embedding": 64, "hidden": 64}}
VRAE_OPTIONS: dict[str, Any] = {"annealing": "linear", "annealing_steps": 300, "free_bits": 0.1}
AAE_OPTIONS: dict[str, Any] = {"deleted": 0.1}


@dataclass(frozen=True)
class Sizes:
    """How much is done.

    Args:
        hidden: units of the policy.
        epochs: of the fit.
        written: samples behind the figures.
        rebuilt: held-out molecules that are reconstructed.
        data: of the molecules.
        representation: SELFIES in a short run: hardly taught, one still writes molecules.
    """

    hidden: int = 192
    epochs: int = 12
    written: int = 2000
    rebuilt: int = 500
    data: int = 10_000
    representation: str = "smiles"


QUICK = Sizes(16, 1, 40, 10, 128, "selfies")


def part(folder: Path, quick: bool) -> Part:
    """The real molecules, and all six learners."""
    sizes, kept = QUICK if quick else Sizes(), folder / "reference.safetensors"
    cases = [Case("held-out molecules", partial(real, sizes, kept), asdict(sizes), 1)]
    for kind, options in {"TeacherForcing": {}, "VRAE": VRAE_OPTIONS, "AAE": AAE_OPTIONS}.items():
        for conditional in (False, True):
            label = f"conditional {kind}" if conditional else kind
            settings = {**asdict(sizes), **LATENT_OPTIONS, **options}
            compute = partial(written, sizes, kept, kind, conditional, options)
            cases.append(Case(label, compute, settings, SEEDS))
    return Part(
        "Molecules",
        f"GRU of {sizes.hidden}, {sizes.epochs} passes over RDKit's 10,000 molecules less the "
        f"{10_000 // EVERY:,} that are held out; figures of {sizes.written:,} samples. Novelty and "
        "FCD are from what was learnt from. *Rebuilt*: held-out molecules that come back whole "
        "from their mean code. *Asked*: the correlation of what was asked with the property of "
        "what was written, and the mean distance; learners without a condition do not hear it.",
        {
            "validity": "validity",
            "uniqueness": "unique",
            "novelty": "novel",
            "fcd": "FCD",
            "rebuilt": "rebuilt",
            "reconstruction": "reconstruction, nats",
            "kl": "KL",
            "logp_correlation": "asked logP: correlation",
            "logp_distance": "distance",
            "qed_correlation": "asked QED: correlation",
            "qed_distance": "distance",
            FIT_SECONDS: "CPU-seconds of the fit",
        },
        cases,
        missed=missed,
    )


def missed(rows: list[Row]) -> list[str]:
    """Conditional learners that do not listen, and others that seem to."""
    found = []
    for row in rows:
        heard, conditional = row["logp_correlation"], row.label.startswith("conditional")
        if heard is None:
            continue
        if heard.value < HEARD if conditional else heard.value >= UNHEARD:
            found.append(f"{row.label}: {heard} is the correlation with the logP asked for")
    return found


def data_of(sizes: Sizes) -> tuple[Task, Sequences, Sequences]:
    """The task, what is learnt from, and what is held out; both with their properties."""
    task = make_task("tokengym/Molecules-v0", representation=sizes.representation)
    assert task.data is not None
    some = task.data[: sizes.data]
    some = some.given(properties_of(some.texts))
    is_held_out_B = torch.arange(len(some)) % EVERY == 0
    return task, some[~is_held_out_B], some[is_held_out_B]


def properties_of(texts: list[str]) -> Tensor:
    """Crippen's logP and QED, (B, 2); NaN for what is no molecule."""
    rows = []
    for text in texts:
        read = None if canonical_smiles(text) is None else molecule(text)
        rows.append([math.nan] * 2 if read is None else [crippen_logp(read), qed(read)])
    return torch.tensor(rows, dtype=torch.float32)


def real(sizes: Sizes, kept: Path, seed: int) -> Figures:
    """The figures of what is held out, as the limit."""
    task, learn, held_out = data_of(sizes)
    return texts_figures(task, held_out, learn, kept)


def texts_figures(task: Task, found: Sequences, learn: Sequences, kept: Path) -> Figures:
    """Validity, uniqueness, novelty, FCD; ``kept`` holds the statistics of what was learnt from."""
    figures = figures_of_texts(found.texts, learn.texts, task.domain)
    return figures | further_figures("fcd", task, found, learn.texts, statistics=kept)


def written(
    sizes: Sizes, kept: Path, kind: str, conditional: bool, options: dict[str, Any], seed: int
) -> Figures:
    """Fit, write what is asked for, and measure it."""
    task, learn, held_out = data_of(sizes)
    learner = learner_of(sizes, task, kind, conditional, options, seed)
    with cpu_clock() as clock:
        learner.fit(learn if conditional else without(learn), max_epochs=sizes.epochs)
    assert held_out.condition_B is not None
    asked_BC = held_out.condition_B[torch.arange(sizes.written) % len(held_out)]
    condition = asked_BC if conditional else None  # whether it is heard or not
    found = learner.sample(len(asked_BC), condition=condition, seed=seed)
    figures = texts_figures(task, found, learn, kept) | heard(asked_BC, properties_of(found.texts))
    if isinstance(learner, LatentLearner):
        some = held_out[: sizes.rebuilt]
        figures |= codes(learner, some if conditional else without(some))
    return figures | {FIT_SECONDS: exactly(clock.seconds)}


def without(sequences: Sequences) -> Sequences:
    """The same without conditions."""
    return Sequences(sequences.tokens_BT, sequences.lengths_B, sequences.vocabulary)


def learner_of(
    sizes: Sizes, task: Task, kind: str, conditional: bool, options: dict[str, Any], seed: int
) -> Learner:
    """By its name."""
    common: dict[str, Any] = {
        "vocabulary": task.vocabulary,
        "policy_kwargs": {"hidden": sizes.hidden, "embedding": 64},
        "batch_size": 64,
        "learning_rate": 4e-3,
        "schedule": "cosine",
        "warmup_steps": 20,
        "max_length": task.max_length,
        "seed": seed,
        "device": "cpu",
    }
    number = len(PROPERTIES) if conditional else 0
    if kind == "TeacherForcing":
        return TeacherForcing("GRU", properties=number, **common)
    made = VRAE if kind == "VRAE" else AAE
    return made("GRU", properties=number, **LATENT_OPTIONS, **options, **common)


def heard(asked_BC: Tensor, found_BC: Tensor) -> Figures:
    """How what was written follows what was asked: correlation and mean distance, of the valid."""
    figures: Figures = {}
    valid_B = ~found_BC.isnan().any(dim=1)
    for place, name in enumerate(PROPERTIES):
        asked_N, found_N = (each[valid_B, place].double() for each in (asked_BC, found_BC))
        n, r = len(asked_N), float(torch.corrcoef(torch.stack([asked_N, found_N]))[0, 1])
        figures[f"{name}_correlation"] = Estimate(r, (1 - r * r) / math.sqrt(max(n - 3, 1)), n)
        figures[f"{name}_distance"] = mean_of((asked_N - found_N).abs().tolist())
    return figures


def codes(learner: LatentLearner, held_out: Sequences) -> Figures:
    """The share that comes back whole from its mean code, nats to tell the rest, a VRAE's KL."""
    again = learner.reconstruct(held_out)
    same = sum(a == b for a, b in zip(again.texts, held_out.texts, strict=True))
    known = learner.evaluate(held_out)
    told: Figures = {name: known[name] for name in ("reconstruction", "kl") if name in known}
    return {"rebuilt": share_of(same, len(held_out)), **told}
