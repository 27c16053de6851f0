"""Randomised SMILES: other spellings of the same molecules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tokengym.envs import Sequences, Vocabulary
from tokengym.rewards.molecules import canonical_smiles
from tokengym.train.supervised import TeacherForcing
from tokengym.train.supervised.augmentation import augmented

SMILES = ["CC(=O)Oc1ccccc1C(=O)O", "CN1CCC[C@H]1c1cccnc1", "OCC(N)C", "C", "CCN(CC)CC"] * 4


@pytest.fixture
def molecules() -> Sequences:
    return Vocabulary.from_corpus([*SMILES, "[C@@H]", "2", "(=O)"], "smiles").encode(SMILES)


def test_other_spellings_are_of_the_same_molecules(molecules: Sequences) -> None:
    spelt = augmented(molecules, "randomised_smiles", 1, 60)
    assert list(map(canonical_smiles, spelt.texts)) == list(map(canonical_smiles, SMILES))
    assert len(set(spelt.texts)) > 10  # of five molecules
    assert spelt.texts == augmented(molecules, "randomised_smiles", 1, 60).texts
    assert spelt.texts != augmented(molecules, "randomised_smiles", 2, 60).texts


def test_what_cannot_be_written_stays_as_it_was(molecules: Sequences) -> None:
    narrow = Vocabulary.from_tokens(["C", "c", "1"], "smiles").encode(["Cc1ccccc1", "xx"[:0], "C1"])
    spelt = augmented(narrow, "randomised_smiles", 0, 60)
    assert spelt.texts[1:] == ["", "C1"]  # no molecule
    longest = int(molecules.lengths_B.max())
    assert int(augmented(molecules, "randomised_smiles", 3, longest).lengths_B.max()) <= longest
    numbered = molecules.given(torch.arange(len(molecules)))
    condition_B = augmented(numbered, "randomised_smiles", 3, longest).condition_B
    assert condition_B is not None
    assert torch.equal(condition_B, torch.arange(len(molecules)))


def test_a_fit_sees_another_spelling_at_every_epoch(molecules: Sequences) -> None:
    seen: list[list[str]] = []

    class Watching(TeacherForcing):
        def training_step(self, batch: Sequences, step: int) -> dict[str, float]:
            seen.append(batch.texts)
            return {}

    options: dict[str, Any] = {"vocabulary": molecules.vocabulary, "batch_size": 20}
    Watching("GRU", augmentation="randomised_smiles", **options).fit(molecules, max_epochs=2)
    first, second = ({canonical_smiles(text) for text in texts} for texts in seen)
    assert first == second == set(map(canonical_smiles, SMILES))
    assert sorted(seen[0]) != sorted(seen[1])
