"""The names of the parts of a reward: ``qed``, ``qed#2`` where a name repeats, ``qed.raw``.

Every component's values are kept beside the total under its name. A transform puts what it made
under the name of what it was given, and what it was given under that name with ``.raw``: of
``sigmoid(qed, low=0.2, high=0.8)`` there are ``qed``, the sigmoid's, and ``qed.raw``. A transform
of a transform moves values along: ``qed``, ``qed.raw``, ``qed.raw.raw``.
"""

# Shapes: B sequences
from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from torch import Tensor

RAW = ".raw"
_KEY = re.compile(r"(.*?)(?:#([0-9]+))?((?:\.raw)*)", re.DOTALL)


def joined_parts(found: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """All parts under one roof, (B,) each; names that repeat are numbered, raw values with them."""
    joined: dict[str, Tensor] = {}
    for parts in found:
        taken = Counter(name for name, _, raw in map(_split, joined) if not raw)
        for key, part_B in parts.items():
            name, number, raw = _split(key)
            number += taken[name]
            joined[(name if number == 1 else f"{name}#{number}") + raw] = part_B
    return joined


def transformed_parts(
    name: str, values_B: Tensor, raw_B: Tensor, parts: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The parts of a transform of what is called ``name`` and had ``parts``."""
    own = {name + RAW: raw_B}
    for key, part_B in parts.items():
        mine = key.startswith(name) and not key.removeprefix(name).replace(RAW, "")
        own[key + RAW if mine else key] = part_B
    return {name: values_B, **own}


def function_name(kind: type) -> str:
    """A class as expressions call it: ``GeometricMean`` is ``geometric_mean``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()


def _split(key: str) -> tuple[str, int, str]:
    """Name, number and the rest: ``qed#2.raw`` is ("qed", 2, ".raw")."""
    found = _KEY.fullmatch(key)
    assert found is not None
    return found[1], int(found[2] or 1), found[3]
