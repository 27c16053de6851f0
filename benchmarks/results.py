"""What the long benchmarks share: cases that are kept as they finish, and sections of one page.

A case computes figures for one seed. They are kept as JSON under ``runs/benchmarks/<name>``, with
the settings that they belong to, and are not computed again while those are the same; so hours of
work can be done case by case (``--only``), stopped and gone on with. The table has what is there.

A figure over several seeds is their mean, with the standard error of that mean; of one seed it has
that seed's own standard error, over its samples.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokengym.train.metrics import Estimate
from tokengym.train.supervised import Learner, load_learner

from .reporting import mean_and_error

Figures = dict[str, Estimate]
Settings = Mapping[str, Any]
CPU_SECONDS = "cpu_seconds"
_TITLE = """# Results

What the long benchmarks measured, `python -m benchmarks.<name>`; each writes its own section, of
the cases that are finished. What is not here was not measured.
"""


@dataclass(frozen=True)
class Row:
    """A row of a table: who, and the figures of each seed that is finished."""

    label: str
    seeds: list[Figures]

    def __getitem__(self, name: str) -> Estimate | None:
        """A figure over the seeds that have it."""
        found = [figures[name] for figures in self.seeds if name in figures]
        return over_seeds(found) if found else None


def over_seeds(found: Sequence[Estimate]) -> Estimate:
    """The mean over seeds and its standard error; one seed has its own. NaN where one has none."""
    if len(found) == 1:
        return found[0]
    return Estimate(*mean_and_error([each.value for each in found]), len(found))


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """The options of every long benchmark."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--only", default="", help="compute only cases whose name holds this")
    parser.add_argument("--fresh", action="store_true", help="compute kept cases again")
    parser.add_argument("--quick", action="store_true", help="in seconds, for a test")
    parser.add_argument("--json", type=Path, help="also write every seed's figures here")
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--results", type=Path, help="the page; by default docs/results.md")
    return parser


class Study:
    """One benchmark's cases and its section of the page.

    Args:
        name: of the benchmark, ``python -m benchmarks.<name>``.
        options: what ``parser_of`` parsed.
    """

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        torch.set_num_threads(1)
        self.name, self.quick, self.seeds = name, bool(options.quick), int(options.seeds)
        self._only, self._fresh = str(options.only), bool(options.fresh)
        root = options.folder / "quick" if self.quick else options.folder
        self.folder, self._policies = root / name, root / "policies"
        self._json = options.json
        page = root / "results.md" if self.quick else Path("docs/results.md")
        self._page: Path = options.results or page
        for folder in (self.folder, self._policies):
            folder.mkdir(parents=True, exist_ok=True)
        self._kept: dict[str, dict[str, Any]] = {}  # the cases of the section
        self._fitting = 0.0  # CPU-seconds of learners, which belong to no case

    # --- cases --------------------------------------------------------------------------------

    def row(
        self,
        label: str,
        settings: Settings,
        compute: Callable[[int], Figures],
        *,
        wanted: bool | None = None,
    ) -> Row:
        """A case for every seed: what is kept, and what is computed now."""
        found = [
            self.case(label, seed, settings, partial(compute, seed), wanted=wanted)
            for seed in range(self.seeds)
        ]
        return Row(label, [figures for figures in found if figures is not None])

    def case(
        self,
        label: str,
        seed: int,
        settings: Settings,
        compute: Callable[[], Figures],
        *,
        wanted: bool | None = None,
    ) -> Figures | None:
        """The figures of a case.

        Args:
            label: of the case.
            seed: of the case.
            settings: all else that the figures depend on.
            compute: makes them.
            wanted: whether to compute them where they are not kept; by default --only says.

        Returns:
            None where they are neither kept nor wanted.
        """
        path, name = self.folder / f"{_file_name(label)}-{seed}.json", f"{label}-{seed}"
        if wanted is None:
            wanted = self._only.lower() in label.lower()
        anew = self._fresh and wanted and name not in self._kept
        kept = None if anew else _read(path, settings)
        if kept is None:
            if not wanted:
                return None
            print(f"{self.name}: {label}, seed {seed}", file=sys.stderr, flush=True)
            kept = self._computed(label, seed, settings, compute)
            _write(path, json.dumps(kept, indent=1) + "\n")
        self._kept[name] = kept
        return {name: _estimate(figure) for name, figure in kept["figures"].items()}

    def learner(
        self, label: str, seed: int, settings: Settings, fit: Callable[[], Learner]
    ) -> Learner:
        """A fitted learner, read anew from its checkpoint; fitted when that is not there."""
        path = self._policies / f"{_file_name(label)}-{seed}.safetensors"
        stamp = path.with_suffix(".json")
        if not path.exists() or _read(stamp, settings) is None:
            print(f"{self.name}: {label}, seed {seed}", file=sys.stderr, flush=True)

            def save() -> Figures:
                fit().save(path)
                return {}

            made = self._computed(label, seed, settings, save)
            self._fitting += made["figures"][CPU_SECONDS]["value"]
            _write(stamp, json.dumps(made, indent=1) + "\n")
        return load_learner(path, device="cpu")

    def _computed(
        self, label: str, seed: int, settings: Settings, compute: Callable[[], Figures]
    ) -> dict[str, Any]:
        """What is kept of a case; its CPU time is that of one thread, without learners' fits."""
        start, fitting = time.process_time(), self._fitting
        figures = compute()
        seconds = time.process_time() - start - (self._fitting - fitting)
        figures = {**figures, CPU_SECONDS: Estimate(seconds, math.nan, 1)}
        return {
            "case": label,
            "seed": seed,
            "settings": _plain(settings),
            "figures": {name: _plain(asdict(figure)) for name, figure in figures.items()},
            "machine": machine(),
        }

    # --- the page -----------------------------------------------------------------------------

    def publish(self, title: str, story: str, parts: Sequence[str]) -> None:
        """Write this benchmark's section, in place of the one that is there, and print it.

        One of more cases than this run has, which were kept elsewhere say, is left as it is.

        Args:
            title: the section's heading.
            story: what was measured, a paragraph.
            parts: tables and verdicts.
        """
        seconds = sum(each["figures"][CPU_SECONDS]["value"] for each in self._kept.values())
        machines = sorted({each["machine"] for each in self._kept.values()})
        command = f"python -m benchmarks.{self.name}{' --quick' if self.quick else ''}"
        how = (
            f"`{command}`, {len(self._kept)} cases of seeds 0 to {self.seeds - 1}, {seconds:,.0f} "
            f"CPU-seconds beside policies that rows share; {'; '.join(machines)}. ± is the "
            "standard error over seeds, of a single seed that over its samples."
        )
        body = "\n\n".join([story, *parts, how])
        before = self._page.read_text(encoding="utf-8") if self._page.exists() else _TITLE
        there = cases_of(before, title)
        print(f"{body}\n")
        if there > len(self._kept):
            print(
                f"{self._page} is left as it is: its section has {there} cases, this run "
                f"{len(self._kept)}; delete the section there to have this one"
            )
        else:
            _write(self._page, with_section(before, title, body))
            print(self._page)
        if self._json is not None:
            _write(self._json, json.dumps(list(self._kept.values()), indent=1) + "\n")


def with_section(page: str, title: str, body: str) -> str:
    """The page with a section of this title, in its old place or at the end."""
    head, named = _sections(page)
    named[title] = f"{title}\n\n{body}"
    return "\n\n## ".join([head, *named.values()]) + "\n"


def cases_of(page: str, title: str) -> int:
    """How many cases a page's section says that it has; 0 where there is none."""
    said = re.search(r"(\d+) cases of seeds", _sections(page)[1].get(title, ""))
    return int(said[1]) if said else 0


def _sections(page: str) -> tuple[str, dict[str, str]]:
    """What is before the first section, and the sections by title."""
    head, *sections = page.split("\n## ")
    named = {section.partition("\n")[0]: section.rstrip("\n") for section in sections}
    return head.rstrip("\n"), named


def table(columns: Mapping[str, str], rows: Sequence[Row]) -> str:
    """A table in Markdown: a column for each figure, and how many seeds a row has.

    Args:
        columns: the figures' names and their headings.
        rows: those without a finished seed are left out.
    """
    cells = [
        [row.label, *(shown(row[name]) for name in columns), str(len(row.seeds))]
        for row in rows
        if row.seeds
    ]
    return markdown(["", *columns.values(), "seeds"], cells)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def shown(figure: Estimate | None) -> str:
    """A figure and its standard error, to the digits that the error allows, at least three."""
    if figure is None or math.isnan(figure.value):
        return "-"
    places = 0 if abs(figure.value) >= 100 else 3
    error = "" if math.isnan(figure.se) else f" ± {figure.se:.{places}f}"
    return f"{figure.value:,.{places}f}{error}"


def exactly(value: float, n: int = 1) -> Estimate:
    """A figure without an error of its own."""
    return Estimate(value, math.nan, n)


def machine() -> str:
    """The kind of processor, and of torch."""
    lines = Path("/proc/cpuinfo")
    names = lines.read_text(encoding="utf-8").splitlines() if lines.exists() else []
    model = next((line.split(":")[1].strip() for line in names if "model name" in line), "")
    return f"one thread of {model or platform.machine()}, torch {torch.__version__}"


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back; no number (NaN) is None."""
    known = {key: None if value != value else value for key, value in settings.items()}
    plain: dict[str, Any] = json.loads(json.dumps(known))
    return plain


def _estimate(figure: Mapping[str, Any]) -> Estimate:
    value, se = (math.nan if figure[key] is None else figure[key] for key in ("value", "se"))
    return Estimate(value, se, figure["n"])


def _read(path: Path, settings: Settings) -> dict[str, Any] | None:
    """What is kept in a file; None where there is none, or it has other settings."""
    if not path.exists():
        return None
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return kept if kept["settings"] == _plain(settings) else None


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    half = path.with_name(f"{path.name}.{os.getpid()}")
    half.write_text(text, encoding="utf-8")
    half.replace(path)


def _file_name(label: str) -> str:
    return "".join(c if c.isalnum() or c in ".-" else "_" for c in label)
