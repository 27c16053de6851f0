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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..agents.checkpoint import write_atomically


class RunError(ValueError):
    """A run cannot start, go on or be read as it is asked to; the message says what to do."""


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

    def refuse_foreign(self) -> None:
        """Check that a run can begin here without writing over anything.

        Raises:
            RunError: there is no checkpoint, but files with the names of a run's.
        """
        ours = (self.config, self.summary, self.scores, self.samples, self.report, self.tensorboard)
        if found := [path.name for path in ours if path.exists()]:
            raise RunError(
                f"{self.path} is no folder of a run, it has no {self.checkpoint.name}, but it "
                f"holds {', '.join(found)}, which a run would write over; name another --run"
            )

    def read_config(self) -> dict[str, Any]:
        """The configuration of the run.

        Raises:
            RunError: there is none, or it is no configuration.
        """
        if not self.config.exists():
            raise RunError(f"{self.path} is no folder of a run: it has no {self.config.name}")
        try:
            config = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise RunError(f"{self.config} is no YAML: {error}") from error
        if not isinstance(config, dict) or not isinstance(config.get("task"), str):
            raise RunError(f"{self.config} is no configuration of a run: it names no task")
        return config

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Replace the configuration."""
        text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        write_atomically(self.config, text.encode())

    def read_summary(self) -> dict[str, dict[str, float | None]]:
        """The rows of figures so far, empty when there are none.

        Raises:
            RunError: the file holds something else.
        """
        if not self.summary.exists():
            return {}
        try:
            summary: dict[str, Any] = json.loads(self.summary.read_text(encoding="utf-8"))
            summary.pop("stopped", None)
            if not all(isinstance(row, dict) for row in summary.values()):
                raise TypeError("a row is no object")
        except (ValueError, TypeError, AttributeError) as error:
            raise RunError(
                f"{self.summary} is no table of figures ({error}); delete it and resume: its rows "
                "are made anew, but for the pretrained agent's once learning has begun"
            ) from error
        return summary

    def write_summary(self, rows: Mapping[str, Any], stopped: str | None = None) -> None:
        """Replace the summary: rows of figures, and why the run stopped early, if it did."""
        summary = {**rows, "stopped": stopped} if stopped else rows
        text = json.dumps(summary, indent=2, allow_nan=False)
        write_atomically(self.summary, (text + "\n").encode())


def write_csv(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table, whole or not at all."""
    write_atomically(path, csv_text(header, rows).encode("utf-8"))


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as a CSV; all is quoted, so that any text comes back as it was."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
