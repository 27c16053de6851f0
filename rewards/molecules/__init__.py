from .base import MoleculeObjective, Valid, canonical_smiles, molecule
from .organ import (
    OrganConciseness,
    OrganDiversity,
    OrganDruglikeness,
    OrganHardNovelty,
    OrganNaturalness,
    OrganSoftNovelty,
    OrganSolubility,
    OrganSynthesizability,
)
from .properties import (
    QED,
    TPSA,
    Lipinski,
    LogP,
    MolecularWeight,
    NPLikeness,
    Rings,
    SyntheticAccessibility,
)
from .structure import NewMolecule, Scaffold, Similarity, Substructure

__all__ = [
    "QED",
    "TPSA",
    "Lipinski",
    "LogP",
    "MolecularWeight",
    "MoleculeObjective",
    "NPLikeness",
    "NewMolecule",
    "OrganConciseness",
    "OrganDiversity",
    "OrganDruglikeness",
    "OrganHardNovelty",
    "OrganNaturalness",
    "OrganSoftNovelty",
    "OrganSolubility",
    "OrganSynthesizability",
    "Rings",
    "Scaffold",
    "Similarity",
    "Substructure",
    "SyntheticAccessibility",
    "Valid",
    "canonical_smiles",
    "molecule",
]
