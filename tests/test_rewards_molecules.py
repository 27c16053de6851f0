"""Molecule objectives: values by hand, what is no molecule, sharing, ORGAN's mappings."""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import QED, rdFingerprintGenerator, rdMolDescriptors
from tokengym.envs import make_task
from tokengym.rewards import Objective, Product, make_reward, reward_targets
from tokengym.rewards.molecules import (
    TPSA,
    Lipinski,
    LogP,
    MolecularWeight,
    NewMolecule,
    NPLikeness,
    OrganConciseness,
    OrganDiversity,
    OrganHardNovelty,
    OrganSoftNovelty,
    OrganSolubility,
    Rings,
    Scaffold,
    Similarity,
    Substructure,
    canonical_smiles,
    molecule,
)
from tokengym.rewards.molecules.contrib import np_score, sa_score
from tokengym.rewards.molecules.fingerprints import FingerprintKind, fingerprint, tanimoto

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
ERYTHROMYCIN = "CCC1OC(=O)C(C)C(OC2CC(C)(OC)C(O)C(C)O2)C(C)C(OC2OC(C)CC(N(C)C)C2O)C(C)(O)CC(C)C(=O)C(C)C(O)C1(C)O"  # noqa: E501
NAMED = [name for name, target in reward_targets().items() if ".molecules" in target]
OPTIONS = {
    "new_molecule": "reference=['CCO']",
    "organ_diversity": "reference=['CCO', 'CCN']",
    "organ_novelty_hard": "reference=['CCO']",
    "organ_novelty_soft": "reference=['CCO']",
    "scaffold": "scaffold='c1ccccc1'",
    "similarity": "target='CCO'",
    "substructure": "smarts='CO'",
}


def named(name: str) -> Objective:
    made = make_reward(f"{name}({OPTIONS.get(name, '')})")
    assert isinstance(made, Objective)
    return made


def real_molecules(count: int) -> list[str]:
    data = make_task("tokengym/Molecules-v0").data
    assert data is not None
    return list(data.texts[:count])


def test_properties_by_hand() -> None:
    # C9H8O4 with 12.011, 1.008 and 15.999 daltons an atom
    assert MolecularWeight().score_texts([ASPIRIN, "C("]) == [pytest.approx(180.159), 0.0]
    # an ester (26.30) and a carboxylic acid (37.30): Ertl's increments, in square angstroms
    assert TPSA().score_texts([ASPIRIN, "C("]) == [pytest.approx(63.60), 0.0]
    assert Rings().score_texts([ASPIRIN, "CCO", "c1ccc2ccccc2c1", "C("]) == [1, 0, 2, 0]


def test_lipinski_counts_the_rules_that_are_kept() -> None:
    paraffin = "C" * 40  # 563 daltons, and greasy: breaks weight and logP
    sucrose = "OCC1OC(OC2(CO)OC(CO)C(O)C2O)C(O)C(O)C1O"  # 8 donors, 11 acceptors, 342 daltons
    texts = [ASPIRIN, paraffin, sucrose, ERYTHROMYCIN, "C("]
    # erythromycin: 734 daltons and 14 acceptors, but 5 donors and a logP below 5
    assert Lipinski().score_texts(texts) == [1.0, 0.5, 0.5, 0.5, 0.0]
    assert Lipinski().score_texts(["C" * 20]) == [0.75]  # logP alone


def test_similarity_is_the_ratio_of_shared_counts() -> None:
    # ECFP4 of ethanol: three atoms, two neighbourhoods of radius 1 at the ends and one in the
    # middle; propanol shares its CH3, CH2 and OH and the neighbourhood of its oxygen.
    kinds: list[FingerprintKind] = ["ECFP4", "ECFP6", "FCFP4", "FCFP6", "AP"]
    for kind in kinds:
        one, other = (
            dict(fingerprint(molecule(text), kind).GetNonzeroElements())
            for text in (ASPIRIN, "OC(=O)c1ccccc1O")
        )
        features = one.keys() | other.keys()
        shared = sum(min(one.get(f, 0), other.get(f, 0)) for f in features)
        either = sum(max(one.get(f, 0), other.get(f, 0)) for f in features)
        assert 0 < shared < either
        found = Similarity(ASPIRIN, kind).score_texts(["OC(=O)c1ccccc1O", ASPIRIN, "C("])
        assert found == [pytest.approx(shared / either), 1.0, 0.0]
    # Pairs of atoms of ethanol: C-C, C-O and C..O; of ethane: C-C, of carbons with one neighbour.
    assert Similarity("CCO", "AP").score_texts(["CC", "OCC"]) == [0.0, 1.0]
    bits = [set(fingerprint(molecule(t), "PATH").GetOnBits()) for t in ("CCO", "CCCO")]
    expected = len(bits[0] & bits[1]) / len(bits[0] | bits[1])
    assert tanimoto(*(fingerprint(molecule(t), "PATH") for t in ("CCO", "CCCO"))) == expected


def test_similarity_says_what_it_takes() -> None:
    with pytest.raises(ValueError, match="the target is 'C\\('"):
        Similarity("C(")
    with pytest.raises(ValueError, match="fingerprint is 'MACCS'; expected one of ECFP4"):
        Similarity("CCO", "MACCS")  # type: ignore[arg-type]


def test_substructures_required_and_forbidden() -> None:
    acid = "[CX3](=O)[OX2H1]"
    assert Substructure(acid).score_texts([ASPIRIN, "CCO", "C("]) == [1.0, 0.0, 0.0]
    assert Substructure(acid, forbidden=True).score_texts([ASPIRIN, "CCO", "C("]) == [0.0, 1.0, 0.0]
    for wrong in ("[", ""):
        with pytest.raises(ValueError, match="is no SMARTS"):
            Substructure(wrong)


def test_scaffolds_equal_and_contained() -> None:
    texts = [ASPIRIN, "c1ccccc1", "c1ccc2ccccc2c1", "c1ccccc1Cc1ccccc1", "CCO", "C("]
    assert Scaffold(ASPIRIN).score_texts(texts) == [1, 1, 0, 0, 0, 0]  # benzene, decorated
    assert Scaffold("c1ccccc1", match="contains").score_texts(texts) == [1, 1, 1, 1, 0, 0]
    linked = Scaffold("Cc1ccccc1CC1CC1")  # two rings and the carbon between them
    assert linked.score_texts(["c1ccccc1CC1CC1", "c1ccccc1C1CC1", "Fc1ccc(CC2CC2)cc1"]) == [1, 0, 1]
    assert Scaffold("C[C@H]1CCCO1").score_texts(["N[C@@H]1CCCO1"]) == [1.0]  # no stereo
    with pytest.raises(ValueError, match="no ring"):
        Scaffold("CCO")
    with pytest.raises(ValueError, match="expected 'equal' or 'contains'"):
        Scaffold("c1ccccc1", match="like")  # type: ignore[arg-type]


def test_novelty_compares_canonical_forms() -> None:
    assert NewMolecule(["OCC", "CC"]).score_texts(["CCO", "C(O)C", "CCN", "C("]) == [0, 0, 1, 0]


def test_a_reference_is_a_list_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "train.smi"
    path.write_text("OCC ethanol\n\nCC\tethane\n", encoding="utf-8")
    for reference in (path, str(path)):
        assert NewMolecule(reference).score_texts(["CCO", "CC", "CCC"]) == [0, 0, 1]
    path.write_text("OCC\nnonsense 1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"train\.smi, line 2: 'nonsense' is no molecule"):
        NewMolecule(path)
    with pytest.raises(ValueError, match=r"number 2: 'C\(' is no molecule"):
        NewMolecule(["C", "C("])
    with pytest.raises(ValueError, match="is empty"):
        NewMolecule([])


def test_natural_products_are_told_from_synthetic_molecules() -> None:
    camphor, sulfonamide = "CC1(C)C2CCC1(C)C(=O)C2", "Cc1ccc(cc1)S(=O)(=O)Nc1ccc(Cl)cc1"
    scores = NPLikeness().score_texts([camphor, ERYTHROMYCIN, sulfonamide, "C("])
    assert scores[0] == 1.0
    assert scores[1] == 1.0
    assert scores[2] is not None
    assert 0 < scores[2] < 0.6
    assert scores[3] == 0.0
    raw = np_score(molecule(sulfonamide))
    assert scores[2] == pytest.approx((raw + 3) / 4)
    assert NPLikeness(-5, 5).score_texts([sulfonamide]) == [pytest.approx((raw + 5) / 10)]


# ORGAN's published code, ``mol_metrics.py``: the numbers, not the code.
def mapped(value: float, zero: float, one: float) -> float:
    return min(1.0, max(0.0, (value - zero) / (one - zero)))


def organ_diversity(text: str, training: list[str]) -> float:
    make = rdFingerprintGenerator.GetMorganGenerator(radius=4, fpSize=2048).GetFingerprint
    bits = make(Chem.MolFromSmiles(text))
    distances = [
        1 - DataStructs.TanimotoSimilarity(bits, make(Chem.MolFromSmiles(t))) for t in training
    ]
    return mapped(fmean(distances), 0.9, 0.945)


ORGAN: dict[str, Callable[[str, list[str]], float]] = {
    "organ_solubility": lambda text, training: mapped(
        rdMolDescriptors.CalcCrippenDescriptors(Chem.MolFromSmiles(text))[0],
        -2.12178879609,
        6.0429063424,
    ),
    "organ_synthesizability": lambda text, training: mapped(sa_score(molecule(text)), 5.0, 1.5),
    "organ_naturalness": lambda text, training: mapped(np_score(molecule(text)), -3.0, 1.0),
    "organ_druglikeness": lambda text, training: QED.qed(Chem.MolFromSmiles(text)),
    "organ_diversity": organ_diversity,
    "organ_novelty_hard": lambda text, training: float(
        Chem.CanonSmiles(text) not in {Chem.CanonSmiles(t) for t in training}
    ),
    "organ_novelty_soft": lambda text, training: 0.3 if text in training else 1.0,
    "organ_conciseness": lambda text, training: (
        1 - min(max(len(text) - len(Chem.CanonSmiles(text)), 0), 20) / 20
    ),
}


@pytest.mark.parametrize("name", ORGAN)
def test_organs_objectives_have_its_published_mappings(name: str) -> None:
    texts = real_molecules(60)
    training = texts[:30]
    spelt = texts[20:] + [Chem.MolToRandomSmilesVect(molecule(t), 1, 7)[0] for t in texts[20:]]
    takes_training = name in OPTIONS
    made = make_reward(f"{name}(reference={training!r})" if takes_training else name)
    assert isinstance(made, Objective)
    assert made.name == name
    expected = [ORGAN[name](text, training) for text in spelt]
    assert made.score_texts(spelt) == pytest.approx(expected)
    assert made.score_texts(["C("]) == [0.0]
    if name != "organ_diversity":
        assert len(set(expected)) > 1


def test_organs_objectives_by_hand() -> None:
    assert OrganHardNovelty(["CCO"]).score_texts(["OCC", "CCC"]) == [0.0, 1.0]
    assert OrganSoftNovelty(["CCO"]).score_texts(["CCO", "OCC", "CCC", "C("]) == [0.3, 1, 1, 0]
    assert OrganConciseness().score_texts(["CCO", "C(C)O", "C("]) == [1.0, 0.9, 0.0]
    assert OrganConciseness().score_texts(["[CH3]" * 2 + "", "[CH3][CH2][CH2][CH2][CH3]"]) == [
        pytest.approx(0.6),  # 10 characters for CC
        0.0,  # 25 for CCCCC: 20 longer, or more
    ]
    logp = LogP(-2.12178879609, 6.0429063424).score_texts([ASPIRIN])
    assert OrganSolubility().score_texts([ASPIRIN]) == logp


def test_organs_diversity_draws_its_sample_once() -> None:
    training, asked = real_molecules(400), real_molecules(440)[400:]
    first, again = (OrganDiversity(training, sample=50, seed=3) for _ in range(2))
    assert first.score_texts(asked) == again.score_texts(asked)
    assert first.score_texts(asked) != OrganDiversity(training, 50, seed=4).score_texts(asked)
    with pytest.raises(ValueError, match="sample is 0"):
        OrganDiversity(training, sample=0)


@pytest.mark.parametrize("name", NAMED)
def test_every_named_objective_keeps_its_contract(name: str) -> None:
    reward = named(name)
    texts = [*real_molecules(12), "CCO", "OCC", "[H][H]", "[Fe]", "C(", "", "é", "C" * 40]
    scores = reward.score_texts(texts)
    low, high = reward.range
    assert all(score is not None and low <= score <= high for score in scores)
    assert [scores[texts.index(wrong)] for wrong in ("C(", "", "é")] == [0.0] * 3
    assert reward.name == name
    assert reward.microseconds is not None
    assert reward.microseconds > 0
    copy = pickle.loads(pickle.dumps(reward))  # how a scorer reaches another process
    assert copy.score_texts(texts) == scores
    half = 0.5 * reward * make_reward("valid")
    assert isinstance(half.terms()[0][1], Product)
    assert half.terms()[0][0] == 0.5


def test_a_shared_molecule_scores_as_one_of_its_own() -> None:
    """What one objective leaves on a molecule changes nothing for another."""
    texts = real_molecules(10)
    alone: dict[str, list[float | None]] = {}
    for name in NAMED:
        molecule.cache_clear()
        alone[name] = named(name).score_texts(texts)
    forms = [canonical_smiles(text) for text in texts]
    molecule.cache_clear()
    for name in [*NAMED, *reversed(NAMED)]:
        assert named(name).score_texts(texts) == pytest.approx(alone[name], abs=1e-12), name
    assert [Chem.MolToSmiles(molecule(text)) for text in texts] == forms
    assert molecule.cache_info().misses < 2 * len(texts)  # each once, and the targets


def test_the_cache_of_molecules_is_bounded() -> None:
    size = molecule.cache_info().maxsize
    assert size is not None
    for length in range(size + 10):
        molecule(f"[{length + 1}CH4]")
    assert molecule.cache_info().currsize == size


def test_bounds_have_to_be_in_order() -> None:
    for wrong in (lambda: LogP(1, 1), lambda: NPLikeness(2, 1)):
        with pytest.raises(ValueError, match="expected low < high"):
            wrong()
    assert math.isinf(MolecularWeight().range[1])


def test_the_page_lists_every_objective_with_its_range_and_cost() -> None:
    page = (Path(__file__).parents[1] / "docs" / "rewards_molecules.md").read_text(encoding="utf-8")
    listed = dict(
        re.findall(r"^\| `(\w+)` \|.*\| ([^|]+ \| [\d,]+) \|[^|]*\|$", page, re.MULTILINE)
    )
    for name in NAMED:
        reward = named(name)
        ends = " to ".join(f"{end:g}" for end in reward.range).replace("inf", "∞")
        assert listed.pop(name) == f"{ends} | {reward.microseconds:,.0f}", name
    assert not listed
