"""The tasks of the PMO benchmark that need RDKit alone, under their own names; scores in [0, 1].

PMO (Gao et al., 2022, arXiv 2206.12411) takes them from GuacaMol (Brown et al., 2019, J. Chem. Inf.
Model. 59, 1096, arXiv 1811.09621), as the library TDC states them. A task is a mean of criteria,
each a number that is 1 where a property of the molecule is as wanted; where the two sources differ,
TDC is followed (``docs/rewards_molecules.md`` says where). What is no molecule scores 0.0.

The twentieth task, ``qed``, is ``properties.QED``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from .base import Molecule, MoleculeObjective
from .criteria import (
    Property,
    arithmetic_mean,
    aromatic_rings,
    at_least,
    at_most,
    being,
    clipped,
    complexity,
    fluorines,
    gaussian,
    geometric_mean,
    isomer,
    like,
    rings,
    similar,
    with_pattern,
    without_pattern,
)
from .properties import crippen_logp, polar_surface


class PMOTask(MoleculeObjective):
    """A mean of criteria; a subclass names them."""

    microseconds = 300.0
    criteria: ClassVar[tuple[Property, ...]]
    mean: Callable[[Sequence[float]], float] = staticmethod(geometric_mean)

    def value(self, molecule: Molecule) -> float:
        """The mean of the criteria."""
        return self.mean([criterion(molecule) for criterion in self.criteria])


class CelecoxibRediscovery(PMOTask):
    """Find celecoxib: similarity by ECFP4."""

    name = "celecoxib_rediscovery"
    criteria = (similar("CC1=CC=C(C=C1)C1=CC(=NN1C1=CC=C(C=C1)S(N)(=O)=O)C(F)(F)F", "ECFP4"),)


class TroglitazoneRediscovery(PMOTask):
    """Find troglitazone: similarity by ECFP4."""

    name = "troglitazone_rediscovery"
    criteria = (similar("Cc1c(C)c2OC(C)(COc3ccc(CC4SC(=O)NC4=O)cc3)CCc2c(C)c1O", "ECFP4"),)


class ThiothixeneRediscovery(PMOTask):
    """Find thiothixene: similarity by ECFP4."""

    name = "thiothixene_rediscovery"
    criteria = (similar("CN(C)S(=O)(=O)c1ccc2Sc3ccccc3C(=CCCN4CCN(C)CC4)c2c1", "ECFP4"),)


class AlbuterolSimilarity(PMOTask):
    """Resemble albuterol: similarity by FCFP4, full marks from 0.75."""

    name = "albuterol_similarity"
    criteria = (similar("CC(C)(C)NCC(O)c1ccc(O)c(CO)c1", "FCFP4", clipped(0.75)),)


class MestranolSimilarity(PMOTask):
    """Resemble mestranol: similarity by atom pairs, full marks from 0.75."""

    name = "mestranol_similarity"
    criteria = (
        similar(
            "COc1ccc2[C@H]3CC[C@@]4(C)[C@@H](CC[C@@]4(O)C#C)[C@@H]3CCc2c1", "AP", clipped(0.75)
        ),
    )


class IsomersC7H8N2O2(PMOTask):
    """Find molecules of the formula C7H8N2O2."""

    name = "isomers_c7h8n2o2"
    criteria = (isomer("C7H8N2O2"),)


class IsomersC9H10N2O2PF2Cl(PMOTask):
    """Find molecules of the formula C9H10N2O2PF2Cl."""

    name = "isomers_c9h10n2o2pf2cl"
    criteria = (isomer("C9H10N2O2PF2Cl"),)


class Median1(PMOTask):
    """Resemble camphor and menthol at once, by ECFP4."""

    name = "median1"
    criteria = (similar("CC1(C)C2CCC1(C)C(=O)C2", "ECFP4"), similar("CC(C)C1CCC(C)CC1O", "ECFP4"))


class Median2(PMOTask):
    """Resemble tadalafil and sildenafil at once, by ECFP6."""

    name = "median2"
    criteria = (
        similar("O=C1N(CC(N2C1CC3=C(C2C4=CC5=C(OCO5)C=C4)NC6=C3C=CC=C6)=O)C", "ECFP6"),
        similar("CCCC1=NN(C2=C1N=C(NC2=O)C3=C(C=CC(=C3)S(=O)(=O)N4CCN(CC4)C)OCC)C", "ECFP6"),
    )


class OsimertinibMPO(PMOTask):
    """Resemble osimertinib, not too closely, with a larger polar surface and a lower logP."""

    name = "osimertinib_mpo"
    microseconds = 600.0
    target = "COc1cc(N(C)CCN(C)C)c(NC(=O)C=C)cc1Nc2nccc(n2)c3cn(C)c4ccccc34"
    criteria = (
        similar(target, "FCFP4", clipped(0.8)),
        similar(target, "ECFP6", at_most(0.85, 0.1)),
        being(polar_surface, at_least(100, 10)),
        being(crippen_logp, at_most(1, 1)),
    )


class FexofenadineMPO(PMOTask):
    """Resemble fexofenadine, less greasy: a larger polar surface and a lower logP."""

    name = "fexofenadine_mpo"
    microseconds = 600.0
    criteria = (
        similar(
            "CC(C)(C(=O)O)c1ccc(cc1)C(O)CCCN2CCC(CC2)C(O)(c3ccccc3)c4ccccc4", "AP", clipped(0.8)
        ),
        being(polar_surface, at_least(90, 10)),
        being(crippen_logp, at_most(4, 1)),
    )


class RanolazineMPO(PMOTask):
    """Resemble ranolazine, with more logP and polar surface and one fluorine."""

    name = "ranolazine_mpo"
    microseconds = 600.0
    criteria = (
        similar("COc1ccccc1OCC(O)CN2CCN(CC(=O)Nc3c(C)cccc3C)CC2", "AP", clipped(0.7)),
        being(crippen_logp, at_least(7, 1)),
        being(polar_surface, at_least(95, 20)),
        being(fluorines, gaussian(1, 1)),
    )


class PerindoprilMPO(PMOTask):
    """Resemble perindopril, with two aromatic rings."""

    name = "perindopril_mpo"
    criteria = (
        similar("O=C(OCC)C(NC(C(=O)N1C(C(=O)O)CC2CCCCC12)C)CCC", "ECFP4"),
        being(aromatic_rings, gaussian(2, 0.5)),
    )


class AmlodipineMPO(PMOTask):
    """Resemble amlodipine, with three rings."""

    name = "amlodipine_mpo"
    criteria = (
        similar(r"Clc1ccccc1C2C(=C(/N/C(=C2/C(=O)OCC)COCCN)C)\C(=O)OC", "ECFP4"),
        being(rings, gaussian(3, 0.5)),
    )


class SitagliptinMPO(PMOTask):
    """Differ from sitagliptin, with its formula, logP and polar surface."""

    name = "sitagliptin_mpo"
    microseconds = 600.0
    target = "Fc1cc(c(F)cc1F)CC(N)CC(=O)N3Cc2nnc(n2CC3)C(F)(F)F"
    criteria = (
        similar(target, "ECFP4", gaussian(0, 0.1)),
        like(target, crippen_logp, 0.2),
        like(target, polar_surface, 5),
        isomer("C16H15F6N5O"),
    )


class ZaleplonMPO(PMOTask):
    """Resemble zaleplon, with the formula C19H17N3O2."""

    name = "zaleplon_mpo"
    criteria = (
        similar("O=C(C)N(CC)C1=CC=CC(C2=CC=NC3=C(C=NN23)C#N)=C1", "ECFP4"),
        isomer("C19H17N3O2"),
    )


class ValsartanSMARTS(PMOTask):
    """Contain a fragment of valsartan, with the properties of sitagliptin."""

    name = "valsartan_smarts"
    microseconds = 800.0
    target = SitagliptinMPO.target
    criteria = (
        with_pattern("CN(C=O)Cc1ccc(c2ccccc2)cc1"),
        like(target, crippen_logp, 0.2),
        like(target, polar_surface, 5),
        like(target, complexity, 30),
    )


class DecoHop(PMOTask):
    """Keep the scaffold of a kinase inhibitor and its pharmacophores, change the decoration."""

    name = "deco_hop"
    microseconds = 6000.0
    target = "CCCOc1cc2ncnc(Nc3ccc4ncsc4c3)c2cc1S(=O)(=O)C(C)(C)C"
    scaffold = "[#7]-c1n[c;h1]nc2[c;h1]c(-[#8])[c;h0][c;h1]c12"
    mean = staticmethod(arithmetic_mean)
    criteria = (
        similar(target, "PHCO", clipped(0.85)),
        with_pattern(scaffold),
        without_pattern("CS([#6])(=O)=O"),
        without_pattern("[#7]-c1ccc2ncsc2c1"),
    )


class ScaffoldHop(PMOTask):
    """Keep the decoration of a kinase inhibitor and its pharmacophores, change the scaffold."""

    name = "scaffold_hop"
    microseconds = 6000.0
    mean = staticmethod(arithmetic_mean)
    criteria = (
        similar(DecoHop.target, "PHCO", clipped(0.75)),
        with_pattern("[#6]-[#6]-[#6]-[#8]-[#6]~[#6]~[#6]~[#6]~[#6]-[#7]-c1ccc2ncsc2c1"),
        without_pattern(DecoHop.scaffold),
    )
