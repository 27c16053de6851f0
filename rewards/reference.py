"""A set of reference texts, given as such or as a file of them."""

from __future__ import annotations

import os
from collections.abc import Sequence

from .files import read_lines

# Texts, or the path of a file of them, which is read as a task reads its data.
Reference = Sequence[str] | str | os.PathLike[str]


def reference_lines(reference: Reference) -> list[str]:
    """The texts of a reference as they stand, those that are empty left out.

    Raises:
        ValueError: nothing is left, or the file cannot be read; the message names it.
    """
    return [text for _, text in numbered_lines(reference)]


def numbered_lines(reference: Reference) -> list[tuple[int, str]]:
    """As ``reference_lines``, each with the number of its line, from 1."""
    if isinstance(reference, str | os.PathLike):
        return [(line.number, line.text) for line in read_lines(os.fspath(reference))]
    numbered = [(n, text) for n, text in enumerate(reference, start=1) if text.strip()]
    if not numbered:
        raise ValueError(f"the reference {reference!r} is empty; expected at least one text")
    return numbered
