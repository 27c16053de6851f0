"""Molecules as SMILES or SELFIES: the task, its real data, and how a molecule is drawn."""

from __future__ import annotations

import io
import warnings
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image

from ..rewards import RewardSpec, make_reward
from ..rewards.files import DataError, ensure_exists, file_stamp, keep_valid, read_lines
from ..rewards.molecules import canonical_smiles, molecule
from .drawing import GREY, draw_text
from .encoding import encode_data, vocabulary_of
from .selfies_notation import to_selfies
from .task import Task
from .tokenization import Tokenization
from .vocabulary import Vocabulary

from rdkit import RDConfig  # isort: skip - after rewards.molecules, which says how to install it
from rdkit.Chem.Draw import rdMolDraw2D  # isort: skip

# Files that RDKit's wheel carries, under RDConfig.RDDataDir.
BUILT_IN = {"wehi": "Pains/test_data/wehi_mols.csv", "nci": "NCI/first_5K.smi"}
Representation = Literal["smiles", "selfies"]

# Pixels an angstrom, less where a molecule would not fit; darker fluorine, sulphur and chlorine.
_STYLE = """{"fixedBondLength": 20, "clearBackground": false,
"atomColourPalette": {"9": [0.0, 0.5, 0.5], "16": [0.6, 0.5, 0.0], "17": [0.0, 0.55, 0.0]}}"""
_SYMBOLS = frozenset("ABCDEFGHIKLMNOPRSTUVWXYZabcdefghiklmnoprstuy0123456789@+-[]()=#$:/\\.%*~")


def molecules(
    *,
    data: str = "wehi",
    reward: RewardSpec = "qed",
    max_length: int | None = None,
    representation: Representation = "smiles",
    vocabulary: Vocabulary | None = None,
    column: str | None = None,
    skip_invalid: bool = False,
) -> Task:
    """The task ``tokengym/Molecules-v0``: write a molecule as SMILES or SELFIES.

    With SELFIES the tokens are their symbols, and whatever is written is a molecule. Texts stay
    SMILES: in the data, in prompts, in ``info["text"]``, and for objectives, which so need not know
    how a molecule was written.

    Args:
        data: ``"wehi"`` (10,000 drug-like molecules), ``"nci"`` (4,991: RDKit rejects 8 of its
            4,999 lines, and they are left out), both from RDKit's wheel, or a file (``.smi``,
            ``.csv``, ``.txt``, ``.gz`` of these, ``.parquet``).
        reward: a Reward, a name or expression, or a function of a batch of texts.
        max_length: T; by default the longest molecule of the data and its end token.
        representation: ``"smiles"``, or ``"selfies"`` (of the nci molecules, 9 have none and are
            left out).
        vocabulary: which tokens can be written; by default those of the data.
        column: the column of a ``.csv`` or ``.parquet``.
        skip_invalid: leave out, and count in a warning, lines that are no molecule, hold other
            tokens than the vocabulary, or are longer than ``max_length``.

    Raises:
        DataError: the file cannot be used; the message names the line.
        ValueError: an unknown representation.
    """
    if representation not in get_args(Representation):
        raise ValueError(f"representation is {representation!r}; expected 'smiles' or 'selfies'")
    texts = _molecule_texts(data, column, skip_invalid)
    if representation == "selfies":
        texts = _writable(texts, data, skip_invalid or data in BUILT_IN)
    if vocabulary is None:
        tokenization: Tokenization = "smiles" if representation == "smiles" else "smiles_as_selfies"
        vocabulary = vocabulary_of(texts, tokenization)
    load_data = partial(encode_data, texts, data, vocabulary, max_length, skip_invalid=skip_invalid)
    return Task(
        name="Molecules",
        vocabulary=vocabulary,
        max_length=load_data().tokens_BT.shape[1],
        reward=make_reward(reward),
        load_data=load_data,
        domain="molecules",
        canonical=canonical_smiles,
        draw=draw_molecule,
    )


def load_molecules(
    data: str, column: str | None = None, *, skip_invalid: bool = False
) -> tuple[list[str], int]:
    """The SMILES of a built-in set or a file, and how many lines were left out."""
    path = Path(RDConfig.RDDataDir, BUILT_IN[data]) if data in BUILT_IN else Path(data)
    ensure_exists(path, BUILT_IN)
    lines = read_lines(path, column)
    if data == "wehi":
        return [line.text for line in lines], 0  # all of them are molecules: a test says so
    if data in BUILT_IN:
        return keep_valid(lines, path, _fault, skip=True)[0], 0
    return keep_valid(lines, path, _fault, skip=skip_invalid)


def draw_molecule(smiles: str, size: int = 300) -> np.ndarray:
    """A picture, uint8 (size, size, 3); the text in grey for what is no molecule."""
    found = molecule(smiles)
    if found is None:
        return draw_text(smiles, size, size, GREY)
    canvas = rdMolDraw2D.MolDraw2DCairo(size, size)
    rdMolDraw2D.PrepareAndDrawMolecule(canvas, found)
    canvas.FinishDrawing()
    picture = Image.open(io.BytesIO(canvas.GetDrawingText())).convert("RGB")
    return np.array(picture, np.uint8)


def draw_molecule_svg(smiles: str, width: int = 260, height: int = 180) -> str:
    """A drawing as an ``<svg>`` element, all at one scale; an empty one for what is no molecule."""
    found = molecule(smiles)
    canvas = rdMolDraw2D.MolDraw2DSVG(width, height)
    rdMolDraw2D.UpdateDrawerParamsFromJSON(canvas, _STYLE)
    if found is not None:
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
    return _cached_texts(data, column, skip_invalid, file_stamp(data))


@lru_cache(maxsize=4)
def _writable(texts: tuple[str, ...], data: str, skip: bool) -> tuple[str, ...]:
    """The molecules that SELFIES can write.

    Raises:
        DataError: one cannot be written, and ``skip`` is False.
    """
    kept = tuple(text for text in texts if to_selfies(text) is not None)
    if len(kept) < len(texts) and not skip:
        wrong = next(text for text in texts if to_selfies(text) is None)
        raise DataError(
            f"{data}: {wrong[:80]!r} cannot be written as SELFIES; leave such molecules out with "
            "--skip-invalid (skip_invalid=True), or take representation='smiles'"
        )
    if len(kept) < len(texts) and data not in BUILT_IN:
        number = len(texts) - len(kept)
        warnings.warn(f"{data}: left out {number} molecules that have no SELFIES", stacklevel=4)
    return kept
