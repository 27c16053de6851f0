"""Counter-based random numbers: what is drawn depends on the counter, not on who drew before.

Philox4x32-10 (Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3"). The counter of
a draw is (sequence b, prefix t, completion n, step s), so no tile size, row order, thread count or
backend changes it. One call gives four words: the uniforms of four consecutive steps.
"""

# Shapes: R rows
from __future__ import annotations

from copy import copy
from typing import TypeVar

import torch
from torch import Tensor

Word = TypeVar("Word", int, Tensor)

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


def philox(
    counter: tuple[Word, Word, Word, Word], key: tuple[int, int] | tuple[Word, Word]
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
        seed: the key, 64 bits of it; or its two words, int64 (2,), where a recorded graph is to
            be replayed with other seeds.
        b_R: the sequence of each row, int64 (R,).
        t: the prefix that the rows complete; one for all.
        n_R: the number of the completion, int64 (R,).
    """

    def __init__(self, seed: int | Tensor, b_R: Tensor, t: int, n_R: Tensor) -> None:
        self._key = _key(seed) if isinstance(seed, int) else (seed[0], seed[1])
        self._counter = (b_R, torch.full_like(b_R, t), n_R)
        self._block: tuple[int, tuple[Tensor, ...]] | None = None

    def at(self, step: int, dtype: torch.dtype) -> Tensor:
        """The uniforms of a step, in [0, 1), (R,)."""
        return (self._words(step // 4)[step % 4] >> 8).to(dtype) * 2.0**-24

    def select(self, rows: Tensor) -> Uniforms:
        """The uniforms of these rows."""
        chosen = copy(self)
        b_R, t_R, n_R = self._counter
        chosen._counter = b_R[rows], t_R[rows], n_R[rows]
        if self._block is not None:
            chosen._block = self._block[0], tuple(word[rows] for word in self._block[1])
        return chosen

    def join(self, other: Uniforms) -> Uniforms:
        """The uniforms of these rows and those, of one seed."""
        b_R, t_R, n_R = map(torch.cat, zip(self._counter, other._counter, strict=True))
        joined = copy(self)
        joined._counter = b_R, t_R, n_R
        if self._block is not None:
            block, words = self._block
            pairs = zip(words, other._words(block), strict=True)
            joined._block = block, tuple(map(torch.cat, pairs))
        return joined

    def _words(self, block: int) -> tuple[Tensor, ...]:
        if self._block is None or self._block[0] != block:
            b_R, t_R, n_R = self._counter
            self._block = block, philox((b_R, t_R, n_R, torch.full_like(b_R, block)), self._key)
        return self._block[1]


def seed_words(seed: int, device: torch.device) -> Tensor:
    """A seed as a tensor: its two words, int64 (2,)."""
    return torch.tensor(_key(seed), dtype=torch.int64, device=device)


def _key(seed: int) -> tuple[int, int]:
    return seed & _MASK, (seed >> 32) & _MASK
