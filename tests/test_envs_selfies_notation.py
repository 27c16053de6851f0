"""Molecules as SELFIES: tokens are symbols, texts stay SMILES; and the built-in sets."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokengym.envs import DataError, UnknownTokenError, Vocabulary, make_task

pytest.importorskip("rdkit")
selfies = pytest.importorskip("selfies")

from tokengym.envs.molecules import load_molecules  # noqa: E402 - after what they need
from tokengym.envs.selfies_notation import to_selfies, to_smiles  # noqa: E402
from tokengym.rewards.molecules import canonical_smiles  # noqa: E402

ID = "tokengym/Molecules-v0"


def test_molecules_are_the_same_after_writing_and_reading() -> None:
    for data, rows in (("wehi", 25), ("nci", 10)):
        for smiles in load_molecules(data)[0][::rows]:
            written = to_selfies(smiles)
            if written is not None:
                assert canonical_smiles(to_smiles(written)) == canonical_smiles(smiles)


def test_rings_that_the_library_cannot_kekulise_are_written_by_rdkits_bonds() -> None:
    smiles = "s1(c2c(c(c1)C(=O)O)cccc2)(=O)=O"
    with pytest.raises(selfies.EncoderError):
        selfies.encoder(smiles)
    assert canonical_smiles(to_smiles(to_selfies(smiles) or "")) == canonical_smiles(smiles)


@pytest.mark.parametrize("smiles", ["C1CC", "no molecule", "C[I](C)C", "F[P](F)(F)(F)(F)F"])
def test_what_has_no_selfies_is_none(smiles: str) -> None:
    assert to_selfies(smiles) is None


def test_the_task_writes_symbols_and_shows_smiles() -> None:
    task = make_task(ID, representation="selfies", reward="qed * valid")
    assert task.data is not None
    assert len(task.data) == 10_000  # every molecule of wehi has SELFIES
    assert all(t[0] == "[" or t in (".", "<eos>") for t in task.vocabulary.tokens)
    smiles = load_molecules("wehi")[0]
    assert canonical_smiles(task.data.texts[7]) == canonical_smiles(smiles[7])
    first = task.data[:4]
    expected = make_task(ID, reward="qed * valid").reward
    plain = Vocabulary.from_corpus(first.texts, "smiles").encode(first.texts)
    np.testing.assert_allclose(task.reward(first).values_B, expected(plain).values_B, rtol=1e-6)


def test_the_constraint_of_selfies_is_one_of_the_task() -> None:
    env = gym.make(ID, representation="selfies", constraint="selfies")
    assert env.reset(seed=0)[1]["action_mask"].all()


def test_a_symbol_that_is_unknown_stands_in_the_selfies() -> None:
    vocabulary = Vocabulary.from_corpus(["CCO"], "smiles_as_selfies")
    with pytest.raises(UnknownTokenError, match=r"'\[Si\]' at character 7 of text 0 \('\[C\]\[C"):
        vocabulary.encode(["CC[Si]C"])


def test_whatever_is_written_is_a_molecule() -> None:
    task = make_task(ID, representation="selfies", reward="valid")
    generator = np.random.default_rng(0)
    tokens_BT = generator.integers(task.vocabulary.num_actions - 1, size=(300, task.max_length))
    sequences, scores = task.score(tokens_BT)
    assert scores.values_B.mean() == 1.0
    assert all(canonical_smiles(text) for text in sequences.texts)


def test_a_prompt_is_smiles_and_so_is_the_text_of_an_episode() -> None:
    with gym.make(ID, representation="selfies", reward="valid") as env:
        env.reset(options={"prompt": "CCO"})
        vocabulary = make_task(ID, representation="selfies").vocabulary
        _, reward, ended, _, info = env.step(vocabulary.eos or 0)
        assert (info["text"], reward, ended) == ("CCO", 1.0, True)
        with pytest.raises(UnknownTokenError):
            env.reset(options={"prompt": "C1CC"})


def test_the_vocabulary_is_saved_with_what_its_texts_are(tmp_path: Path) -> None:
    vocabulary = Vocabulary.from_corpus(["CCO", "c1ccccc1"], "smiles_as_selfies")
    vocabulary.save(tmp_path / "tokenizer.json")
    loaded = Vocabulary.load(tmp_path / "tokenizer.json")
    copies = [loaded, copy.deepcopy(loaded), pickle.loads(pickle.dumps(loaded))]
    for one in copies:
        assert one == vocabulary
        assert one.decode(one.encode(["CCO"]).tokens_BT) == ["CCO"]
    symbols = Vocabulary.from_corpus(["[C][C][O]"], "selfies")
    assert symbols.decode(symbols.encode(["[C][C][O]"]).tokens_BT) == ["[C][C][O]"]


def test_lines_of_nci_are_molecules_and_what_is_none_is_left_out() -> None:
    smiles, _ = load_molecules("nci")
    assert len(smiles) == 4_991  # of 4,999 lines; RDKit rejects 8
    assert all(canonical_smiles(text) for text in smiles[::20])
    assert "CCO1=O=C1C2=CC=C(O2)C(C)(C)C" not in smiles
    task = make_task(ID, data="nci", representation="selfies", reward="valid")
    assert task.data is not None
    assert len(task.data) == 4_982  # 9 more have no SELFIES


def test_a_file_with_a_molecule_without_selfies_is_an_error_or_counted(tmp_path: Path) -> None:
    path = tmp_path / "mine.smi"
    path.write_text("CCO\nCl[I]Cl\n", encoding="utf-8")
    with pytest.raises(DataError, match="cannot be written as SELFIES"):
        make_task(ID, data=str(path), representation="selfies")
    with pytest.warns(UserWarning, match="left out 1 molecules that have no SELFIES"):
        task = make_task(ID, data=str(path), representation="selfies", skip_invalid=True)
    assert task.data is not None
    assert task.data.texts == ["CCO"]
    with pytest.raises(ValueError, match="representation is 'inchi'"):
        make_task(ID, representation="inchi")


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="CNOSF[]()=#123+-@Hcns.%IP", max_size=20) | st.text(max_size=10))
def test_any_text_has_selfies_or_none(text: str) -> None:
    written = to_selfies(text)
    assert written is None or isinstance(to_smiles(written), str)
    assert isinstance(to_smiles(text), str)
