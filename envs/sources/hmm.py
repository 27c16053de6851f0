"""A hidden Markov model as a source: likelihood by the forward algorithm.

Rabiner (1989). The state of the source is the filter p(hidden state | tokens so far); its entropy
has no closed form, so it comes from samples.
"""

# Shapes: B sequences, S hidden states, K symbols (= A actions: there is no end token)
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...rewards import RewardSpec
from ..task import Task
from .base import State, StepSource, numbered
from .markov import checked_distributions, dirichlet, stationary
from .task import source_task


class HMMSource(StepSource):
    """A hidden Markov model that starts in its stationary distribution.

    Args:
        transition_SS: row i the distribution of the hidden state after i.
        emission_SK: row i the distribution of the symbol that state i writes.
        length: T, the fixed length of its sequences.

    Raises:
        ValueError: the matrices are no distributions, or do not fit together.
    """

    def __init__(
        self, transition_SS: np.ndarray, emission_SK: np.ndarray, length: int = 20
    ) -> None:
        transition_SS = checked_distributions("transition_SS", transition_SS)
        emission_SK = checked_distributions("emission_SK", emission_SK)
        if len(transition_SS) != len(emission_SK):
            raise ValueError(
                f"transition_SS has {len(transition_SS)} hidden states and emission_SK "
                f"{len(emission_SK)}; expected as many"
            )
        self.length = length
        self.vocabulary = numbered(emission_SK.shape[1])
        self._start_S = torch.from_numpy(stationary(transition_SS))
        self._transition_SS = torch.from_numpy(transition_SS)
        self._emission_SK = torch.from_numpy(emission_SK)

    @classmethod
    def random(
        cls,
        seed: int = 0,
        *,
        hidden: int = 5,
        symbols: int = 10,
        concentration: float = 0.3,
        length: int = 20,
    ) -> HMMSource:
        """Draw every row of both matrices from symmetric Dirichlet distributions."""
        both = dirichlet(seed, hidden, hidden, concentration)
        return cls(both, dirichlet(seed + 1, hidden, symbols, concentration), length)

    def initial_state(self, batch: int) -> State:
        """The distribution of the hidden state of the next token, (B, S)."""
        return (self._start_S.expand(batch, -1),)

    def step(self, token_B: Tensor, state: State) -> tuple[Tensor, State]:
        """Read a token: log-probabilities (B, K), the next state."""
        (predicted_BS,) = state
        begins_B = token_B == self.vocabulary.bos
        written_BS = self._emission_SK.T[token_B.masked_fill(begins_B, 0)]
        filtered_BS = predicted_BS * written_BS
        filtered_BS = filtered_BS / filtered_BS.sum(dim=1, keepdim=True)  # NaN: it cannot be
        moved_BS = filtered_BS @ self._transition_SS
        predicted_BS = torch.where(begins_B[:, None], predicted_BS, moved_BS)
        return (predicted_BS @ self._emission_SK).log(), (predicted_BS,)


def hmm(
    *,
    hidden: int = 5,
    symbols: int = 10,
    concentration: float = 0.3,
    length: int = 20,
    seed: int = 0,
    data_size: int = 10_000,
    reward: RewardSpec | None = None,
) -> Task:
    """The task ``tokengym/HMM-v0``: write what a hidden Markov model finds probable.

    Args:
        hidden: S, how many hidden states there are.
        symbols: K, how many tokens there are.
        concentration: of the Dirichlet distributions of both matrices; smaller is more certain.
        length: how many tokens every sequence has.
        seed: of the model, and of the data that it writes.
        data_size: how many real sequences there are.
        reward: by default the mean log-probability under the source.
    """
    source = HMMSource.random(
        seed, hidden=hidden, symbols=symbols, concentration=concentration, length=length
    )
    return source_task("HMM", source, data_size, seed, reward)
