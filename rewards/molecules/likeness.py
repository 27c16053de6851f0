"""Which molecules are alike: by their scaffold, or by their distance from the first of a group.

What is no molecule is like nothing.
"""

from __future__ import annotations

from rdkit import DataStructs

from .base import canonical_smiles, molecule
from .fingerprints import Fingerprint, fingerprint
from .structure import scaffold_of


class SameScaffold:
    """A bucket for every Murcko scaffold, and one for all molecules without rings."""

    def bucket(self, text: str) -> str | None:
        """The scaffold."""
        scaffold = scaffold_of(text)
        return "no rings" if scaffold == "" else scaffold

    def opened(self, bucket: str) -> None:
        """A scaffold is known by its name."""


class NearLeader:
    """Leader clustering: a bucket for every molecule that is near none which opened one before.

    Tanimoto similarity of counted ECFP4; each molecule is compared with every leader, 0.1
    microseconds or more for each.

    Args:
        similarity: the least for a molecule to be near.
    """

    def __init__(self, similarity: float) -> None:
        self.similarity = similarity
        self._leaders: list[str] = []
        self._fingerprints: list[Fingerprint] = []

    def bucket(self, text: str) -> str | None:
        """The most similar leader, of several the first; the molecule itself if none is near."""
        form = canonical_smiles(text)
        if form is None or molecule(form) is None:  # RDKit cannot read all that it wrote itself
            return None
        alike = DataStructs.BulkTanimotoSimilarity(self._fingerprint(form), self._fingerprints)
        most = max(alike, default=0.0)
        return self._leaders[alike.index(most)] if most >= self.similarity else form

    def opened(self, bucket: str) -> None:
        """Compare with this leader, too."""
        self._leaders.append(bucket)
        self._fingerprints.append(self._fingerprint(bucket))

    def _fingerprint(self, smiles: str) -> Fingerprint:
        return fingerprint(molecule(smiles), "ECFP4")
