"""Counter-based random numbers: what is drawn depends on the counter, not on who drew before.

Philox4x32-10 (Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3"). The counter of
a draw is (sequence b, prefix t, completion n, step s), so no tile size, row order, thread count or
backend changes it. One call gives four words: the uniforms of four consecutive steps.
"""

# Shapes: R rows
from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

Word = TypeVar("Word", int, Tensor)

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


def philox(
    counter: tuple[Word, Word, Word, Word], key: tuple[int, int]
) -> tuple[Word, Word, Word, Word]:
    """Philox4x32-10: four counter words and two key words to four random words, all 32 bits.

    Words are Python integers, or int64 tensors, whose products wrap as the arithmetic needs it.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((product1 >> 32) & _MASK) ^ c1 ^ k0,
            product1 & _MASK,
            ((product0 >> 32) & _MASK) ^ c3 ^ k1,
            product0 & _MASK,
        )
        k0, k1 = (k0 + _KEY_STEPS[0]) & _MASK, (k1 + _KEY_STEPS[1]) & _MASK
    return c0, c1, c2, c3


def fold_in(seed: int, *data: int) -> int:
    """A new 63-bit seed from a seed and some integers: a purpose, a round, a step."""
    for number in data:
        word0, word1, _, _ = philox((number & _MASK, (number >> 32) & _MASK, 0, 0x7065), _key(seed))
        seed = ((word1 << 32) | word0) >> 1
    return seed


class Uniforms:
    """The uniforms of R rows, one a row and step, 24 bits, exact in float32 and float64.

    Args:
        seed: the key, 64 bits of it.
        b_R: the sequence of each row, int64 (R,).
        t: the prefix that the rows complete; one for all.
        n_R: the number of the completion, int64 (R,).
    """

    def __init__(self, seed: int, b_R: Tensor, t: int, n_R: Tensor) -> None:
        self._key = _key(seed)
        self._b_R, self._n_R, self._t = b_R, n_R, t
        self._block: tuple[int, tuple[Tensor, ...]] | None = None

    def at(self, step: int, dtype: torch.dtype) -> Tensor:
        """The uniforms of a step, in [0, 1), (R,)."""
        if self._block is None or self._block[0] != step // 4:
            zeros_R = torch.zeros_like(self._b_R)
            counter = (self._b_R, zeros_R + self._t, self._n_R, zeros_R + step // 4)
            self._block = (step // 4, philox(counter, self._key))
        return (self._block[1][step % 4] >> 8).to(dtype) * 2.0**-24

    def select(self, rows: Tensor) -> Uniforms:
        """The uniforms of these rows."""
        chosen = Uniforms.__new__(Uniforms)
        chosen._key, chosen._t = self._key, self._t
        chosen._b_R, chosen._n_R = self._b_R[rows], self._n_R[rows]
        chosen._block = None
        if self._block is not None:
            chosen._block = (self._block[0], tuple(word[rows] for word in self._block[1]))
        return chosen


def _key(seed: int) -> tuple[int, int]:
    return seed & _MASK, (seed >> 32) & _MASK
