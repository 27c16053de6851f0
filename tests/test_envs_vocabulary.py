"""Tokenisation: text to ids and back, and errors that name what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokengym.envs import Sequences, UnknownTokenError, Vocabulary


def test_ids_run_actions_then_bos_then_pad(vocabulary: Vocabulary) -> None:
    assert vocabulary.tokens == ("a", "b", "<eos>")
    assert (vocabulary.num_actions, vocabulary.num_inputs) == (3, 5)
    assert (vocabulary.eos, vocabulary.bos, vocabulary.pad) == (2, 3, 4)


def test_without_an_end_token_the_length_is_all_there_is() -> None:
    vocabulary = Vocabulary.from_tokens(["x", "y"], "words", eos=False)
    assert vocabulary.eos is None
    assert vocabulary.encode(["y x y"]).tokens_BT.tolist() == [[1, 0, 1]]


def test_smiles_tokens() -> None:
    text = "Clc1c[nH]c(Br)c1[C@@H](N)C%12CC%12"
    vocabulary = Vocabulary.from_corpus([text], "smiles")
    assert vocabulary.tokenize(text) == [
        *("Cl", "c", "1", "c", "[nH]", "c", "(", "Br", ")", "c", "1"),
        *("[C@@H]", "(", "N", ")", "C", "%12", "C", "C", "%12"),
    ]
    assert vocabulary.encode([text]).texts == [text]


@pytest.mark.parametrize("tokenization", ["characters", "smiles", "selfies", "words"])
def test_saved_and_loaded_is_equal(tokenization: str, tmp_path: Path) -> None:
    vocabulary = Vocabulary.from_corpus(["C Cl [N+]", "B r"], tokenization)  # type: ignore[arg-type]
    vocabulary.save(tmp_path / "tokenizer.json")
    loaded = Vocabulary.load(tmp_path / "tokenizer.json")
    assert loaded == vocabulary
    assert hash(loaded) == hash(vocabulary)
    assert loaded.encode(["C Cl"]).texts == ["C Cl"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_any_text_comes_back_unchanged(texts: list[str]) -> None:
    if not any(texts):
        texts = ["x"]
    vocabulary = Vocabulary.from_corpus(texts, "characters")
    assert vocabulary.encode(texts).texts == texts


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_any_text_encodes_or_raises_the_documented_error(text: str) -> None:
    vocabulary = Vocabulary.from_corpus(["CCO", "c1ccccc1Br"], "smiles")
    if vocabulary.first_unknown(text) is None:
        assert vocabulary.encode([text]).texts == [text]
        return
    with pytest.raises(UnknownTokenError) as caught:
        vocabulary.encode([text])
    assert text[caught.value.position :].startswith(caught.value.token)


@pytest.mark.parametrize("text", ["C<eos>", "<pad>", "C*C", "C\ud800"])
def test_unknown_tokens_are_named(text: str) -> None:
    vocabulary = Vocabulary.from_corpus(["CCO"], "smiles")
    with pytest.raises(UnknownTokenError, match=r"at character \d of text 1") as caught:
        vocabulary.encode(["C", text])
    assert caught.value.index == 1
    assert caught.value.token == text[caught.value.position]


def test_a_word_that_spells_a_special_token_is_unknown() -> None:
    vocabulary = Vocabulary.from_corpus(["one two"], "words")
    with pytest.raises(UnknownTokenError, match="<eos>"):
        vocabulary.encode(["one <eos>"])


def test_texts_end_at_the_first_mark(vocabulary: Vocabulary) -> None:
    tokens_BT = np.array([[0, 1, 0], [0, 2, 1], [1, 4, 0], [3, 0, 0], [2, 4, 4]])
    assert vocabulary.decode(tokens_BT) == ["aba", "a", "b", "", ""]
    assert vocabulary.decode(tokens_BT.astype(np.int32)) == ["aba", "a", "b", "", ""]
    assert vocabulary.decode(torch.zeros((2, 0), dtype=torch.int64)) == ["", ""]


def test_mistakes_are_named(vocabulary: Vocabulary) -> None:
    with pytest.raises(TypeError, match="list of texts"):
        vocabulary.encode("ab")
    with pytest.raises(ValueError, match="token 7 is outside the vocabulary of 5 ids"):
        vocabulary.decode(np.array([[0, 7]]))
    with pytest.raises(ValueError, match="token -1 is outside the vocabulary of 5 ids"):
        vocabulary.decode(np.array([[0, -1]]))
    with pytest.raises(ValueError, match="the last ids should be <eos>, <bos>, <pad>"):
        Vocabulary.from_tokens(["<eos>", "a"], eos=False)
    with pytest.raises(ValueError, match="did you mean 'smiles'"):
        Vocabulary.from_tokens(["a"], "smile")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'a' stands twice"):
        Vocabulary.from_tokens(["a", "a"])
    with pytest.raises(ValueError, match="at least one token"):
        Vocabulary.from_corpus([])
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        Vocabulary.from_json("{}")


def test_lengths_count_the_end_token(vocabulary: Vocabulary) -> None:
    sequences = vocabulary.encode(["ab", "", "abba"])
    assert sequences.lengths_B.tolist() == [3, 1, 5]
    assert sequences.mask_BT.sum(dim=1).tolist() == [3, 1, 5]
    assert sequences.num_tokens == 9


def test_from_tokens_finds_the_ends_and_clears_what_follows(vocabulary: Vocabulary) -> None:
    tokens_BT = torch.tensor([[0, 2, 1, 1], [0, 1, 0, 1], [2, 2, 2, 2], [1, 4, 0, 2], [4, 4, 4, 4]])
    sequences = Sequences.from_tokens(tokens_BT, vocabulary)
    assert sequences.lengths_B.tolist() == [2, 4, 1, 1, 0]
    assert sequences.tokens_BT.tolist() == [
        *([0, 2, 4, 4], [0, 1, 0, 1], [2, 4, 4, 4], [1, 4, 4, 4], [4, 4, 4, 4])
    ]
    assert sequences.texts == ["a", "abab", "", "b", ""]


def test_rows_and_padding(vocabulary: Vocabulary) -> None:
    sequences = vocabulary.encode(["ab", "", "abba"])
    assert sequences[[2, 0]].texts == ["abba", "ab"]
    assert sequences[sequences.lengths_B < 4].texts == ["ab", ""]
    assert sequences.padded(9).texts == sequences.texts
    assert sequences[:2].padded(3).tokens_BT.shape == (2, 3)
    with pytest.raises(ValueError, match="5 tokens does not fit into 4"):
        sequences.padded(4)


def test_sequences_show_what_they_are_in_a_line() -> None:
    vocabulary = Vocabulary.from_tokens("abc", "characters")
    sequences = vocabulary.encode(["ab", "", "c" * 100, "a"])
    shown = f"'ab', '', '{'c' * 37}...', ..."
    assert repr(sequences) == f"<Sequences: 4 of 107 tokens in all: {shown}>"
    assert repr(sequences[:1]) == "<Sequences: 1 of 3 tokens in all: 'ab'>"
    assert repr(sequences[:0]) == "<Sequences: 0 of 0 tokens in all: >"
