"""Copying as a source: m random symbols, a bar, the same symbols again.

m is uniform from ``shortest`` to ``longest``, so H = ln(longest - shortest + 1) + E[m] ln K: all of
it in the first half. A model without memory pays for the second half as well.
"""

# Shapes: B sequences, T steps, K symbols, A = K + 2 actions: symbols, the bar, the end
from __future__ import annotations

import math

import torch
from torch import Tensor

from ...rewards import RewardSpec
from ..task import Task
from ..vocabulary import Vocabulary
from .base import Entropy, State, StepSource
from .task import source_task

_SYMBOLS = "abcdefghijklmnopqrstuvwxyz"


class CopySource(StepSource):
    """Texts such as ``abca|abca``.

    Args:
        symbols: K, 1 to 26.
        shortest: the smallest m.
        longest: the largest m.

    Raises:
        ValueError: a number out of its range.
    """

    def __init__(self, symbols: int = 8, shortest: int = 10, longest: int = 10) -> None:
        if not 1 <= symbols <= len(_SYMBOLS):
            raise ValueError(f"symbols is {symbols}; expected 1 to {len(_SYMBOLS)}")
        if not 1 <= shortest <= longest:
            raise ValueError(
                f"shortest is {shortest} and longest {longest}; expected 1 <= shortest <= longest"
            )
        self.symbols, self.shortest, self.longest = symbols, shortest, longest
        self.length = 2 * longest + 2
        self.vocabulary = Vocabulary.from_tokens(_SYMBOLS[:symbols] + "|", "characters")

    def initial_state(self, batch: int) -> State:
        """Symbols to copy and copied (-1 before the bar), int64 (B,) each, and which (B, T)."""
        zeros_B = torch.zeros(batch, dtype=torch.int64)
        memory_BT = torch.zeros((batch, self.longest + 1), dtype=torch.int64)
        return zeros_B, zeros_B - 1, memory_BT

    def step(self, token_B: Tensor, state: State) -> tuple[Tensor, State]:
        """Read a token: log-probabilities (B, A), the next state."""
        count_B, copied_B, memory_BT = state
        copying_B = copied_B >= 0
        stores_B = ~copying_B & (token_B < self.symbols)
        # The clamps are for texts that broke a rule before: nothing is read of them any more.
        at_B1 = count_B.clamp(max=self.longest)[:, None]
        kept_B1 = torch.where(stores_B[:, None], token_B[:, None], memory_BT.gather(1, at_B1))
        memory_BT = memory_BT.scatter(1, at_B1, kept_B1)
        count_B = (count_B + stores_B.long()).clamp(max=self.longest)
        begins_copy_B = ~copying_B & (token_B == self.symbols)
        copied_B = copied_B + (copying_B | begins_copy_B).long()
        next_B = memory_BT.gather(1, copied_B.clamp(0, self.longest)[:, None])[:, 0]
        next_B = torch.where(copied_B < count_B, next_B, self.symbols + 1)
        copy_BA = torch.nn.functional.one_hot(next_B, self.symbols + 2).to(self.dtype)
        write_BA = torch.zeros_like(copy_BA)
        bar_B = self._bar_probability(count_B)
        write_BA[:, : self.symbols] = (1.0 - bar_B[:, None]) / self.symbols
        write_BA[:, self.symbols] = bar_B
        chosen_BA = torch.where((copied_B >= 0)[:, None], copy_BA, write_BA)
        return chosen_BA.log(), (count_B, copied_B, memory_BT)

    def _bar_probability(self, count_B: Tensor) -> Tensor:
        """P(m = count | m >= count)."""
        hazard_B = 1.0 / (self.longest - count_B + 1).to(self.dtype)
        return hazard_B.masked_fill(count_B < self.shortest, 0.0)

    def entropy(self) -> Entropy:
        """Exact: of the length, and of the symbols to copy."""
        mean = (self.shortest + self.longest) / 2
        lengths = self.longest - self.shortest + 1
        return Entropy(math.log(lengths) + mean * math.log(self.symbols))


def copy(
    *,
    symbols: int = 8,
    shortest: int = 10,
    longest: int = 10,
    seed: int = 0,
    data_size: int = 10_000,
    reward: RewardSpec | None = None,
) -> Task:
    """The task ``tokengym/Copy-v0``: write symbols, a bar, and the same symbols again.

    Args:
        symbols: K, how many different symbols there are, 1 to 26.
        shortest: the fewest symbols to copy.
        longest: the most symbols to copy.
        seed: of the data.
        data_size: how many real sequences there are.
        reward: by default the mean log-probability under the source.
    """
    return source_task("Copy", CopySource(symbols, shortest, longest), data_size, seed, reward)
