"""Checks of what a reward is made with: each error has the name, the value, what was expected."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeGuard, cast

from .parts import RAW


def check_whole(least: int, **numbers: object) -> None:
    """Refuse what is no whole number, or a smaller one.

    Raises:
        ValueError: the message has its name and value.
    """
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
            raise ValueError(f"{name} is {value!r}; expected a whole number, at least {least}")


def check_seconds(**numbers: object) -> None:
    """Refuse what is no time-out: more than 0 seconds, and not for ever."""
    for name, value in numbers.items():
        if not _is_number(value, 0.0, math.inf) or value in (0.0, math.inf):
            raise ValueError(f"{name} is {value!r}; expected seconds, more than 0")


def check_share(**numbers: object) -> None:
    """Refuse what is not in [0, 1]."""
    for name, value in numbers.items():
        if not _is_number(value, 0.0, 1.0):
            raise ValueError(f"{name} is {value!r}; expected a share from 0 to 1")


def check_choice(choices: Sequence[str], **values: object) -> None:
    """Refuse what is none of the choices."""
    for name, value in values.items():
        if value not in choices:
            said = " or ".join(map(repr, choices))
            raise ValueError(f"{name} is {value!r}; expected {said}")


def check_numbers(**lists: object) -> None:
    """Refuse what is no list of numbers."""
    for name, values in lists.items():
        listed = isinstance(values, Iterable) and not isinstance(values, str)
        if not listed or not all(isinstance(each, Real) for each in cast("Any", values)):
            raise ValueError(f"{name} is {values!r}; expected a list of numbers, such as [0.5]")


def check_name(name: object) -> None:
    """Refuse what nothing can be logged under, or what numbers a name or marks raw values."""
    if not isinstance(name, str) or not name or "#" in name or name.endswith(RAW):
        raise ValueError(
            f"name is {name!r}; expected a text that is not empty, without '#', and not ending in "
            f"{RAW!r}: values are logged under such names where one stands twice or is transformed"
        )


def checked_range(ends: object) -> tuple[float, float]:
    """A range as a pair: the lowest value, and one that is no lower."""
    match ends:
        case [low, high] if _is_number(low) and _is_number(high) and low <= high:
            return float(low), float(high)
    raise ValueError(f"range is {ends!r}; expected (lowest, highest)")


def checked_memo(memo: object) -> bool | Path:
    """Whether to keep scores in memory, or the file to keep them in; ``~`` is the home folder."""
    if isinstance(memo, bool):
        return memo
    if isinstance(memo, str | os.PathLike) and os.fspath(memo):
        return Path(memo).expanduser()
    raise ValueError(f"memo is {memo!r}; expected True, False, or the name of a file")


def _is_number(value: object, low: float = -math.inf, high: float = math.inf) -> TypeGuard[float]:
    """Whether it is a number within these bounds; NaN is not, and True is none."""
    return isinstance(value, Real) and not isinstance(value, bool) and low <= float(value) <= high
