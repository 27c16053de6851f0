"""What a scorer returned, as numbers; it may have been written by anyone, in any language."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Set
from typing import SupportsFloat, cast

import numpy as np
import torch
from torch import Tensor

LARGEST = torch.finfo(torch.float32).max
_NO_NUMBER = (str, bytes, bytearray, complex, np.complexfloating)  # though some become floats


def as_list(scores: object) -> list[object] | str:
    """What a scorer returned as a list; or what is wrong with it."""
    if isinstance(scores, np.ndarray | Tensor):
        scores = scores.tolist()
    if isinstance(scores, str | bytes | Mapping | Set) or not isinstance(scores, Iterable):
        return f"returned {scores!r} ({type(scores).__name__})"
    return list(scores)


def as_number(score: object) -> float | None:
    """A finite number that float32 can hold, as a float; None for anything else."""
    if isinstance(score, _NO_NUMBER) or getattr(score, "ndim", 0) > 0:
        return None
    try:
        value = float(cast(SupportsFloat, score))
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return None
    return value if math.isfinite(value) and abs(value) <= LARGEST else None
