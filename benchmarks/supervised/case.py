"""What a case of this benchmark is: something fitted for each seed, and rows of a table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One measured figure."""

    what: str
    """Who was measured, and what of it."""
    value: float
    se: float | None = None
    """The standard error, over samples."""
    limit: str = ""
    """What it is to be held against."""
    passed: bool = True
    """Whether a floor that the case states was met."""
    cpu_seconds: float | None = None
    """Of the fit behind it."""


@dataclass(frozen=True)
class Case:
    """A case, by name: rows for a seed."""

    name: str
    run: Callable[[int], list[Row]]


@dataclass
class Clock:
    """CPU time of a block, and rows of it."""

    seconds: float = field(default=0.0)


@contextmanager
def cpu_clock() -> Iterator[Clock]:
    """Measure a block's CPU time."""
    clock, start = Clock(), time.process_time()
    yield clock
    clock.seconds = time.process_time() - start
