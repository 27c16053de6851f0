"""MOSES' figures against its definitions, by hand; the file of a reference; FCD and its error."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rdkit")
from rdkit import Chem
from tokengym.agents.checkpoint import CheckpointError, save_checkpoint
from tokengym.envs import make_task
from tokengym.rewards.molecules import molecule
from tokengym.train.metrics import molecule_reference
from tokengym.train.metrics.estimate import by_influence
from tokengym.train.metrics.filters import MCF, passes_filters
from tokengym.train.metrics.molecule_reference import MoleculeReference
from tokengym.train.metrics.molecules import internal_diversity
from tokengym.train.metrics.moses import moses_figures, nearest_similarity, unique_at
from tokengym.train.metrics.profiles import fragments_of, profiles_of, ring_scaffold

BIPHENYL = "c1ccc(-c2ccccc2)cc1"


def drugs(number: int) -> list[str]:
    data = make_task("tokengym/Molecules-v0").data
    assert data is not None
    return data[:number].texts


def test_fragments_and_scaffolds() -> None:
    assert sorted(fragments_of(molecule("CC(=O)Nc1ccccc1"))) == sorted(
        ["[1*]C(C)=O", "[5*]N[5*]", "[16*]c1ccccc1"]
    )
    assert fragments_of(molecule("CCO")) == ["CCO"]
    assert ring_scaffold("CCc1ccc(-c2ccccc2Cl)cc1") == BIPHENYL
    assert ring_scaffold("CCc1ccccc1") == ""  # one ring is too little, as in MOSES' code
    assert ring_scaffold("CCO") == ""


def test_profiles_are_in_order_with_repeats() -> None:
    profiles = profiles_of(["CCO", BIPHENYL, "CCO"])
    assert profiles.fragments[0] == profiles.fragments[2] == ["CCO"]
    assert profiles.scaffolds == ["", BIPHENYL, ""]
    assert profiles.properties["weight"] == pytest.approx([46.069, 154.212, 46.069], abs=1e-3)
    assert profiles.bits_NW.shape == (3, 128)
    assert len(profiles_of([])) == 0


def test_nearest_similarity_by_hand() -> None:
    bits_NF = np.array([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], bool)
    reference_RF = np.array([[1, 0, 0, 0], [1, 1, 1, 0]], bool)
    found = nearest_similarity(np.packbits(bits_NF, axis=1), np.packbits(reference_RF, axis=1))
    nearest = [2 / 3, 1 / 3, 0.0]
    assert found.value == pytest.approx(np.mean(nearest))
    assert found.se == pytest.approx(np.std(nearest, ddof=1) / math.sqrt(3))


def test_a_reference_in_chunks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    a, b = (generator.integers(0, 256, (n, 128), dtype=np.uint8) for n in (5, 7))
    whole = nearest_similarity(a, b)
    monkeypatch.setattr("tokengym.train.metrics.moses._CHUNK", 2)
    monkeypatch.setattr("tokengym.train.metrics.moses._REFERENCE_CHUNK", 3)
    assert nearest_similarity(a, b) == whole


def test_internal_diversity_2_is_the_root_of_the_mean_square() -> None:
    from rdkit import DataStructs
    from rdkit.Chem import rdFingerprintGenerator

    smiles = ["CCO", "CCN", "c1ccccc1", "CC(=O)O", "CCCCl"]
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    prints = [generator.GetFingerprint(Chem.MolFromSmiles(text)) for text in smiles]
    squares = [
        DataStructs.TanimotoSimilarity(prints[i], prints[j]) ** 2
        for i in range(5)
        for j in range(5)
        if i != j
    ]
    expected = 1 - math.sqrt(np.mean(squares))
    assert internal_diversity(smiles, power=2).value == pytest.approx(expected, abs=1e-6)


def test_unique_at_k_is_of_the_first_k(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokengym.train.metrics.moses.UNIQUE_AT", (2, 4, 9))
    found = unique_at(["CCO", "OCC", "CCN", "CCC", "CCC"])
    assert {name: figure.value for name, figure in found.items()} == {
        "unique@2": 1 / 2,
        "unique@4": 3 / 4,
    }


@pytest.mark.parametrize(
    ("smiles", "passes"),
    [
        ("CCc1ccccc1", True),
        ("C1CCCCCC1", True),
        ("C1CCCCCCC1", False),  # a ring of eight
        ("C[N+](C)(C)C", False),  # charged
        ("C[Si](C)(C)C", False),  # another element
        ("CC1CO1", False),  # MCF: an epoxide
        ("CC=O", False),  # MCF: an aldehyde
        ("CCCl", False),  # MCF: an alkyl halide, which needs its hydrogens
        ("CC(C)(C)Cl", True),
        ("O=C1C=CC(=O)C=C1", False),  # PAINS: a quinone
    ],
)
def test_filters(smiles: str, passes: bool) -> None:
    assert passes_filters(molecule(smiles)) == passes


def test_all_patterns_of_the_filters_are_read() -> None:
    assert len(MCF) == 22
    assert all(Chem.MolFromSmarts(smarts) is not None for smarts in MCF)


def test_a_set_is_as_its_reference_as_can_be() -> None:
    smiles = drugs(40)
    figures = moses_figures(smiles, MoleculeReference(smiles[::-1]))
    for name in ("snn", "fragments", "scaffolds"):
        assert figures[name].value == pytest.approx(1.0)
        assert figures[name].se == pytest.approx(0.0, abs=1e-6)
    for name in ("logp_w1", "sa_w1", "qed_w1", "weight_w1"):
        assert figures[name].value == pytest.approx(0.0, abs=1e-12)
    assert all(figure.n == 40 for figure in figures.values())
    assert figures == moses_figures(smiles, MoleculeReference(smiles[::-1]))


def test_of_no_molecule_there_is_no_figure() -> None:
    figures = moses_figures([], MoleculeReference(["CCO"]))
    assert "snn" in figures
    assert all(math.isnan(figure.value) and figure.n == 0 for figure in figures.values())


def test_what_is_no_molecule_is_no_reference() -> None:
    assert MoleculeReference(["CCO", "C(", "CCN"]).smiles == ["CCO", "CCN"]
    with pytest.raises(ValueError, match="none of the 2 texts of the reference is a molecule"):
        MoleculeReference(["C(", ")"])


def test_statistics_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smiles, path = drugs(30), tmp_path / "mine.statistics"
    made = moses_figures(smiles[:10], MoleculeReference(smiles[10:], path))
    reference = MoleculeReference(smiles[10:], path)
    monkeypatch.setattr(molecule_reference, "profiles_of", None)  # nothing is worked out again
    assert moses_figures(smiles[:10], reference) == made


def test_statistics_of_something_else_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.statistics"
    _ = MoleculeReference(["CCO", "CCN"], path).totals
    with pytest.raises(ValueError, match=r"mine.statistics holds .* of another reference; delete"):
        MoleculeReference(["CCO", "CCC"], path)
    monkeypatch.setattr("rdkit.rdBase.rdkitVersion", "1999.1")
    with pytest.raises(ValueError, match="of another rdkit; delete"):
        MoleculeReference(["CCO", "CCN"], path)
    monkeypatch.undo()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="was changed since it was written"):
        MoleculeReference(["CCO", "CCN"], path)
    save_checkpoint(path, {}, {"agent": "ORGAN"})
    with pytest.raises(ValueError, match="holds no statistics of molecules"):
        MoleculeReference(["CCO", "CCN"], path)


def test_fcd_of_a_set_against_itself_is_0_and_its_statistics_are_kept(tmp_path: Path) -> None:
    pytest.importorskip("fcd_torch")
    from tokengym.train.metrics.fcd import fcd

    smiles, path = drugs(12), tmp_path / "mine.statistics"
    reference = MoleculeReference(smiles, path)
    same = fcd(smiles, reference.chemnet)
    assert same.value == pytest.approx(0.0, abs=1e-6)
    assert same.n == 12
    other = fcd(["CCO", "CCN", "CCO"], MoleculeReference(smiles, path).chemnet)
    assert other == fcd(["OCC", "NCC", "CCO"], reference.chemnet)
    assert other.value > 10
    _ = MoleculeReference(smiles, path).totals  # is added to the file
    both = MoleculeReference(smiles, path)
    assert both._totals is not None
    assert both._chemnet is not None
    assert math.isnan(fcd(["CCO"], reference.chemnet).value)


def test_the_error_of_a_frechet_distance_is_that_of_drawing_anew() -> None:
    """200 sets: the ratio's own error is 5 %, as in test_train_metrics_occurrences.py."""
    pytest.importorskip("fcd_torch")
    from tokengym.rewards.sets.fcd import Gaussian, frechet_distance
    from tokengym.train.metrics.fcd import influences

    mixing = np.random.default_rng(0).normal(size=(4, 4))
    reference = Gaussian(np.zeros(4), np.eye(4))
    values, errors = [], []
    for seed in range(200):
        features = np.random.default_rng((6, seed)).normal(size=(200, 4)) @ mixing + 0.5
        value = frechet_distance(features, reference)
        found = by_influence(value, influences(features, reference))
        values.append(found.value)
        errors.append(found.se)
    assert 0.75 < math.sqrt(np.mean(np.square(errors))) / np.std(values, ddof=1) < 1.25
