"""A set of reference molecules, given as SMILES or as a file of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .base import canonical_smiles

# SMILES, or the path of a file with one at the start of each line, as .smi files are written.
Reference = Sequence[str] | str | os.PathLike[str]


def reference_texts(reference: Reference) -> list[str]:
    """The reference's SMILES, each spelling once, in their order.

    Raises:
        ValueError: it is empty, or a text is no molecule; the message names the line.
        OSError: the file cannot be read.
    """
    if isinstance(reference, str | os.PathLike):
        where = f"the reference {os.fspath(reference)}, line "
        lines = Path(reference).read_text(encoding="utf-8").splitlines()
        numbered = [(n, line.split()[0]) for n, line in enumerate(lines, start=1) if line.split()]
    else:
        where = "the reference, number "
        numbered = list(enumerate(reference, start=1))
    for number, text in numbered:
        if canonical_smiles(text) is None:
            raise ValueError(f"{where}{number}: {text[:80]!r} is no molecule; leave it out")
    if not numbered:
        raise ValueError(f"the reference {reference!r} is empty; expected at least one molecule")
    return list(dict.fromkeys(text for _, text in numbered))
