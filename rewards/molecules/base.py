"""What objectives over molecules share: parsing, canonical form, and what no molecule is worth.

RDKit (extra ``molecules``) does the chemistry. A string that it rejects is no molecule: its value
is a true 0.0, never a failure. Several components score one batch, so a parsed molecule is kept for
the next of them, and RDKit keeps on it what it has once computed, such as Crippen's logP: for five
cheap properties of one batch that is four times faster (``benchmarks/molecules.py``).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Unpack

from ..crew import one_by_one
from ..objective import Objective, ObjectiveOptions

try:
    from rdkit import Chem, rdBase
except ImportError as error:  # pragma: no cover - the message is tested in a subprocess
    raise ImportError(
        "molecules need RDKit, which is not installed; install it with "
        "pip install 'tokengym[molecules]'"
    ) from error

Molecule = Any  # rdkit.Chem.Mol; RDKit publishes no types


@lru_cache(maxsize=1 << 11)  # about 30 kB each, drug-sized
def molecule(smiles: str) -> Molecule | None:
    """RDKit's molecule, or None when it accepts no molecule of at least one atom.

    The same object for the same text: copy it (``Chem.Mol(...)``) before changing it.
    """
    with rdBase.BlockLogs():
        try:
            found = Chem.MolFromSmiles(smiles)
        except (RuntimeError, UnicodeEncodeError):  # what a few malformed strings raise
            return None
    return found if found is not None and found.GetNumAtoms() else None


def known_molecule(smiles: str, what: str) -> Molecule:
    """The molecule that an argument names.

    Raises:
        ValueError: it is none.
    """
    found = molecule(smiles)
    if found is None:
        raise ValueError(f"{what} is {smiles!r}, which RDKit accepts as no molecule; give a SMILES")
    return found


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
    microseconds = 200.0  # parsing and canonical form; benchmarks/molecules.py measures all

    def __init__(self, **options: Unpack[ObjectiveOptions]) -> None:
        options.setdefault("canonical", canonical_smiles)
        super().__init__(**options)

    @abstractmethod
    def value(self, molecule: Molecule) -> float:
        """The value of a valid molecule."""

    def score(self, texts: list[str]) -> Sequence[float | None]:
        """The value of each molecule, 0.0 for what is none."""
        return one_by_one(self._score_one, texts)

    def _score_one(self, text: str) -> float:
        found = molecule(text)
        return 0.0 if found is None else self.value(found)


class Valid(Objective):
    """1.0 for what RDKit accepts as a molecule, 0.0 for what it does not."""

    name = "valid"
    range = (0.0, 1.0)
    microseconds = 200.0

    def __init__(self, **options: Unpack[ObjectiveOptions]) -> None:
        options.setdefault("memo", False)  # canonical_smiles remembers
        super().__init__(**options)

    def score(self, texts: list[str]) -> Sequence[float | None]:
        """1.0 or 0.0 a text."""
        return [float(canonical_smiles(text) is not None) for text in texts]


def linear(value: float, zero: float, one: float) -> float:
    """The line through ``zero`` -> 0 and ``one`` -> 1, clipped to [0, 1]."""
    return min(max((value - zero) / (one - zero), 0.0), 1.0)
