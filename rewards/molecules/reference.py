"""A set of reference molecules, given as SMILES or as a file of them."""

from __future__ import annotations

import os

from ..reference import Reference, numbered_lines
from .base import canonical_smiles


def reference_texts(reference: Reference) -> list[str]:
    """The reference's SMILES, each spelling once, in their order; the first word of each line.

    Raises:
        ValueError: it is empty, or a text is no molecule, or the file cannot be read; the message
            names the line.
    """
    from_file = isinstance(reference, str | os.PathLike)
    where = f"the reference {reference}, line" if from_file else "the reference, number"
    texts = []
    for number, line in numbered_lines(reference):
        text = line.split()[0] if from_file else line.strip()
        if canonical_smiles(text) is None:
            raise ValueError(f"{where} {number}: {text[:80]!r} is no molecule; leave it out")
        texts.append(text)
    return list(dict.fromkeys(texts))
