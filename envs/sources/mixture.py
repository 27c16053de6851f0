"""A mixture of Markov chains as a source: a hidden class is drawn once, then its chain writes.

log p(x) = logsumexp_c log p(x | c) - ln C. What a sequence tells about its class is
I(x; c) = ln C + E[sum_c p(c | x) ln p(c | x)]: a model with a latent variable has something to
learn here that one step of context does not show.
"""

# Shapes: B sequences, C classes, K states (= A actions: there is no end token)
from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ...rewards import RewardSpec
from ..sequences import Sequences
from ..task import Task
from .base import ENTROPY_SAMPLES, Entropy, State, StepSource, numbered
from .markov import checked_distributions, dirichlet, stationary
from .task import source_task


class MarkovMixtureSource(StepSource):
    """C equally probable Markov chains, each starting in its stationary distribution.

    Args:
        transitions_CKK: a transition matrix for each class.
        length: T, the fixed length of its sequences.

    Raises:
        ValueError: a matrix is none of transitions.
    """

    def __init__(self, transitions_CKK: np.ndarray, length: int = 20) -> None:
        chains = [checked_distributions("transitions_CKK", chain) for chain in transitions_CKK]
        self.length = length
        self.vocabulary = numbered(chains[0].shape[1])
        rows = np.stack([np.vstack([chain, stationary(chain)]) for chain in chains])
        self._log_rows = torch.from_numpy(rows).log().transpose(0, 1)  # (K + 1, C, K); bos = K

    @classmethod
    def random(
        cls,
        seed: int = 0,
        *,
        classes: int = 16,
        states: int = 10,
        concentration: float = 0.3,
        length: int = 20,
    ) -> MarkovMixtureSource:
        """Draw every row of every chain from a symmetric Dirichlet distribution."""
        rows = dirichlet(seed, classes * states, states, concentration)
        return cls(rows.reshape(classes, states, states), length)

    def initial_state(self, batch: int) -> State:
        """Log-probabilities of the classes (B, C), and of the last step's tokens (B, C, K)."""
        _, C, K = self._log_rows.shape
        return torch.full((batch, C), -math.log(C)).double(), torch.zeros((batch, C, K)).double()

    def step(self, token_B: Tensor, state: State) -> tuple[Tensor, State]:
        """Read a token: log-probabilities (B, K), the next state."""
        log_class_BC, log_next_BCK = state
        begins_B = token_B == self.vocabulary.bos
        index_B = token_B.masked_fill(begins_B, 0)
        log_seen_BC = log_next_BCK[torch.arange(len(token_B)), :, index_B]
        log_class_BC = (log_class_BC + log_seen_BC).log_softmax(dim=1)
        log_next_BCK = self._log_rows[token_B]
        mixed_BK = (log_class_BC[:, :, None] + log_next_BCK).logsumexp(dim=1)
        return mixed_BK, (log_class_BC, log_next_BCK)

    @torch.no_grad()
    def class_log_probs(self, sequences: Sequences) -> Tensor:
        """The log-posterior ln p(c | x), what sequences tell about their class, float64 (B, C)."""
        tokens_BT, mask_BT = sequences.tokens_BT.cpu(), sequences.mask_BT.cpu()
        log_class_BC, log_next_BCK = self.initial_state(len(tokens_BT))
        token_B = torch.full((len(tokens_BT),), self.vocabulary.bos)
        for t in range(tokens_BT.shape[1]):
            _, (_, log_next_BCK) = self.step(token_B, (log_class_BC, log_next_BCK))
            token_B = self._readable(tokens_BT[:, t])
            log_seen_BC = log_next_BCK[torch.arange(len(token_B)), :, token_B]
            log_class_BC = log_class_BC + log_seen_BC.masked_fill(~mask_BT[:, t, None], 0.0)
        return log_class_BC.log_softmax(dim=1)

    @torch.no_grad()
    def class_information(self) -> Entropy:
        """I(x; c) in nats, from 2,000 samples."""
        posterior_BC = self.class_log_probs(self.sample(ENTROPY_SAMPLES)).exp()
        left_B = torch.special.entr(posterior_BC).sum(dim=1)
        value = math.log(posterior_BC.shape[1]) - float(left_B.mean())
        return Entropy(value, float(left_B.std()) / math.sqrt(len(left_B)))


def markov_mixture(
    *,
    classes: int = 16,
    states: int = 10,
    concentration: float = 0.3,
    length: int = 20,
    seed: int = 0,
    data_size: int = 10_000,
    reward: RewardSpec | None = None,
) -> Task:
    """The task ``tokengym/MarkovMixture-v0``: write what one of C Markov chains finds probable.

    Args:
        classes: C, how many chains there are.
        states: K, how many tokens there are.
        concentration: of the Dirichlet distribution of the transitions; smaller is more certain.
        length: how many tokens every sequence has.
        seed: of the chains, and of the data that they write.
        data_size: how many real sequences there are.
        reward: by default the mean log-probability under the mixture.
    """
    source = MarkovMixtureSource.random(
        seed, classes=classes, states=states, concentration=concentration, length=length
    )
    return source_task("MarkovMixture", source, data_size, seed, reward)
