"""ORGAN's seven objectives over molecules (Guimaraes et al., 2017, arXiv 1705.10843, section 4.1).

Four of them are objectives of ``properties.py`` under their names here: druglikeness is ``QED``,
synthesizability ``SyntheticAccessibility``, solubility ``LogP``, naturalness
``NaturalProductLikeness``; hard novelty is ``NewMolecule``. This file has the other three. The
paper multiplies every one by the repetition penalty, a reward of its own here.

Unlike ORGAN's code, diversity compares with one sample of the reference, drawn once: there a fresh
one is drawn for every batch, so the reward of a molecule moves. A single atom is a molecule here,
and is none there.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from rdkit import DataStructs
from rdkit.Chem import rdFingerprintGenerator

from ..objective import Objective
from .base import Molecule, MoleculeObjective, canonical_smiles, linear, molecule
from .reference import Reference, reference_texts

_MORGAN = rdFingerprintGenerator.GetMorganGenerator(radius=4, fpSize=2048)


class OrganDiversity(MoleculeObjective):
    """The mean Tanimoto distance to a sample of the training set, 0.9 -> 0 and 0.945 -> 1, clipped.

    Morgan fingerprints of radius 4 with 2,048 bits.

    Args:
        reference: the training set: SMILES, or a file with one at the start of each line.
        sample: how many of them to compare with.
        seed: draws the sample.
    """

    name = "organ_diversity"
    microseconds = 200.0

    def __init__(self, reference: Reference, sample: int = 100, seed: int = 0) -> None:
        super().__init__()
        if sample < 1:
            raise ValueError(f"sample is {sample}; expected at least 1")
        texts = reference_texts(reference)
        drawn = random.Random(seed).sample(texts, min(sample, len(texts)))
        self._sample = [_MORGAN.GetFingerprint(molecule(text)) for text in drawn]

    def value(self, molecule: Molecule) -> float:
        """The mapped mean distance."""
        bits = _MORGAN.GetFingerprint(molecule)
        similarities = DataStructs.BulkTanimotoSimilarity(bits, self._sample)
        return linear(1.0 - sum(similarities) / len(similarities), 0.9, 0.945)


class OrganSoftNovelty(Objective):
    """1.0 for a molecule that is not spelt so in the training set, 0.3 for one that is.

    Args:
        reference: the training set: SMILES, or a file with one at the start of each line.
    """

    name = "organ_novelty_soft"
    range = (0.0, 1.0)
    microseconds = 100.0

    def __init__(self, reference: Reference) -> None:
        super().__init__(memo=False)
        self._known = frozenset(reference_texts(reference))

    def score(self, texts: list[str]) -> Sequence[float | None]:
        """1.0, 0.3, or 0.0 for what is no molecule."""
        valid = (canonical_smiles(text) is not None for text in texts)
        return [
            (0.3 if text in self._known else 1.0) if ok else 0.0
            for text, ok in zip(texts, valid, strict=True)
        ]


class OrganConciseness(Objective):
    """1 - d / 20, d in [0, 20] being how many characters longer a SMILES is than its canonical form."""

    name = "organ_conciseness"
    range = (0.0, 1.0)
    microseconds = 100.0

    def __init__(self) -> None:
        super().__init__(memo=False)  # canonical_smiles remembers; spellings differ in value

    def score(self, texts: list[str]) -> Sequence[float | None]:
        """The conciseness of each text, 0.0 for what is no molecule."""
        forms = (canonical_smiles(text) for text in texts)
        return [
            0.0 if form is None else linear(len(text) - len(form), 20, 0)
            for text, form in zip(texts, forms, strict=True)
        ]
