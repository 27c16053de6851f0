"""What a molecule is like, contains, is built on: similarity, substructure, scaffold, novelty."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, Unpack

from rdkit import Chem, rdBase
from rdkit.Chem.Scaffolds import MurckoScaffold

from ..objective import Objective, ObjectiveOptions
from ..reference import Reference
from .base import Molecule, MoleculeObjective, canonical_smiles, known_molecule, molecule
from .fingerprints import FingerprintKind, tanimoto
from .fingerprints import fingerprint as compute_fingerprint
from .reference import reference_texts


class Similarity(MoleculeObjective):
    """Tanimoto similarity to a target molecule, in [0, 1].

    Args:
        target: its SMILES.
        fingerprint: what is compared; the kinds are those of ``fingerprints.py``.
    """

    name = "similarity"
    microseconds = 250.0  # with PHCO 6,000

    def __init__(
        self,
        target: str,
        fingerprint: FingerprintKind = "ECFP4",
        **options: Unpack[ObjectiveOptions],
    ) -> None:
        super().__init__(**options)
        self.target, self.fingerprint = target, fingerprint
        self._wanted = compute_fingerprint(known_molecule(target, "the target"), fingerprint)

    def value(self, molecule: Molecule) -> float:
        """The similarity."""
        return tanimoto(compute_fingerprint(molecule, self.fingerprint), self._wanted)


class Substructure(MoleculeObjective):
    """1.0 for a molecule with a substructure, 0.0 for one without; the reverse when forbidden.

    Args:
        smarts: the substructure, a SMARTS pattern.
        forbidden: 1.0 for molecules without it. What is no molecule has 0.0 all the same.
    """

    name = "substructure"

    def __init__(
        self, smarts: str, forbidden: bool = False, **options: Unpack[ObjectiveOptions]
    ) -> None:
        super().__init__(**options)
        self.smarts, self.forbidden = smarts, forbidden
        self._pattern = smarts_pattern(smarts)

    def value(self, molecule: Molecule) -> float:
        """1.0 or 0.0."""
        return float(molecule.HasSubstructMatch(self._pattern) != self.forbidden)


class Scaffold(MoleculeObjective):
    """1.0 for a molecule built on a Murcko scaffold: its rings and what links them.

    Bemis and Murcko (1996); as in RDKit, with the atoms that are double-bonded to it. Stereo marks
    are not compared.

    Args:
        scaffold: a SMILES; its own Murcko scaffold is what is looked for.
        match: ``"equal"``: the molecule's scaffold is this one, with whatever side chains.
            ``"contains"``: the molecule has it as a substructure, further rings allowed.
    """

    name = "scaffold"
    microseconds = 300.0

    def __init__(
        self,
        scaffold: str,
        match: Literal["equal", "contains"] = "equal",
        **options: Unpack[ObjectiveOptions],
    ) -> None:
        super().__init__(**options)
        if match not in ("equal", "contains"):
            raise ValueError(f"match is {match!r}; expected 'equal' or 'contains'")
        self.scaffold, self.match = scaffold, match
        self._wanted = murcko_scaffold(known_molecule(scaffold, "the scaffold"))
        if not self._wanted:
            raise ValueError(f"the scaffold {scaffold!r} has no ring, so no Murcko scaffold")
        self._pattern = known_molecule(self._wanted, "the scaffold")

    def value(self, molecule: Molecule) -> float:
        """1.0 or 0.0."""
        if self.match == "contains":
            return float(molecule.HasSubstructMatch(self._pattern))
        return float(murcko_scaffold(molecule) == self._wanted)


class NewMolecule(Objective):
    """1.0 for a molecule that is not in a reference, 0.0 for one that is, however it is spelt.

    Args:
        reference: SMILES, or a file of them.
        **options: as for ``Objective``, but for memo, which is False.
    """

    name = "new_molecule"
    range = (0.0, 1.0)
    microseconds = 200.0

    def __init__(self, reference: Reference, **options: Unpack[ObjectiveOptions]) -> None:
        options.setdefault("memo", False)  # canonical_smiles remembers
        super().__init__(**options)
        self._known = {canonical_smiles(text) for text in reference_texts(reference)}

    def score(self, texts: list[str]) -> Sequence[float | None]:
        """1.0 or 0.0 a text; 0.0 for what is no molecule."""
        forms = (canonical_smiles(text) for text in texts)
        return [float(form is not None and form not in self._known) for form in forms]


def murcko_scaffold(molecule: Molecule) -> str:
    """The canonical SMILES of the Murcko scaffold, without stereo marks; empty without rings."""
    scaffold = MurckoScaffold.GetScaffoldForMol(molecule)
    return str(Chem.MolToSmiles(scaffold, isomericSmiles=False))


@lru_cache(maxsize=1 << 18)
def scaffold_of(smiles: str) -> str | None:
    """The Murcko scaffold of a molecule's SMILES, empty without rings; None for no molecule."""
    found = molecule(smiles)
    return None if found is None else murcko_scaffold(found)


def smarts_pattern(smarts: str) -> Molecule:
    """The pattern that a SMARTS names.

    Raises:
        ValueError: it names none.
    """
    with rdBase.BlockLogs():
        pattern = Chem.MolFromSmarts(smarts)
    if pattern is None or not pattern.GetNumAtoms():
        raise ValueError(f"{smarts!r} is no SMARTS that RDKit accepts, such as '[#7]-c1ccccc1'")
    return pattern
