"""Balanced brackets of k types as a source (the Dyck language), which needs a stack to be known.

At depth 0 a word ends with probability e, else a bracket opens; deeper, a bracket opens with
probability p, else the last one closes; the type of an opening bracket is uniform. With N =
(1 - e) / e (1 - p) / (1 - 2p) openings expected, the entropy of words of any length is
H = h(e) / e + (2N - (1 - e) / e) h(p) + N ln k, h the entropy of a coin. A model without a stack
pays N ln k more. Here a word has to fit into ``length`` tokens, its end counted: where there is
only just room to close what is open, it closes. So the entropy is summed over steps and depths, and
rises to H as the length grows.
"""

# Shapes: B sequences, T steps, D depths, k bracket types, A = 2k + 1 actions
from __future__ import annotations

import math

import torch
from torch import Tensor

from ...rewards import RewardSpec
from ..task import Task
from ..vocabulary import Vocabulary
from .base import Entropy, State, StepSource
from .task import source_task

_PAIRS = ("()", "[]", "{}", "<>", *(letter.upper() + letter for letter in "abcdefghijklmnop"))


class DyckSource(StepSource):
    """Random balanced words that fit into ``length`` tokens.

    Args:
        types: k, at most 20: ``()``, ``[]``, ``{}``, ``<>``, then ``Aa``, ``Bb`` and so on.
        p: the probability to open one more bracket, inside another.
        e: the probability to end, at depth 0.
        depth: at this depth no bracket opens; None for no such limit.
        length: T, the most tokens of a word, the end token counted.

    Raises:
        ValueError: a number out of its range.
    """

    def __init__(
        self,
        types: int = 3,
        p: float = 0.4,
        e: float = 0.25,
        depth: int | None = None,
        length: int = 100,
    ) -> None:
        if not 1 <= types <= len(_PAIRS):
            raise ValueError(f"types is {types}; expected 1 to {len(_PAIRS)}")
        if not 0 < p < 1 or not 0 < e < 1:
            raise ValueError(f"p is {p} and e is {e}; expected both between 0 and 1")
        if length < 1 or (depth is not None and depth < 1):
            raise ValueError(f"length is {length} and depth {depth}; expected at least 1")
        self.types, self.p, self.e, self.length = types, p, e, length
        self.depth = length // 2 if depth is None else min(depth, length // 2)
        brackets = "".join(pair[side] for side in (0, 1) for pair in _PAIRS[:types])
        self.vocabulary = Vocabulary.from_tokens(brackets, "characters")

    def initial_state(self, batch: int) -> State:
        """Steps taken and depth, int64 (B,) each, and the open types (B, D)."""
        zeros_B = torch.zeros(batch, dtype=torch.int64)
        return zeros_B, zeros_B, torch.zeros((batch, self.depth + 2), dtype=torch.int64)

    def step(self, token_B: Tensor, state: State) -> tuple[Tensor, State]:
        """Read a token: log-probabilities (B, A), the next state."""
        step_B, depth_B, stack_BD = state
        opens_B = token_B < self.types
        closes_B = ~opens_B & (token_B < 2 * self.types)
        # The clamp is for words that broke a rule before: nothing is read of them any more.
        depth_B = (depth_B + opens_B.long() - closes_B.long()).clamp(0, self.depth + 1)
        top_B1 = depth_B[:, None]
        pushed_B1 = torch.where(opens_B[:, None], token_B[:, None], stack_BD.gather(1, top_B1))
        stack_BD = stack_BD.scatter(1, top_B1, pushed_B1)
        step_B = step_B + (token_B != self.vocabulary.bos).long()
        open_B = self.open_probability(step_B, depth_B)
        probabilities_BA = open_B.new_zeros((len(token_B), self.vocabulary.num_actions))
        probabilities_BA[:, : self.types] = open_B[:, None] / self.types
        closing_B = stack_BD.gather(1, top_B1)[:, 0] + self.types
        last_B = torch.where(depth_B == 0, 2 * self.types, closing_B)  # the end, or a closing one
        probabilities_BA.scatter_(1, last_B[:, None], 1.0 - open_B[:, None])
        return probabilities_BA.log(), (step_B, depth_B, stack_BD)

    def open_probability(self, step: Tensor, depth: Tensor) -> Tensor:
        """The probability that a bracket opens after ``step`` tokens at ``depth``, float64."""
        open_ = torch.where(depth == 0, 1.0 - self.e, self.p).double()
        room = self.length - step >= depth + 3  # itself, all closings, the end token
        return open_.masked_fill(~room | (depth >= self.depth), 0.0)

    def entropy(self) -> Entropy:
        """Exact: sum over steps and depths of P(there) H(what comes next there)."""
        depth_D = torch.arange(self.depth + 2)
        there_D = (depth_D == 0).double()
        total = 0.0
        for step in range(self.length):
            open_D = self.open_probability(torch.tensor(step), depth_D)
            coin_D = torch.special.entr(open_D) + torch.special.entr(1.0 - open_D)
            total += float((there_D * (coin_D + open_D * math.log(self.types))).sum())
            up_D, down_D = there_D * open_D, there_D * (1.0 - open_D)
            there_D = up_D.roll(1) + torch.cat([down_D[1:], down_D.new_zeros(1)])
        return Entropy(total)


def dyck(
    *,
    types: int = 3,
    p: float = 0.4,
    e: float = 0.25,
    depth: int | None = None,
    length: int = 100,
    seed: int = 0,
    data_size: int = 10_000,
    reward: RewardSpec | None = None,
) -> Task:
    """The task ``tokengym/Dyck-v0``: write balanced brackets.

    Args:
        types: k, how many types of brackets there are, 1 to 20.
        p: the probability to open one more bracket, inside another.
        e: the probability to end, at depth 0.
        depth: at this depth no bracket opens; None for no such limit.
        length: the most tokens of a word, the end token counted.
        seed: of the data.
        data_size: how many real sequences there are.
        reward: by default the mean log-probability under the source.
    """
    return source_task("Dyck", DyckSource(types, p, e, depth, length), data_size, seed, reward)
