"""A run's folder: what is in it and where.

config.yaml               the configuration, every option written out
checkpoint.safetensors    the agent, and the rows of figures that are made
checkpoint.previous.safetensors  the one before, should the newest be damaged
summary.json              the table of figures, and why the run stopped early, if it did
scores.jsonl              a line a round: the training sequences and every component's values
samples.csv               what the trained agent writes
report.html               curves and samples, one file that opens from disk
tensorboard/              the curves
ratings.sqlite            what people rated, if the reward asks them
diverged.safetensors      the batch at which learning diverged, if it did
"""

from __future__ import annotations

import csv
import io
import json
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

from ..agents.checkpoint import CheckpointError, load_checkpoint, write_atomically

Rows = dict[str, dict[str, float | None]]


class Saveable(Protocol):
    """An agent or a learner."""

    def save(self, path: Path) -> None:
        """Write a checkpoint, at once or not at all."""


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
    def previous(self) -> Path:
        """The agent, one checkpoint earlier."""
        return self.checkpoint.with_stem("checkpoint.previous")

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
    def diverged(self) -> Path:
        """The batch at which learning diverged."""
        return self.path / "diverged.safetensors"

    @property
    def tensorboard(self) -> Path:
        """The curves."""
        return self.path / "tensorboard"

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is something to go on from, or to be damaged."""
        return self.checkpoint.exists() or self.previous.exists()

    @property
    def has_not_begun(self) -> bool:
        """Whether a run was stopped here between its configuration and its first checkpoint."""
        return self.config.exists() and not self.has_checkpoint and not self.scores.exists()

    def beginning(self, resume: bool) -> Path | None:
        """The checkpoint to go on from; None begins anew.

        Raises:
            RunError: there is a run already and ``resume`` was not asked for, or the reverse; or
                something else is here.
        """
        if not resume:
            if self.has_checkpoint:
                raise RunError(
                    f"{self.path} already holds a run; go on with --resume, or name another --run"
                )
            self.refuse_foreign()
        elif self.has_checkpoint:
            self.refuse_links()
            return self.newest_checkpoint()
        elif not self.has_not_begun:
            raise RunError(
                f"there is no checkpoint in {self.path} to resume from; start without --resume"
            )
        return None

    def save(self, saved: Saveable) -> None:
        """Write a checkpoint; the one before stays beside it.

        Raises:
            OSError: it cannot be written; the checkpoints are as they were.
        """
        fresh = self.checkpoint.with_stem("checkpoint.next")
        saved.save(fresh)
        if self.checkpoint.exists():
            os.replace(self.checkpoint, self.previous)
        os.replace(fresh, self.checkpoint)

    def newest_checkpoint(self) -> Path:
        """The newest checkpoint that is whole; a damaged one is passed over with a warning.

        Raises:
            RunError: there is none.
            CheckpointError: none is whole.
        """
        damage: list[CheckpointError] = []
        for path in (self.checkpoint, self.previous):
            if not path.exists():
                continue
            try:
                load_checkpoint(path)
            except CheckpointError as error:
                damage.append(error)
                continue
            if damage:
                warnings.warn(f"{damage[0]}; going on from the one before, {path}", stacklevel=2)
            return path
        if damage:
            raise damage[0]
        raise RunError(f"there is no checkpoint in {self.path}")

    def tidy(self, newest: Path) -> None:
        """Put the newest whole checkpoint in its place, and clear away what a killed save left.

        A damaged one that was newer stays, as checkpoint.damaged.safetensors.
        """
        if newest == self.previous:
            if self.checkpoint.exists():
                os.replace(self.checkpoint, self.checkpoint.with_stem("checkpoint.damaged"))
            os.replace(self.previous, self.checkpoint)
        replaced = ("checkpoint.next.safetensors", "config.yaml", "summary.json", "samples.csv")
        for name in (*replaced, self.report.name):
            for left in self.path.glob(f".{name}.*"):
                left.unlink()

    def refuse_links(self) -> None:
        """Check that what is written in place lies in the folder, wherever the folder comes from.

        Raises:
            RunError: a file or folder of it is a link that leads out of it.
        """
        for path in (self.scores, self.tensorboard):
            if not path.resolve().is_relative_to(self.path.resolve()):
                raise RunError(
                    f"{path} is a link to {path.resolve()}, outside of the run's folder, which a "
                    "run would write to; put the file itself in its place, or remove the link"
                )

    def refuse_foreign(self) -> None:
        """Check that a run can begin here without writing over anything.

        Raises:
            RunError: there is no checkpoint, but files with the names of a run's.
        """
        ours = (self.config, self.summary, self.scores, self.samples, self.report, self.tensorboard)
        if found := [path.name for path in ours if path.exists()]:
            raise RunError(
                f"{self.path} is no folder of a run, it has no {self.checkpoint.name}, but it "
                f"holds {', '.join(found)}, which a run would write over; name another --run, or "
                "--resume a run that was stopped before its first checkpoint"
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

    def read_summary(self) -> Rows:
        """The rows of figures so far, empty when there are none.

        Raises:
            RunError: the file holds something else.
        """
        if not self.summary.exists():
            return {}
        try:
            summary = json.loads(self.summary.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunError(f"{self.summary} is no JSON ({error}); {_MEND}") from error
        if isinstance(summary, dict):
            summary.pop("stopped", None)
        return checked_rows(summary, self.summary)

    def write_summary(self, rows: Mapping[str, Any], stopped: str | None = None) -> None:
        """Replace the summary: rows of figures, and why the run stopped early, if it did."""
        summary = {**rows, "stopped": stopped} if stopped else rows
        text = json.dumps(summary, indent=2, allow_nan=False)
        write_atomically(self.summary, (text + "\n").encode())


_MEND = "resume the run, and it is written anew from the checkpoint"


def checked_rows(rows: object, path: Path) -> Rows:
    """Rows of figures, by their names.

    Raises:
        RunError: it is something else; the message names the file.
    """
    if not isinstance(rows, dict) or not all(
        isinstance(row, dict) and all(v is None or isinstance(v, int | float) for v in row.values())
        for row in rows.values()
    ):
        raise RunError(f"{path} holds no table of figures; {_MEND}")
    return rows


def check_place(output: Path | None) -> None:
    """Refuse, before the work, a file that would not be found or taken for something else.

    Raises:
        RunError: there is no such folder, which may be misspelt; or its name is not that of a CSV.
    """
    if output is not None and output.suffix.lower() != ".csv":
        raise RunError(f"a table is written as a CSV; call it {output.with_suffix('.csv')}")
    if output is not None and not output.parent.is_dir():
        raise RunError(f"there is no folder {output.parent} for {output.name}; make it first")


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
