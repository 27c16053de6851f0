"""What this benchmark is made of: cases, which are fitted seed by seed, and tables of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tokengym.train.metrics import Estimate

from ..results import Figures, Row, Settings

FIT_SECONDS = "fit_seconds"


@dataclass(frozen=True)
class Case:
    """Something that is fitted and measured.

    Args:
        label: within its table.
        figures: makes them, by seed.
        settings: all else that they depend on.
        seeds: how many there are at most.
    """

    label: str
    figures: Callable[[int], Figures]
    settings: Settings = field(default_factory=dict)
    seeds: int = 1_000


@dataclass(frozen=True)
class Part:
    """A table.

    Args:
        name: its heading, and the beginning of its cases' names.
        story: what was done, and what to hold the figures against.
        columns: the figures' names and their headings.
        cases: of its rows.
        rows_within: where a case has several rows, their names; its figures are then named
            ``"<row>: <figure>"``.
        missed: the floors that were missed, in words.
    """

    name: str
    story: str
    columns: dict[str, str]
    cases: Sequence[Case]
    rows_within: Sequence[str] = ()
    missed: Callable[[list[Row]], list[str]] = lambda rows: []

    def rows(self, of_cases: list[Row]) -> list[Row]:
        """Those of the table."""
        if not self.rows_within:
            return of_cases
        return [
            Row(f"{case.label}{', ' if case.label else ''}{name}", part)
            for case in of_cases
            for name in self.rows_within
            if any(part := [within(figures, name) for figures in case.seeds])
        ]


def within(figures: Figures, row: str) -> Figures:
    """The figures of one row of several."""
    start = f"{row}: "
    return {
        name.removeprefix(start): each for name, each in figures.items() if name.startswith(start)
    }


def named(row: str, figures: Figures) -> Figures:
    """Figures as those of one row of several."""
    return {f"{row}: {name}": each for name, each in figures.items()}


def scaled(figure: Estimate, by: float) -> Estimate:
    """In other units."""
    return Estimate(figure.value * by, figure.se * by, figure.n)


def beyond(rows: Sequence[Row], figure: str) -> list[str]:
    """The fits that are below 0 by more than three standard errors, where 0 is the limit."""
    return [
        f"{row.label}, seed {seed}: {figure} is {figures[figure]}, below the limit"
        for row in rows
        for seed, figures in enumerate(row.seeds)
        if figure in figures and figures[figure].value < -3 * figures[figure].se
    ]


@dataclass
class Clock:
    """CPU time of a block."""

    seconds: float = 0.0


@contextmanager
def cpu_clock() -> Iterator[Clock]:
    """Measure a block's CPU time."""
    clock, start = Clock(), time.process_time()
    yield clock
    clock.seconds = time.process_time() - start
