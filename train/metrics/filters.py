"""MOSES' filters: molecules without what medicinal chemists avoid.

Polykovskiy et al. (2020, arXiv 1811.12823): a molecule passes when it has only atoms of C, N, S, O,
F, Cl, Br and H, none charged, no ring of eight atoms or more, and no substructure of two lists: 22
medicinal chemistry filters (MCF; the patterns are MOSES', below), and the 480 pan-assay
interference compounds (PAINS; Baell and Holloway, 2010) as RDKit's FilterCatalog has them.
"""

from __future__ import annotations

from functools import lru_cache

from rdkit import Chem
from rdkit.Chem.FilterCatalog import FilterCatalog, FilterCatalogParams

from ...rewards.molecules.base import Molecule
from ...rewards.molecules.structure import smarts_pattern

ELEMENTS = frozenset(("C", "N", "S", "O", "F", "Cl", "Br", "H"))
LARGEST_RING = 7
# They ask for hydrogens as atoms, so those are added first.
MCF = (
    "[#6]=&!@[#6]-[#6]#[#7]",
    "[#6]=&!@[#6]-[#16](=[#8])=[#8]",
    "[#6]=&!@[#6&!H0]-&!@[#6](=[#8])-&!@[#7]",
    "[H]C([H])([#6])[F,Cl,Br,I]",
    "[#6]1-[#8]-[#6]-1",
    "[#6]-[#7]=[#6]=[#8]",
    "[#6&!H0]=[#8]",
    "[#6](=&!@[#7&!H0])-&!@[#6,#7,#8,#16]",
    "[#6]1-[#7]-[#6]-1",
    "[#6]~&!@[#7]~&!@[#7]~&!@[#6]",
    "[#7]=&!@[#7]",
    "[H][#6]-1=[#6]([H])-[#6]=[#6](-*)-[#8]-1",
    "[H][#6]-1=[#6]([H])-[#6]=[#6](-*)-[#16]-1",
    "[#17,#35,#53]-c(:*):[!#1!#6]:*",
    "[H][#7]([H])-[#6]-1=[#6]-[#6]=[#6]-[#6]=[#6]-1",
    "[#16]~[#16]",
    "[#7]~&!@[#7]~&!@[#7]",
    "[#7]-&!@[#6&!H0&!H1]-&!@[#7]",
    "[#6&!H0](-&!@[#8])-&!@[#8]",
    "[#35].[#35].[#35]",
    "[#17].[#17].[#17].[#17]",
    "[#9].[#9].[#9].[#9].[#9].[#9].[#9]",
)


def passes_filters(molecule: Molecule) -> bool:
    """Is there nothing that the filters look for?"""
    atoms = molecule.GetAtoms()
    return (
        all(atom.GetSymbol() in ELEMENTS and not atom.GetFormalCharge() for atom in atoms)
        and all(len(ring) <= LARGEST_RING for ring in molecule.GetRingInfo().AtomRings())
        and not _has_mcf(molecule)
        and not _pains().HasMatch(molecule)
    )


def _has_mcf(molecule: Molecule) -> bool:
    with_hydrogens = Chem.AddHs(molecule)
    return any(with_hydrogens.HasSubstructMatch(pattern) for pattern in _mcf())


@lru_cache(maxsize=1)
def _mcf() -> list[Molecule]:
    return [smarts_pattern(smarts) for smarts in MCF]


@lru_cache(maxsize=1)
def _pains() -> FilterCatalog:
    return FilterCatalog(FilterCatalogParams(FilterCatalogParams.FilterCatalogs.PAINS))
