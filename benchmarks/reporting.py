"""What tables of benchmarks share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean, stdev

from rich import box
from rich.table import Table


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its standard error, NaN of one value; both NaN where a value is."""
    if any(math.isnan(value) for value in values):
        return math.nan, math.nan
    error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else math.nan
    return mean(values), error


def new_table(title: str, columns: Sequence[str]) -> Table:
    """Text to the left, numbers to the right."""
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < 3 else "right")
    return table


def verdict(floor: float | None, passed: bool) -> str:
    """The floor, and whether it holds."""
    stated = "" if floor is None else f"{floor:g} "
    return stated + ("" if floor is None and passed else "met" if passed else "missed")
