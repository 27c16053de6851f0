"""A run's folder: what is in it and where.

config.yaml               the configuration, every option written out
checkpoint.safetensors    the agent
summary.json              the table of figures, and why the run stopped early, if it did
scores.jsonl              a line a round: the training sequences and every component's values
samples.csv               what the trained agent writes
report.html               curves and samples, one file that opens from disk
tensorboard/              the curves
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..agents.checkpoint import CheckpointError, write_atomically


@dataclass(frozen=True)
class RunFolder:
    """The places in a run's folder."""

    path: Path

    @property
    def config(self) -> Path:
        """The configuration."""
        return self.path / "config.yaml"

    @property
    def checkpoint(self) -> Path:
        """The agent."""
        return self.path / "checkpoint.safetensors"

    @property
    def summary(self) -> Path:
        """The table of figures."""
        return self.path / "summary.json"

    @property
    def scores(self) -> Path:
        """The training sequences' scores, round by round."""
        return self.path / "scores.jsonl"

    @property
    def samples(self) -> Path:
        """What the trained agent writes."""
        return self.path / "samples.csv"

    @property
    def report(self) -> Path:
        """Curves and samples."""
        return self.path / "report.html"

    @property
    def tensorboard(self) -> Path:
        """The curves."""
        return self.path / "tensorboard"

    def read_summary(self) -> dict[str, Any]:
        """The rows of figures so far, empty when there are none."""
        if not self.summary.exists():
            return {}
        try:
            summary: dict[str, Any] = json.loads(self.summary.read_text(encoding="utf-8"))
        except ValueError as error:
            raise CheckpointError(
                f"{self.summary} is no JSON ({error}); delete it and resume"
            ) from error
        summary.pop("stopped", None)
        return summary

    def write_summary(self, rows: Mapping[str, Any], stopped: str | None = None) -> None:
        """Replace the summary: rows of figures, and why the run stopped early, if it did."""
        summary = {**rows, "stopped": stopped} if stopped else rows
        text = json.dumps(summary, indent=2, allow_nan=False)
        write_atomically(self.summary, (text + "\n").encode())


def write_csv(path: str | Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a table, whole or not at all; all is quoted, so that any text comes back as it was."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(header)
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode("utf-8"))
