"""Text-v0: lines of text by characters and by words, and what they are worth."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokengym.envs import DataError, make_task
from tokengym.rewards.texts import KnownPairs, KnownWords, words

DATA = ["The cat sat.", "A dog's cat!"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("the CAT sat", 1.0),
        ("the dog's hat", 2 / 3),
        ("the dog", 0.5),
        ("xyz", 0.0),
        ("", 0.0),
        ("?!", 0.0),
    ],
)
def test_known_words_are_a_share(text: str, value: float) -> None:
    assert KnownWords(DATA).score_texts([text]) == [pytest.approx(value)]


@pytest.mark.parametrize(
    ("text", "value"),
    [("The cat sat.", 1.0), ("sat cat the", 0.0), ("the sat", 2 / 3), ("a", 0.5), ("", 0.0)],
)
def test_known_pairs_count_the_edges(text: str, value: float) -> None:
    assert KnownPairs(DATA).score_texts([text]) == [pytest.approx(value)]


@given(st.lists(st.text(max_size=20), max_size=5))
def test_values_are_shares_and_the_data_are_worth_one(texts: list[str]) -> None:
    known = [text for text in texts if words(text)]
    for objective in (KnownWords, KnownPairs):
        reward = objective([*texts, "a word"])
        assert all(0 <= (value or 0) <= 1 for value in reward.score_texts([*texts, "b"]))
        assert reward.score_texts(known) == [1.0] * len(known)


def test_data_without_words_are_an_error() -> None:
    with pytest.raises(ValueError, match="no word"):
        KnownWords(["...", "?"])


@pytest.mark.parametrize(("tokenization", "least"), [("characters", 40), ("words", 900)])
def test_the_built_in_text_comes_with_the_package(tokenization: str, least: int) -> None:
    task = make_task("tokengym/Text-v0", tokenization=tokenization)
    assert task.data is not None
    assert len(set(task.data.texts)) == len(task.data) == 291
    assert task.data.texts[0] == "The harbour wakes before the town does."
    assert least <= task.vocabulary.num_actions <= least + 50
    assert task.reward(task.data).values_B.eq(1.0).all()


def test_random_writing_is_worth_less_than_the_data() -> None:
    task = make_task("tokengym/Text-v0")
    tokens_BT = torch.randint(task.vocabulary.num_actions, (200, task.max_length))
    _, scores = task.score(tokens_BT.numpy())
    assert float(scores.values_B.mean()) < 0.3


def test_a_file_of_ones_own_by_words(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("to be  or not\n\nto be\n", encoding="utf-8")
    with gym.make("tokengym/Text-v0", data=str(path), tokenization="words") as env:
        observation, _ = env.reset(options={"prompt": "to be"})
        task = make_task("tokengym/Text-v0", data=str(path), tokenization="words")
        assert task.max_length == 5
        assert task.vocabulary.tokens == ("be", "not", "or", "to", "<eos>")
        assert observation.tolist() == [3, 0, 6, 6, 6]
        _, reward, ended, _, info = env.step(4)
        assert (reward, ended, info["text"]) == (1.0, True, "to be")
    path.write_text("something else now\n", encoding="utf-8")
    changed = make_task("tokengym/Text-v0", data=str(path), tokenization="words")
    assert changed.max_length == 4


def test_another_reward_or_vocabulary_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("id,text\n1,abc\n2,abc!\n3,a\n", encoding="utf-8")
    vocabulary = make_task("tokengym/Text-v0").vocabulary
    with pytest.warns(UserWarning, match="left out 1 texts that hold tokens"):
        task = make_task(
            "tokengym/Text-v0",
            data=str(path),
            column="text",
            vocabulary=vocabulary,
            reward=lambda texts: [float(len(text)) for text in texts],
            skip_invalid=True,
        )
    assert task.data is not None
    assert task.data.texts == ["abc", "a"]
    assert task.reward(task.data).values_B.tolist() == [3.0, 1.0]


def test_lines_that_just_fit_with_their_end_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("ab\nabc\nabcd\n", encoding="utf-8")
    with pytest.warns(UserWarning, match="left out 1 texts that have more than 4 tokens"):
        task = make_task("tokengym/Text-v0", data=str(path), max_length=4, skip_invalid=True)
    assert task.data is not None
    assert task.data.texts == ["ab", "abc"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokenization": "bytes"}, "tokenization is 'bytes'"),
        ({"data": "nowhere.txt"}, "there is no file nowhere.txt"),
        ({"max_length": 5}, "give a larger max_length"),
        ({"max_length": 1, "skip_invalid": True}, "give a larger max_length"),
        ({"column": "text"}, "has no column 'text'"),
    ],
)
def test_options_that_cannot_be_are_errors(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_task("tokengym/Text-v0", **options)


def test_a_file_without_a_line_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "empty.txt"
    path.write_text("\n \n", encoding="utf-8")
    with pytest.raises(DataError, match="is empty"):
        make_task("tokengym/Text-v0", data=str(path))


def test_windows_are_the_whole_file_in_pieces(tmp_path: Path) -> None:
    """Ends of lines and empty lines are characters like others; there is no end token."""
    text = "The cat\n\nsat.\nA dog's cat!\n"
    (tmp_path / "long.txt").write_text(text)
    options = {"data": str(tmp_path / "long.txt"), "window": 10}
    task = make_task("tokengym/Text-v0", **options)
    assert task.data is not None
    assert "".join(task.data.texts) == text
    assert task.data.lengths_B.tolist() == [10, 10, len(text) - 20]
    assert (task.vocabulary.eos, task.max_length) == (None, 10)
    with pytest.raises(ValueError, match="window is 0; expected at least 1"):
        make_task("tokengym/Text-v0", **{**options, "window": 0})
    with pytest.raises(ValueError, match="of the characters of a text file"):
        make_task("tokengym/Text-v0", **options, tokenization="words")
