"""What the tasks of PMO and GuacaMol are made of: properties, what is wanted of them, and means.

A criterion is a function of a molecule that is 1 where a property is as wanted, and never below 0:
a property and a modifier of it. GuacaMol (Brown et al., 2019, arXiv 1811.09621) defines them; where
its names differ, the docstrings give them.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

from rdkit.Chem import GraphDescriptors, rdMolDescriptors

from .base import Molecule, known_molecule
from .fingerprints import Fingerprint, FingerprintKind, fingerprint, tanimoto
from .structure import smarts_pattern

Property = Callable[[Molecule], float]
Modifier = Callable[[float], float]


def gaussian(mu: float, sigma: float) -> Modifier:
    """exp(-((x - mu) / sigma)^2 / 2): 1 at mu."""
    return lambda x: math.exp(-0.5 * ((x - mu) / sigma) ** 2)


def at_most(mu: float, sigma: float) -> Modifier:
    """1 up to mu, then the Gaussian's fall (GuacaMol's MinGaussian)."""
    return lambda x: gaussian(mu, sigma)(max(x, mu))


def at_least(mu: float, sigma: float) -> Modifier:
    """The Gaussian's rise, then 1 from mu on (GuacaMol's MaxGaussian)."""
    return lambda x: gaussian(mu, sigma)(min(x, mu))


def clipped(upper: float) -> Modifier:
    """The line from 0 at 0 to 1 at ``upper``, then 1 (GuacaMol's Clipped and Thresholded)."""
    return lambda x: min(x / upper, 1.0)


def geometric_mean(values: Sequence[float]) -> float:
    """(prod_i v_i)^(1/n) of values >= 0, by their logarithms so that nothing underflows."""
    if min(values) == 0.0:
        return 0.0
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def arithmetic_mean(values: Sequence[float]) -> float:
    """sum_i v_i / n."""
    return math.fsum(values) / len(values)


def being(of: Property, modifier: Modifier) -> Property:
    """A property of the molecule, modified."""
    return lambda molecule: modifier(of(molecule))


def like(target: str, of: Property, sigma: float) -> Property:
    """A Gaussian around the property's value for a target molecule."""
    wanted = lru_cache(lambda: of(known_molecule(target, "the target")))
    return lambda molecule: gaussian(wanted(), sigma)(of(molecule))


def similar(target: str, kind: FingerprintKind, modifier: Modifier = float) -> Property:
    """Tanimoto similarity to a target molecule, modified."""

    @lru_cache
    def wanted() -> Fingerprint:  # at the first call: importing this file computes no fingerprint
        return fingerprint(known_molecule(target, "the target"), kind)

    return lambda molecule: modifier(tanimoto(fingerprint(molecule, kind), wanted()))


def with_pattern(smarts: str) -> Property:
    """1 for a molecule that has the substructure, 0 for one without."""
    pattern = smarts_pattern(smarts)
    return lambda molecule: float(molecule.HasSubstructMatch(pattern))


def without_pattern(smarts: str) -> Property:
    """1 for a molecule without the substructure, 0 for one that has it."""
    pattern = smarts_pattern(smarts)
    return lambda molecule: float(not molecule.HasSubstructMatch(pattern))


def isomer(formula: str) -> Property:
    """How near the molecular formula is: a geometric mean of Gaussians of numbers of atoms.

    One for each element of the formula, with sigma 1, and one for all atoms, hydrogens among them,
    with sigma 2.
    """
    found = re.findall(r"([A-Z][a-z]?)(\d*)", formula)
    wanted = {element: int(number or 1) for element, number in found}

    def closeness(molecule: Molecule) -> float:
        atoms = molecule.GetAtoms()
        count = Counter(atom.GetSymbol() for atom in atoms)
        count["H"] += sum(atom.GetTotalNumHs() for atom in atoms)
        each = [gaussian(number, 1.0)(count[element]) for element, number in wanted.items()]
        total = gaussian(sum(wanted.values()), 2.0)(sum(count.values()))
        return geometric_mean([*each, total])

    return closeness


def fluorines(molecule: Molecule) -> float:
    """The number of fluorine atoms."""
    return float(sum(atom.GetAtomicNum() == 9 for atom in molecule.GetAtoms()))


def rings(molecule: Molecule) -> float:
    """The number of rings."""
    return float(rdMolDescriptors.CalcNumRings(molecule))


def aromatic_rings(molecule: Molecule) -> float:
    """The number of aromatic rings."""
    return float(rdMolDescriptors.CalcNumAromaticRings(molecule))


def complexity(molecule: Molecule) -> float:
    """Bertz's index of molecular complexity (1981)."""
    return float(GraphDescriptors.BertzCT(molecule))
