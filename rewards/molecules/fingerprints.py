"""Fingerprints and their Tanimoto similarity, in the forms of GuacaMol (arXiv 1811.09621).

| kind | features |
|---|---|
| ECFP4, ECFP6 | circular, radius 2 or 3, of atoms (Rogers and Hahn, 2010) |
| FCFP4, FCFP6 | the same of pharmacophoric roles: donor, acceptor, aromatic, ... |
| AP | pairs of atoms and the number of bonds between them, at most 10 (Carhart et al., 1985) |
| PATH | subgraphs of at most 7 bonds, hashed to 2,048 bits (RDKit's own) |
| PHCO | pairs and triplets of pharmacophores (Gobbi and Poppinger, 1998) |

PATH and PHCO say whether a feature is there, the others how often.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from rdkit import DataStructs
from rdkit.Chem import rdFingerprintGenerator
from rdkit.Chem.Pharm2D import Generate, Gobbi_Pharm2D

from .base import Molecule, molecule

FingerprintKind = Literal["ECFP4", "ECFP6", "FCFP4", "FCFP6", "AP", "PATH", "PHCO"]
Fingerprint = Any  # one of RDKit's vectors, sparse counts or bits
_MORGAN = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)


def fingerprint(molecule: Molecule, kind: FingerprintKind) -> Fingerprint:
    """The fingerprint of a molecule.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in _FUNCTIONS:
        raise ValueError(f"fingerprint is {kind!r}; expected one of {', '.join(_FUNCTIONS)}")
    return _FUNCTIONS[kind](molecule)


def tanimoto(a: Fingerprint, b: Fingerprint) -> float:
    """sum_i min(a_i, b_i) / sum_i max(a_i, b_i) over the features of both, in [0, 1]."""
    return float(DataStructs.TanimotoSimilarity(a, b))


def morgan_bits(smiles: Sequence[str]) -> np.ndarray:
    """Morgan fingerprints of radius 2, float32 (N, 1024) of 0 and 1, of N SMILES.

    No bit of what cannot be read, and of one in ten thousand random molecules RDKit refuses the
    canonical form that it wrote itself.
    """
    table = np.zeros((len(smiles), 1024), np.float32)
    for row, text in zip(table, smiles, strict=True):
        if (found := molecule(text)) is not None:
            DataStructs.ConvertToNumpyArray(_MORGAN.GetFingerprint(found), row)
    return table


def tanimoto_matrix(bits_NF: np.ndarray, others_MF: np.ndarray) -> np.ndarray:
    """Tanimoto similarities of N molecules to M others, float32 (N, M).

    Args:
        bits_NF: 0 and 1, float32. Two molecules without any bit have the similarity 1.
        others_MF: the others.
    """
    common_NM = bits_NF @ others_MF.T
    union_NM = bits_NF.sum(axis=1)[:, None] + others_MF.sum(axis=1) - common_NM
    found: np.ndarray = np.divide(
        common_NM, union_NM, out=np.ones_like(common_NM), where=union_NM > 0
    )
    return found


def _circular(radius: int, *, roles: bool = False) -> Callable[[Molecule], Fingerprint]:
    invariants = rdFingerprintGenerator.GetMorganFeatureAtomInvGen() if roles else None
    generator = rdFingerprintGenerator.GetMorganGenerator(
        radius=radius, atomInvariantsGenerator=invariants
    )
    compute: Callable[[Molecule], Fingerprint] = generator.GetSparseCountFingerprint
    return compute


def _pharmacophores(molecule: Molecule) -> Fingerprint:
    return Generate.Gen2DFingerprint(molecule, Gobbi_Pharm2D.factory)


_FUNCTIONS: dict[str, Callable[[Molecule], Fingerprint]] = {
    "ECFP4": _circular(2),
    "ECFP6": _circular(3),
    "FCFP4": _circular(2, roles=True),
    "FCFP6": _circular(3, roles=True),
    "AP": rdFingerprintGenerator.GetAtomPairGenerator(maxDistance=10).GetSparseCountFingerprint,
    "PATH": rdFingerprintGenerator.GetRDKitFPGenerator(maxPath=7, fpSize=2048).GetFingerprint,
    "PHCO": _pharmacophores,
}
