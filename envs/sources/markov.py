"""A Markov chain as a source: H(x_1:T) = H(pi) + (T - 1) sum_i pi_i H(P_i).

Cover and Thomas (2006), section 4.2. The chain starts in its stationary distribution pi, so every
position looks the same.
"""

# Shapes: B sequences, T steps, K states (= A actions: there is no end token)
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...rewards import RewardSpec
from ..task import Task
from .base import Entropy, State, StepSource, numbered
from .task import source_task


class MarkovSource(StepSource):
    """A stationary Markov chain of order 1.

    Args:
        transition_KK: P, row i the distribution of what follows i; rows sum to 1.
        length: T, the fixed length of its sequences.

    Raises:
        ValueError: no such matrix, or it has more than one stationary distribution.
    """

    def __init__(self, transition_KK: np.ndarray, length: int = 20) -> None:
        self.transition_KK = checked_distributions("transition_KK", transition_KK)
        self.stationary_K = stationary(self.transition_KK)
        self.length = length
        self.vocabulary = numbered(len(self.stationary_K))
        rows = np.vstack([self.transition_KK, self.stationary_K])  # bos = K reads the last row
        self._log_rows = torch.from_numpy(rows).log()

    @classmethod
    def random(
        cls, seed: int = 0, *, states: int = 10, concentration: float = 0.3, length: int = 20
    ) -> MarkovSource:
        """Draw every row of P from a symmetric Dirichlet distribution."""
        return cls(dirichlet(seed, states, states, concentration), length)

    def initial_state(self, batch: int) -> State:
        """Nothing: the last token is all that counts."""
        return ()

    def step(self, token_B: Tensor, state: State) -> tuple[Tensor, State]:
        """Read a token: log-probabilities (B, K), the next state."""
        return self._log_rows[token_B], ()

    def entropy(self) -> Entropy:
        """Exact: H(pi) + (T - 1) h."""
        return Entropy(entropy_of(self.stationary_K) + (self.length - 1) * self.entropy_rate())

    def entropy_rate(self) -> float:
        """The entropy h = sum_i pi_i H(P_i) of one more token, in nats."""
        rows_K = [entropy_of(row_K) for row_K in self.transition_KK]
        return float(self.stationary_K @ np.array(rows_K))


def markov(
    *,
    states: int = 10,
    concentration: float = 0.3,
    length: int = 20,
    seed: int = 0,
    data_size: int = 10_000,
    reward: RewardSpec | None = None,
) -> Task:
    """The task ``tokengym/Markov-v0``: write what a Markov chain finds probable.

    Args:
        states: K, how many tokens there are.
        concentration: of the Dirichlet distribution of the transitions; smaller is more certain.
        length: how many tokens every sequence has.
        seed: of the chain, and of the data that it writes.
        data_size: how many real sequences there are.
        reward: by default the mean log-probability under the source.
    """
    source = MarkovSource.random(seed, states=states, concentration=concentration, length=length)
    return source_task("Markov", source, data_size, seed, reward)


def dirichlet(seed: int, rows: int, columns: int, concentration: float) -> np.ndarray:
    """Random distributions, float64 (rows, columns).

    Raises:
        ValueError: a number that is not positive.
    """
    if rows < 1 or columns < 2 or not concentration > 0:
        raise ValueError(
            f"{rows} distributions over {columns} outcomes of concentration {concentration}; "
            "expected at least 1, at least 2, and more than 0"
        )
    drawn = np.random.default_rng(seed).dirichlet(np.full(columns, concentration), size=rows)
    drawn = np.maximum(drawn, 1e-12)  # small concentrations underflow to 0: nothing is impossible
    normalised: np.ndarray = drawn / drawn.sum(axis=1, keepdims=True)
    return normalised


def stationary(transition_KK: np.ndarray) -> np.ndarray:
    """The distribution pi with pi P = pi, float64 (K,).

    Raises:
        ValueError: there is more than one.
    """
    K = len(transition_KK)
    equations = np.vstack([transition_KK.T - np.eye(K), np.ones(K)])
    target = np.append(np.zeros(K), 1.0)
    pi_K, _, rank, _ = np.linalg.lstsq(equations, target)
    if rank < K:
        raise ValueError(
            "the chain falls apart into parts that never meet, so it has more than one stationary "
            "distribution; let every state lead to the others"
        )
    pi_K = np.clip(pi_K, 0.0, None)
    return np.asarray(pi_K / pi_K.sum())


def entropy_of(probabilities: np.ndarray) -> float:
    """The entropy of a distribution, in nats."""
    positive = probabilities[probabilities > 0]
    return float(-(positive * np.log(positive)).sum())


def checked_distributions(name: str, rows: np.ndarray) -> np.ndarray:
    """A matrix whose rows are distributions, as float64.

    Raises:
        ValueError: it is none.
    """
    rows = np.asarray(rows, np.float64)
    if rows.ndim != 2 or not np.allclose(rows.sum(axis=1), 1.0) or (rows < 0).any():
        raise ValueError(
            f"{name} has shape {rows.shape} and rows that sum to {rows.sum(axis=-1)}; expected a "
            "matrix of probabilities whose rows sum to 1"
        )
    return rows
