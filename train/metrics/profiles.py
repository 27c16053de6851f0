"""What MOSES compares of molecules, worked out once for each of them.

Polykovskiy et al. (2020, arXiv 1811.12823): fragments (BRICS; Degen et al., 2008), the scaffold
(Bemis and Murcko, 1996; of two rings or more, as MOSES' code has it, without stereo marks), Morgan
fingerprints of radius 2 with 1,024 bits, and four properties: logP (Crippen), synthetic
accessibility (SA), druglikeness (QED) and weight in daltons.
"""

# Shapes: N molecules, W = 128 bytes of a fingerprint
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rdkit import Chem
from rdkit.Chem import QED

from ...agents.progress import progress_bar
from ...rewards.molecules.base import Molecule, molecule
from ...rewards.molecules.contrib import sa_score
from ...rewards.molecules.fingerprints import morgan_bits
from ...rewards.molecules.properties import average_weight, crippen_logp
from ...rewards.molecules.structure import scaffold_of

PROPERTIES = {"logp": crippen_logp, "sa": sa_score, "qed": QED.qed, "weight": average_weight}
LEAST_RINGS = 2  # of a scaffold that counts


@dataclass(frozen=True)
class Profiles:
    """N molecules in their order, repeated ones too.

    Args:
        bits_NW: fingerprints, uint8, eight bits a byte.
        fragments: SMILES of the fragments of each.
        scaffolds: SMILES of the scaffold of each, empty where it has none.
        properties: of each, float64 (N,), by name.
    """

    bits_NW: np.ndarray
    fragments: list[list[str]]
    scaffolds: list[str]
    properties: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.scaffolds)


def profiles_of(smiles: Sequence[str], *, label: str = "", shown: bool = False) -> Profiles:
    """The profiles of molecules, each different SMILES read once.

    Args:
        smiles: what RDKit accepts.
        label: of the progress bar.
        shown: whether there is one.
    """
    different = {text: row for row, text in enumerate(dict.fromkeys(smiles))}
    rows_N = np.array([different[text] for text in smiles], np.int64)
    bits, fragments, scaffolds, values = [], [], [], []
    with progress_bar(label, 0, len(different), "molecule", shown) as bar:
        for text in different:
            found = molecule(text)
            bits.append(np.packbits(morgan_bits([text]).astype(bool), axis=1))
            fragments.append(fragments_of(found))
            scaffolds.append(ring_scaffold(text))
            values.append([float(compute(found)) for compute in PROPERTIES.values()])
            bar.update()
    table = np.array(values).reshape(len(different), len(PROPERTIES))[rows_N]
    return Profiles(
        np.concatenate([np.zeros((0, 128), np.uint8), *bits])[rows_N],
        [fragments[row] for row in rows_N],
        [scaffolds[row] for row in rows_N],
        dict(zip(PROPERTIES, table.T, strict=True)),
    )


def fragments_of(molecule: Molecule) -> list[str]:
    """SMILES of what is left where all BRICS bonds are cut, ends marked with their kind."""
    return str(Chem.MolToSmiles(Chem.FragmentOnBRICSBonds(molecule))).split(".")


def ring_scaffold(smiles: str) -> str:
    """The Murcko scaffold, where it has two rings or more; else empty."""
    scaffold = scaffold_of(smiles) or ""
    found = molecule(scaffold)
    return scaffold if found is not None and found.GetRingInfo().NumRings() >= LEAST_RINGS else ""
