"""Properties of one molecule: druglikeness, logP, ease of synthesis, weight, surface, rings.

Scores lie in [0, 1] and more is better, with the mappings of ORGAN's paper (Guimaraes et al., 2017,
arXiv 1705.10843). Weight, polar surface and number of rings are raw, in their units, to be mapped
to what a task wants of them; what is no molecule weighs 0.0 and has no rings, so where a small
value is wanted, multiply by ``valid``.
"""

from __future__ import annotations

from typing import Unpack

from rdkit.Chem import QED as rdkit_qed
from rdkit.Chem import Descriptors, rdMolDescriptors

from ..objective import ObjectiveOptions
from .base import Molecule, MoleculeObjective, linear
from .contrib import np_score, sa_score


def crippen_logp(molecule: Molecule) -> float:
    """The logarithm of the octanol-water partition coefficient (Wildman and Crippen, 1999)."""
    return float(rdMolDescriptors.CalcCrippenDescriptors(molecule)[0])


def average_weight(molecule: Molecule) -> float:
    """The average molecular weight, in daltons, hydrogens counted."""
    return float(Descriptors.MolWt(molecule))  # type: ignore[attr-defined]  # not in its stubs


def polar_surface(molecule: Molecule) -> float:
    """Topological polar surface area of nitrogen and oxygen, in square angstroms (Ertl, 2000)."""
    return float(rdMolDescriptors.CalcTPSA(molecule))


class QED(MoleculeObjective):
    """Quantitative estimate of druglikeness (Bickerton et al., 2012), in [0, 1]."""

    name = "qed"
    microseconds = 1200.0

    def value(self, molecule: Molecule) -> float:
        """RDKit's QED with its default weights."""
        return float(rdkit_qed.qed(molecule))


class LogP(MoleculeObjective):
    """ORGAN's solubility: Crippen's logP, mapped ``low`` -> 0 and ``high`` -> 1, clipped."""

    name = "logp"
    microseconds = 400.0

    def __init__(
        self, low: float = -2.12, high: float = 6.04, **options: Unpack[ObjectiveOptions]
    ) -> None:
        super().__init__(**options)
        self.low, self.high = _ordered(low, high)

    def value(self, molecule: Molecule) -> float:
        """The mapped logP."""
        return linear(crippen_logp(molecule), self.low, self.high)


class SyntheticAccessibility(MoleculeObjective):
    """ORGAN's synthesizability: the SA score of Ertl and Schuffenhauer (2009), 5 -> 0, 1.5 -> 1."""

    name = "synthetic_accessibility"
    microseconds = 400.0

    def value(self, molecule: Molecule) -> float:
        """The mapped SA score, clipped to [0, 1]."""
        return linear(sa_score(molecule), 5.0, 1.5)


class NPLikeness(MoleculeObjective):
    """ORGAN's naturalness: the NP score of Ertl et al. (2008), ``low`` -> 0 and ``high`` -> 1."""

    name = "np_likeness"
    microseconds = 350.0

    def __init__(
        self, low: float = -3.0, high: float = 1.0, **options: Unpack[ObjectiveOptions]
    ) -> None:
        super().__init__(**options)
        self.low, self.high = _ordered(low, high)

    def value(self, molecule: Molecule) -> float:
        """The mapped NP score, clipped to [0, 1]."""
        return linear(np_score(molecule), self.low, self.high)


class Lipinski(MoleculeObjective):
    """The share of Lipinski's rule of five (1997) that is kept: 0, 0.25, 0.5, 0.75 or 1.

    The four rules: weight at most 500 daltons, logP at most 5, at most 5 hydrogen bond donors (OH
    and NH), at most 10 acceptors (N and O). Lipinski calls a drug orally active while it breaks at
    most one, which is a share of 0.75.
    """

    name = "lipinski"
    microseconds = 400.0

    def value(self, molecule: Molecule) -> float:
        """The share of the four rules."""
        kept = (
            average_weight(molecule) <= 500,
            crippen_logp(molecule) <= 5,
            int(rdMolDescriptors.CalcNumLipinskiHBD(molecule)) <= 5,
            int(rdMolDescriptors.CalcNumLipinskiHBA(molecule)) <= 10,
        )
        return sum(kept) / len(kept)


class MolecularWeight(MoleculeObjective):
    """The average molecular weight, in daltons, hydrogens counted."""

    name = "molecular_weight"
    range = (0.0, float("inf"))

    def value(self, molecule: Molecule) -> float:
        """RDKit's ``MolWt``."""
        return average_weight(molecule)


class TPSA(MoleculeObjective):
    """The topological polar surface area (Ertl et al., 2000), in square angstroms."""

    name = "tpsa"
    range = (0.0, float("inf"))

    def value(self, molecule: Molecule) -> float:
        """RDKit's TPSA, of nitrogen and oxygen alone."""
        return polar_surface(molecule)


class Rings(MoleculeObjective):
    """The number of rings (the smallest set of smallest rings)."""

    name = "rings"
    range = (0.0, float("inf"))

    def value(self, molecule: Molecule) -> float:
        """RDKit's ``CalcNumRings``."""
        return float(rdMolDescriptors.CalcNumRings(molecule))


def _ordered(low: float, high: float) -> tuple[float, float]:
    if not low < high:
        raise ValueError(f"low is {low} and high is {high}; expected low < high")
    return low, high
