"""A batch of sequences: rows of it, and what has no tokens at all."""

from __future__ import annotations

import pytest
import torch
from tokengym.envs import Sequences, Vocabulary


@pytest.fixture
def three(vocabulary: Vocabulary) -> Sequences:
    return vocabulary.encode(["a", "ab", "b"])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([True, False, True], ["a", "b"]),  # a mask, not rows 1, 0, 1
        ([1, 0, 1], ["ab", "a", "ab"]),
        ([], []),
        (torch.tensor([False, True, False]), ["ab"]),
        (slice(1), ["a"]),
    ],
)
def test_rows(three: Sequences, rows: list[int] | torch.Tensor, expected: list[str]) -> None:
    assert three[rows].texts == expected
    assert len(three[rows]) == len(expected)


def test_no_columns_are_sequences_without_a_token(vocabulary: Vocabulary) -> None:
    empty = Sequences.from_tokens(torch.empty((2, 0), dtype=torch.int64), vocabulary)
    assert empty.lengths_B.tolist() == [0, 0]
    assert empty.texts == ["", ""]
    assert empty.num_tokens == 0
