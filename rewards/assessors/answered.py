"""Ratings as tensors: what the preference model is fitted to."""

# Shapes: R ratings, N different texts, T steps
from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .answers import COLUMNS
from .ratings import Form, Rating

if TYPE_CHECKING:
    from ...envs.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class Answered:
    """R ratings of N different texts as tensors.

    Args:
        tokens_NT: int64, the texts.
        left_R: which of them was shown (on the left).
        right_R: which on the right; of a form without pairs the same one.
        answer_R: the column of the answer.
        assessor_R: who answered.
        fold_R: the fold, which the member of the same number never sees.
        random_R: bool, whether it was asked at random.
    """

    tokens_NT: Tensor
    left_R: Tensor
    right_R: Tensor
    answer_R: Tensor
    assessor_R: Tensor
    fold_R: Tensor
    random_R: Tensor

    def __len__(self) -> int:
        return len(self.answer_R)


def read_answers(
    ratings: Sequence[Rating],
    form: Form,
    vocabulary: Vocabulary,
    max_length: int,
    assessors: list[str],
    folds: int,
) -> Answered | None:
    """Ratings as tensors; those of texts that cannot be read are left out. None: none is left.

    A text cannot be read that holds a token which the vocabulary lacks, or more than ``max_length``
    of them. One of just so many was cut there, so it has no end token.

    Args:
        ratings: in this form.
        form: of the question.
        vocabulary: of the texts.
        max_length: in tokens.
        assessors: those that are known; the others are added.
        folds: how many.
    """
    places: dict[str, int | None] = {}
    rows: list[tuple[int, int, int, int, int, bool]] = []
    texts: list[str] = []
    for rating in ratings:
        shown = [rating.left, rating.left if rating.right is None else rating.right]
        for text in shown:
            if text not in places:
                readable = _fits(text, vocabulary, max_length)
                places[text] = len(texts) if readable else None
                texts += [text] * readable
        left, right = (places[text] for text in shown)
        if left is None or right is None:
            continue
        if rating.assessor not in assessors:
            assessors.append(rating.assessor)
        answer, who = COLUMNS[form].index(rating.answer), assessors.index(rating.assessor)
        rows.append((left, right, answer, who, _fold(shown, folds), rating.kind == "random"))
    if not rows:
        return None
    tokens_NT = vocabulary.encode(texts).tokens_BT[:, :max_length]
    left_R, right_R, answer_R, assessor_R, fold_R, random_R = torch.tensor(rows).T
    return Answered(tokens_NT, left_R, right_R, answer_R, assessor_R, fold_R, random_R.bool())


def _fits(text: str, vocabulary: Vocabulary, max_length: int) -> bool:
    if vocabulary.first_unknown(text) is not None:
        return False
    return int(vocabulary.encode([text], end=False).lengths_B[0]) <= max_length


def _fold(shown: Sequence[str], folds: int) -> int:
    """The fold of what was shown, whichever side it stood on; the same in every process."""
    return zlib.crc32("\n".join(sorted(shown)).encode("utf-8", "surrogatepass")) % folds
