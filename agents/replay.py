"""The best sequences that an agent has written, or was given, to be learnt from again.

A sequence stands once, under the task's canonical form where it has one, with the score that it got
last. Experience from a file goes the same way: its sequences stand in the memory before the first
round, and stay until better ones are found. What was written under a condition keeps it: what is
learnt again is its probability given that.
"""

# Shapes: B sequences, M sequences in the memory, T steps, L tokens of all of them together,
#         C numbers of a condition
from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..envs import Sequences
from ..rewards.state import State

_SCORES = ("score", "reward", "value")  # names of a column, as people and runs write it


@dataclass(frozen=True, eq=False)
class Remembered:
    """A sequence in the memory."""

    value: float
    """Its score."""
    tokens_T: Tensor
    """Without padding."""
    condition_C: Tensor | None = None
    """What it was written under; None where there was nothing."""


class Replay:
    """A memory of the best sequences.

    Args:
        size: M, how many there is room for.

    Attributes:
        expected: the mean score of the sequences that were written last; None before.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.expected: float | None = None
        self._rows: dict[str, Remembered] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, keys: Sequence[str], sequences: Sequences, values_B: Tensor) -> None:
        """Take in what is better than what is there; NaN, a failure, never is.

        Args:
            keys: under which each sequence stands.
            sequences: B of them, with their conditions where they have any.
            values_B: their scores.
        """
        lengths, tokens_BT = sequences.lengths_B.tolist(), sequences.tokens_BT.cpu()
        condition_B = None if sequences.condition_B is None else sequences.condition_B.cpu()
        for b, (key, value) in enumerate(zip(keys, values_B.tolist(), strict=True)):
            if not math.isnan(value):
                condition = None if condition_B is None else condition_B[b]
                self._rows[key] = Remembered(value, tokens_BT[b, : lengths[b]], condition)
        best = sorted(self._rows.items(), key=lambda row: -row[1].value)  # stable: the older first
        self._rows = dict(best[: self.size])

    def keep(self, fits: Callable[[Remembered], bool]) -> None:
        """Forget all rows but those that fit."""
        self._rows = {key: row for key, row in self._rows.items() if fits(row)}

    def expect(self, values_B: Tensor) -> None:
        """Take the mean of what was written last; of equal values it is exactly that value."""
        known_B = values_B[~values_B.isnan()].double()
        if len(known_B):
            self.expected = float(known_B[0] + (known_B - known_B[0]).mean())

    def draw(self, n: int, seed: int) -> list[Remembered]:
        """``n`` different sequences, all if there are fewer."""
        generator = torch.Generator().manual_seed(seed)
        rows = list(self._rows.values())
        chosen = torch.randperm(len(rows), generator=generator)[:n].tolist()
        return [rows[i] for i in chosen]

    def state(self) -> State:
        """For a checkpoint."""
        kept: dict[str, Any] = {"keys": list(self._rows), "expected": self.expected}
        rows = list(self._rows.values())
        if not rows:
            return {}, kept
        kept["lengths"] = [len(row.tokens_T) for row in rows]
        tensors = {
            "tokens_L": torch.cat([row.tokens_T for row in rows]),
            "values_M": torch.tensor([row.value for row in rows]).double(),
        }
        conditions = [row.condition_C for row in rows if row.condition_C is not None]
        return tensors | ({"condition_MC": torch.stack(conditions)} if conditions else {}), kept

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """The inverse of ``state``."""
        self.expected = None if state["expected"] is None else float(state["expected"])
        self._rows = {}
        if state["keys"]:
            tokens = tensors["tokens_L"].split([int(length) for length in state["lengths"]])
            conditions = tensors.get("condition_MC", [None] * len(tokens))
            columns = zip(tensors["values_M"].tolist(), tokens, conditions, strict=True)
            rows = (Remembered(*row) for row in columns)
            self._rows = dict(zip(map(str, state["keys"]), rows, strict=True))


def read_experience(path: str | Path) -> tuple[list[str], list[float]]:
    """Texts and scores from a CSV file with a header, as ``tokengym sample --output`` writes it.

    The column of scores is called score, reward or value; the texts' is called text, or is the
    first. Rows without a score are left out.

    Raises:
        ValueError: there is no such column, or a score is no finite number.
        OSError: the file cannot be read.
    """
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        names = list(reader.fieldnames or [])
        score = next((name for name in _SCORES if name in names), None)
        if score is None or len(names) < 2:
            raise ValueError(
                f"{path} has the columns {names}; expected texts and a column called "
                f"{' or '.join(_SCORES)}"
            )
        text = "text" if "text" in names else next(name for name in names if name != score)
        rows = [(row[text], row[score]) for row in reader if row[score]]
    return [text for text, _ in rows], [_number(path, value) for _, value in rows]


def _number(path: str | Path, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{path}: the score {text!r} is no finite number")
    return value
