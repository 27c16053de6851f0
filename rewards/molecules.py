"""Objectives over molecules written as SMILES, computed by RDKit (extra ``molecules``).

Every value lies in [0, 1] and more is better, with the mappings of ORGAN's paper (Guimaraes et al.,
2017, arXiv 1705.10843). A string that RDKit rejects is no molecule: its value is a true 0.0.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Unpack

from .crew import SequenceError
from .objective import Objective, ObjectiveOptions

try:
    from rdkit import Chem, RDConfig, rdBase
    from rdkit.Chem import QED as rdkit_qed
    from rdkit.Chem import rdMolDescriptors
except ImportError as error:  # pragma: no cover - the message is tested in a subprocess
    raise ImportError(
        "molecules need RDKit, which is not installed; install it with "
        "pip install 'tokengym[molecules]'"
    ) from error

Molecule = Any  # rdkit.Chem.Mol; RDKit publishes no types


def molecule(smiles: str) -> Molecule | None:
    """RDKit's molecule, or None when it accepts no molecule of at least one atom."""
    with rdBase.BlockLogs():
        try:
            found = Chem.MolFromSmiles(smiles)
        except (RuntimeError, UnicodeEncodeError):  # what a few malformed strings raise
            return None
    return found if found is not None and found.GetNumAtoms() else None


@lru_cache(maxsize=1 << 18)
def canonical_smiles(smiles: str) -> str | None:
    """The canonical SMILES, the same for every spelling of a molecule; None when it is none."""
    found = molecule(smiles)
    return None if found is None else str(Chem.MolToSmiles(found))


class MoleculeObjective(Objective):
    """An objective of one RDKit molecule; subclasses define ``value``.

    Args:
        **options: as for ``Objective``.
    """

    range = (0.0, 1.0)
    rdkit = rdBase.rdkitVersion  # so that scores on disk are those of one version

    def __init__(self, **options: Unpack[ObjectiveOptions]) -> None:
        options.setdefault("canonical", canonical_smiles)
        super().__init__(**options)

    @abstractmethod
    def value(self, molecule: Molecule) -> float:
        """The value of a valid molecule."""

    def score(self, texts: list[str]) -> Sequence[float | None]:
        """The value of each molecule, 0.0 for what is none."""
        return [self._score_one(text) for text in texts]

    def _score_one(self, text: str) -> float:
        found = molecule(text)
        try:
            return 0.0 if found is None else self.value(found)
        except Exception as error:
            raise SequenceError(text) from error


class Valid(Objective):
    """1.0 for what RDKit accepts as a molecule, 0.0 for what it does not."""

    name = "valid"
    range = (0.0, 1.0)

    def __init__(self) -> None:
        super().__init__(memo=False)  # canonical_smiles remembers

    def score(self, texts: list[str]) -> Sequence[float | None]:
        """1.0 or 0.0 a text."""
        return [float(canonical_smiles(text) is not None) for text in texts]


class QED(MoleculeObjective):
    """Quantitative estimate of druglikeness (Bickerton et al., 2012), in [0, 1]."""

    name = "qed"

    def value(self, molecule: Molecule) -> float:
        """RDKit's QED with its default weights."""
        return float(rdkit_qed.qed(molecule))


class LogP(MoleculeObjective):
    """ORGAN's solubility: Crippen's logP, mapped ``low`` -> 0 and ``high`` -> 1, clipped."""

    name = "logp"

    def __init__(
        self, low: float = -2.12, high: float = 6.04, **options: Unpack[ObjectiveOptions]
    ) -> None:
        super().__init__(**options)
        if not low < high:
            raise ValueError(f"low is {low} and high is {high}; expected low < high")
        self.low, self.high = low, high

    def value(self, molecule: Molecule) -> float:
        """The mapped logP."""
        return _linear(
            float(rdMolDescriptors.CalcCrippenDescriptors(molecule)[0]), self.low, self.high
        )


class SyntheticAccessibility(MoleculeObjective):
    """ORGAN's synthesizability: the SA score of Ertl and Schuffenhauer (2009), 5 -> 0, 1.5 -> 1."""

    name = "synthetic_accessibility"

    def value(self, molecule: Molecule) -> float:
        """The mapped SA score, clipped to [0, 1]."""
        return _linear(_sa_scorer()(molecule), 5.0, 1.5)


def _linear(value: float, zero: float, one: float) -> float:
    return min(max((value - zero) / (one - zero), 0.0), 1.0)


@lru_cache(maxsize=1)
def _sa_scorer() -> Callable[[Molecule], float]:
    """``calculateScore`` of the script that RDKit ships; its table loads once."""
    path = os.path.join(RDConfig.RDContribDir, "SA_Score", "sascorer.py")
    spec = importlib.util.spec_from_file_location("tokengym_sascorer", path)
    if spec is None or spec.loader is None or not os.path.exists(path):
        raise ImportError(f"this RDKit has no SA score at {path}; install the wheel from PyPI")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    score: Callable[[Molecule], float] = module.calculateScore
    return score
