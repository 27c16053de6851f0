"""A set of reference texts, given as such or as a file of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

# Texts, or the path of a file with one in each line.
Reference = Sequence[str] | str | os.PathLike[str]


def reference_lines(reference: Reference) -> list[str]:
    """The texts of a reference, without white space around them, those that are empty left out.

    Raises:
        ValueError: nothing is left.
        OSError: the file cannot be read.
    """
    return [text for _, text in numbered_lines(reference)]


def numbered_lines(reference: Reference) -> list[tuple[int, str]]:
    """As ``reference_lines``, each with the number of its line, from 1."""
    lines: Sequence[str]
    if isinstance(reference, str | os.PathLike):
        lines = Path(reference).read_text(encoding="utf-8").splitlines()
    else:
        lines = reference
    numbered = [(n, line.strip()) for n, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise ValueError(f"the reference {reference!r} is empty; expected at least one text")
    return numbered
