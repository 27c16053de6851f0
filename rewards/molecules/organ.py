"""ORGAN's seven objectives over molecules (Guimaraes et al., 2017, arXiv 1705.10843, section 4.1).

Druglikeness, synthesizability, solubility and naturalness are objectives of ``properties.py`` with
the mappings of ORGAN's published code; diversity, novelty (hard and soft) and conciseness are
defined by a training set or by the spelling. The paper multiplies each by a penalty for repetition,
which is ``RepetitionPenalty`` here.

Unlike ORGAN's code, diversity compares with one sample of the training set, drawn once: there a
fresh one is drawn for every batch, so the reward of a molecule moves. Hard novelty compares
canonical forms on both sides: there the training set is taken as it is spelt. A single atom is a
molecule here and none there.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Unpack

from rdkit import DataStructs
from rdkit.Chem import rdFingerprintGenerator

from ..objective import Objective, ObjectiveOptions
from ..reference import Reference
from .base import Molecule, MoleculeObjective, canonical_smiles, linear, molecule
from .properties import QED, LogP, NPLikeness, SyntheticAccessibility
from .reference import reference_texts
from .structure import NewMolecule

_MORGAN = rdFingerprintGenerator.GetMorganGenerator(radius=4, fpSize=2048)


class OrganDruglikeness(QED):
    """QED, the quantitative estimate of druglikeness."""

    name = "organ_druglikeness"


class OrganSynthesizability(SyntheticAccessibility):
    """The SA score of Ertl and Schuffenhauer (2009), 5 -> 0 and 1.5 -> 1, clipped."""

    name = "organ_synthesizability"


class OrganSolubility(LogP):
    """Crippen's logP, -2.12178879609 -> 0 and 6.0429063424 -> 1, clipped."""

    name = "organ_solubility"

    def __init__(self, **options: Unpack[ObjectiveOptions]) -> None:
        super().__init__(low=-2.12178879609, high=6.0429063424, **options)


class OrganNaturalness(NPLikeness):
    """The NP score of Ertl et al. (2008), -3 -> 0 and 1 -> 1, clipped."""

    name = "organ_naturalness"

    def __init__(self, **options: Unpack[ObjectiveOptions]) -> None:
        super().__init__(low=-3.0, high=1.0, **options)


class OrganDiversity(MoleculeObjective):
    """The mean Tanimoto distance to a sample of the training set, 0.9 -> 0 and 0.945 -> 1, clipped.

    Morgan fingerprints of radius 4 with 2,048 bits.

    Args:
        reference: the training set: SMILES, or a file of them.
        sample: how many of them to compare with.
        seed: draws the sample.
    """

    name = "organ_diversity"
    microseconds = 300.0

    def __init__(
        self,
        reference: Reference,
        sample: int = 100,
        seed: int = 0,
        **options: Unpack[ObjectiveOptions],
    ) -> None:
        super().__init__(**options)
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


class OrganHardNovelty(NewMolecule):
    """1.0 for a molecule that is not in the training set, 0.0 for one that is, however spelt.

    Args:
        reference: the training set: SMILES, or a file of them.
    """

    name = "organ_novelty_hard"


class OrganSoftNovelty(Objective):
    """1.0 for a molecule that is not spelt so in the training set, 0.3 for one that is.

    Args:
        reference: the training set: SMILES, or a file of them.
    """

    name = "organ_novelty_soft"
    range = (0.0, 1.0)
    microseconds = 200.0

    def __init__(self, reference: Reference, **options: Unpack[ObjectiveOptions]) -> None:
        options.setdefault("memo", False)  # canonical_smiles remembers
        super().__init__(**options)
        self._known = frozenset(reference_texts(reference))

    def score(self, texts: list[str]) -> Sequence[float | None]:
        """1.0, 0.3, or 0.0 for what is no molecule."""
        valid = (canonical_smiles(text) is not None for text in texts)
        return [
            (0.3 if text in self._known else 1.0) if ok else 0.0
            for text, ok in zip(texts, valid, strict=True)
        ]


class OrganConciseness(Objective):
    """1 - d / 20, where a SMILES is d in [0, 20] characters longer than its canonical form."""

    name = "organ_conciseness"
    range = (0.0, 1.0)
    microseconds = 200.0

    def __init__(self, **options: Unpack[ObjectiveOptions]) -> None:
        options.setdefault("memo", False)  # canonical_smiles remembers
        super().__init__(**options)

    def score(self, texts: list[str]) -> Sequence[float | None]:
        """The conciseness of each text, 0.0 for what is no molecule."""
        forms = (canonical_smiles(text) for text in texts)
        return [
            0.0 if form is None else linear(len(text) - len(form), 20, 0)
            for text, form in zip(texts, forms, strict=True)
        ]
