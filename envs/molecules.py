"""Molecules as SMILES: the task, its real data, and how a molecule is drawn."""

from __future__ import annotations

import io
import os
import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from ..rewards import RewardSpec, make_reward
from ..rewards.molecules import canonical_smiles, molecule
from .constraints import Constraint
from .data import DataError, keep_valid, read_lines
from .sequences import Sequences
from .task import Task
from .vocabulary import Vocabulary

from rdkit import RDConfig  # isort: skip - after rewards.molecules, which says how to install it
from rdkit.Chem.Draw import rdMolDraw2D  # isort: skip

# Files that RDKit's wheel carries, under RDConfig.RDDataDir.
BUILT_IN = {"wehi": "Pains/test_data/wehi_mols.csv", "nci": "NCI/first_5K.smi"}
_SYMBOLS = frozenset("ABCDEFGHIKLMNOPRSTUVWXYZabcdefghiklmnoprstuy0123456789@+-[]()=#$:/\\.%*~")


def molecules(
    *,
    data: str = "wehi",
    reward: RewardSpec = "qed",
    constraint: Constraint | None = None,
    max_length: int | None = None,
    vocabulary: Vocabulary | None = None,
    column: str | None = None,
    skip_invalid: bool = False,
) -> Task:
    """The task ``tokengym/Molecules-v0``: write a molecule as SMILES.

    Args:
        data: ``"wehi"`` (10,000 drug-like molecules), ``"nci"`` (4,999), both from RDKit's wheel,
            or a file (``.smi``, ``.csv``, ``.txt``, ``.gz`` of these).
        reward: a Reward, a name or expression, or a function of a batch of texts.
        constraint: which tokens may come next, such as ``SMILESSyntax()``.
        max_length: T; by default the longest molecule of the data and its end token.
        vocabulary: which tokens can be written; by default those of the data.
        column: the column of a ``.csv``.
        skip_invalid: leave out, and count in a warning, lines that are no molecule, hold other
            tokens than the vocabulary, or are longer than ``max_length``.

    Raises:
        DataError: the file cannot be used; the message names the line.
    """
    texts = _molecule_texts(data, column, skip_invalid)
    if vocabulary is None:
        vocabulary = _vocabulary_of(texts)
    sequences = _encode(texts, data, vocabulary, max_length, skip_invalid)
    return Task(
        name="Molecules",
        vocabulary=vocabulary,
        max_length=sequences.tokens_BT.shape[1],
        reward=make_reward(reward),
        constraint=constraint,
        load_data=lambda: sequences,
        domain="molecules",
        canonical=canonical_smiles,
        draw=draw_molecule,
    )


def load_molecules(
    data: str, column: str | None = None, *, skip_invalid: bool = False
) -> tuple[list[str], int]:
    """The SMILES of a built-in set or a file, and how many lines were left out."""
    path = os.path.join(RDConfig.RDDataDir, BUILT_IN[data]) if data in BUILT_IN else data
    lines = read_lines(path, column)
    if data in BUILT_IN:
        return [line.text for line in lines], 0  # all of them are molecules: a test says so
    return keep_valid(lines, path, _fault, skip=skip_invalid)


def draw_molecule(smiles: str, size: int = 300) -> np.ndarray:
    """A picture, uint8 (size, size, 3); blank for what is no molecule."""
    found = molecule(smiles)
    if found is None:
        return np.full((size, size, 3), 255, np.uint8)
    canvas = rdMolDraw2D.MolDraw2DCairo(size, size)
    rdMolDraw2D.PrepareAndDrawMolecule(canvas, found)
    canvas.FinishDrawing()
    picture = Image.open(io.BytesIO(canvas.GetDrawingText())).convert("RGB")
    return np.array(picture, np.uint8)


def draw_molecule_svg(smiles: str, width: int = 220, height: int = 160) -> str:
    """A drawing as an ``<svg>`` element; an empty one for what is no molecule."""
    found = molecule(smiles)
    if found is None:
        return f'<svg width="{width}" height="{height}"></svg>'
    canvas = rdMolDraw2D.MolDraw2DSVG(width, height)
    rdMolDraw2D.PrepareAndDrawMolecule(canvas, found)
    canvas.FinishDrawing()
    drawing = str(canvas.GetDrawingText())
    return drawing[drawing.index("<svg") :]


def _fault(smiles: str) -> str | None:
    for position, symbol in enumerate(smiles, start=1):
        if symbol not in _SYMBOLS:
            return f"character {position}, {symbol!r}, is no symbol of SMILES, in {smiles[:80]!r}"
    if canonical_smiles(smiles) is None:
        return f"RDKit accepts no molecule {smiles[:80]!r}"
    return None


@lru_cache(maxsize=4)
def _cached_texts(
    data: str, column: str | None, skip_invalid: bool, stamp: tuple[int, int]
) -> tuple[str, ...]:
    texts, skipped = load_molecules(data, column, skip_invalid=skip_invalid)
    if skipped:
        warnings.warn(f"{data}: left out {skipped} lines that are no molecule", stacklevel=4)
    return tuple(texts)


def _molecule_texts(data: str, column: str | None, skip_invalid: bool) -> tuple[str, ...]:
    """Read once a process, and again when the file changes."""
    stamp = (0, 0)
    if data not in BUILT_IN and Path(data).exists():
        stat = os.stat(data)
        stamp = (stat.st_mtime_ns, stat.st_size)
    return _cached_texts(data, column, skip_invalid, stamp)


@lru_cache(maxsize=4)
def _vocabulary_of(texts: tuple[str, ...]) -> Vocabulary:
    return Vocabulary.from_corpus(texts, "smiles")


@lru_cache(maxsize=4)
def _encode(
    texts: tuple[str, ...],
    data: str,
    vocabulary: Vocabulary,
    max_length: int | None,
    skip_invalid: bool,
) -> Sequences:
    kept = list(texts)
    if skip_invalid:
        kept = [text for text in texts if vocabulary.first_unknown(text) is None]
    try:
        sequences = vocabulary.encode(kept)
    except ValueError as error:
        raise DataError(f"{data}: {error}") from error
    if max_length is None:
        return sequences
    fits = sequences.lengths_B <= max_length
    if not fits.all():
        worst = int(sequences.lengths_B.argmax())
        if not skip_invalid or not fits.any():
            raise DataError(
                f"{data}: {kept[worst]!r} has {int(sequences.lengths_B[worst])} tokens with its "
                f"end and max_length is {max_length}; give a larger max_length, or leave such "
                "lines out with --skip-invalid (skip_invalid=True)"
            )
        warnings.warn(
            f"{data}: left out {int((~fits).sum())} molecules of more than {max_length} tokens",
            stacklevel=4,
        )
        sequences = sequences[fits.nonzero()[:, 0]]
    return Sequences(sequences.tokens_BT, sequences.lengths_B, vocabulary).padded(max_length)
