"""Samples as a table: what was written, whether it is valid, and what it is worth.

    smiles,valid,reward,conv_discriminator,qed
    CCO,1,0.4012,0.3957,0.4068

The parts of the reward have their own names; one that is taken already is called ``reward/valid``.
A cell is empty where a part failed.
"""

from __future__ import annotations

import math
from pathlib import Path

from torch import Tensor

from ..envs import Sequences, Task
from ..rewards import Scores
from .run_folder import write_csv

Columns = dict[str, list[str]]


def write_samples(path: str | Path, task: Task, sequences: Sequences, scores: Scores) -> None:
    """Write the table as a CSV."""
    columns = sample_columns(task, sequences, scores)
    write_csv(path, list(columns), list(zip(*columns.values(), strict=True)))


def sample_columns(task: Task, sequences: Sequences, scores: Scores) -> Columns:
    """The table of sequences and their scores, by columns."""
    columns = text_column(sequences)
    if task.canonical is not None:
        valid = [task.canonical(text) is not None for text in sequences.texts]
        columns["valid"] = [str(int(each)) for each in valid]
    columns["reward"] = _cells(scores.values_B)
    for name, part_B in scores.parts.items():
        columns[f"reward/{name}" if name in columns else name] = _cells(part_B)
    return columns


def text_column(sequences: Sequences) -> Columns:
    """The texts, under what they are."""
    is_smiles = sequences.vocabulary.tokenization.startswith("smiles")
    return {"smiles" if is_smiles else "text": list(sequences.texts)}


def _cells(values_B: Tensor) -> list[str]:
    return ["" if math.isnan(value) else f"{value:.6g}" for value in values_B.tolist()]
