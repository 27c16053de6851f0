"""Sources: distributions over sequences whose likelihood, and so whose entropy, is known.

A source is told by what it says of the next token: a state that tokens move, and from it logits.
Sampling, likelihood and entropy follow from that alone (the chain rule), and so stand here once for
all of them. The entropy is the limit of every model: no model's mean negative log-likelihood on the
source's own samples can stay below it.
"""

# Shapes: B sequences, T steps, A actions
from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...rewards import Reward, Scores
from ..categorical import sample_categorical
from ..sequences import Sequences
from ..vocabulary import Vocabulary

if TYPE_CHECKING:
    from ..task import Source

State = tuple[Tensor, ...]

_LOGITS_AT_ONCE = 512 * 5000  # 10 MB in float32: what stays in cache was fastest
ENTROPY_SAMPLES = 2000  # for entropies without a formula

IMPOSSIBLE = -20.0
"""What a token that cannot be counts in a reward, nats: one in 10^8, below all that can be."""


@dataclass(frozen=True)
class Entropy:
    """An entropy in nats a sequence, with its standard error: 0 where it is exact."""

    value: float
    se: float = 0.0


class StepSource(ABC):
    """A source that gives the distribution of the next token from a state of the past.

    Subclasses define ``initial_state`` and ``step``, and ``entropy`` where it has a formula.

    Attributes:
        vocabulary: what it writes.
        length: T, the most tokens of a sequence that it samples, the end token counted.
        dtype: of its log-probabilities.
    """

    vocabulary: Vocabulary
    length: int
    dtype: torch.dtype = torch.float64

    @abstractmethod
    def initial_state(self, batch: int) -> State:
        """The state of ``batch`` empty sequences: tensors with B rows."""

    @abstractmethod
    def step(self, token_B: Tensor, state: State) -> tuple[Tensor, State]:
        """Read a token (``bos`` first): unnormalised log-probabilities (B, A), the next state.

        A token that cannot stand there may give any logits but must not raise.
        """

    @torch.no_grad()
    def sample(self, n: int, seed: int = 0) -> Sequences:
        """Draw ``n`` sequences; one seed, one result."""
        generator = torch.Generator().manual_seed(seed)
        uniforms_BT = torch.rand((n, self.length), generator=generator, dtype=self.dtype)
        chunks = [self._sample(chunk_BT) for chunk_BT in uniforms_BT.split(self._rows)]
        return Sequences.from_tokens(torch.cat(chunks), self.vocabulary)

    @torch.no_grad()
    def log_prob(self, sequences: Sequences) -> Tensor:
        """Log-probability of every token in nats, (B, T), 0 in the padding.

        -inf at the first token that cannot stand where it does, and at the tokens after it.
        Sequences that stop early without an end token are prefixes: the sum over their tokens is
        the probability of all that begins like them.

        Raises:
            ValueError: the sequences are of another vocabulary.
        """
        if sequences.vocabulary != self.vocabulary:
            raise ValueError(
                f"the source writes {self.vocabulary}, the sequences are of "
                f"{sequences.vocabulary}; encode them with the source's vocabulary"
            )
        tokens_BT = sequences.tokens_BT.cpu()
        chunks = [self._log_prob(chunk_BT) for chunk_BT in tokens_BT.split(self._rows)]
        log_probs_BT = torch.cat(chunks).to(sequences.tokens_BT.device)
        return log_probs_BT.masked_fill(~sequences.mask_BT, 0.0)

    @torch.no_grad()
    def entropy(self) -> Entropy:
        """The entropy of its sequences, by 2,000 samples.

        The mean over sampled prefixes of the exact entropy of the next token, summed over steps:
        the same expectation as of -log p, and less spread.
        """
        sequences = self.sample(ENTROPY_SAMPLES)
        chunks = [self._entropy(sequences[rows]) for rows in self._chunks(len(sequences))]
        entropy_B = torch.cat(chunks).double()
        return Entropy(float(entropy_B.mean()), float(entropy_B.std()) / math.sqrt(len(entropy_B)))

    @property
    def _rows(self) -> int:
        return max(_LOGITS_AT_ONCE // self.vocabulary.num_actions, 1)

    def _chunks(self, rows: int) -> Iterator[slice]:
        return (slice(first, first + self._rows) for first in range(0, rows, self._rows))

    def _sample(self, uniforms_BT: Tensor) -> Tensor:
        tokens_BT = torch.full(uniforms_BT.shape, self.vocabulary.pad)
        writing_B = torch.ones(len(uniforms_BT), dtype=torch.bool)
        for t, logits_BA in enumerate(self._steps(tokens_BT)):
            token_B = sample_categorical(logits_BA, uniforms_BT[:, t])
            tokens_BT[:, t] = token_B.masked_fill(~writing_B, self.vocabulary.pad)
            if self.vocabulary.eos is not None:
                writing_B &= token_B != self.vocabulary.eos
        return tokens_BT

    def _entropy(self, sequences: Sequences) -> Tensor:
        """The next token's entropy, summed over the steps of each sequence, (B,)."""
        entropy_B = torch.zeros(len(sequences), dtype=self.dtype)
        for t, logits_BA in enumerate(self._steps(sequences.tokens_BT)):
            terms_BA = torch.special.entr(logits_BA.softmax(dim=1))
            entropy_B += terms_BA.sum(dim=1).masked_fill(~sequences.mask_BT[:, t], 0.0)
        return entropy_B

    def _log_prob(self, tokens_BT: Tensor) -> Tensor:
        readable_BT = self._readable(tokens_BT)
        columns = [
            (logits_BA.gather(1, readable_BT[:, t, None])[:, 0] - logits_BA.logsumexp(dim=1))
            for t, logits_BA in enumerate(self._steps(tokens_BT))
        ]
        log_probs_BT = torch.stack(columns, dim=1) if columns else tokens_BT.to(self.dtype)
        wrong_BT = (log_probs_BT == -torch.inf).cumsum(dim=1) > 0
        return log_probs_BT.masked_fill(wrong_BT, -torch.inf)

    def _steps(self, tokens_BT: Tensor) -> Iterator[Tensor]:
        """The logits at each step; reads column t only after step t was given."""
        state = self.initial_state(len(tokens_BT))
        token_B = torch.full((len(tokens_BT),), self.vocabulary.bos)
        for t in range(tokens_BT.shape[1]):
            logits_BA, state = self.step(token_B, state)
            yield logits_BA
            token_B = self._readable(tokens_BT[:, t])

    def _readable(self, tokens: Tensor) -> Tensor:
        """Padding as the last action: what is read there is masked later."""
        return tokens.clamp(max=self.vocabulary.num_actions - 1)


class SourceLogProb(Reward):
    """The mean log-probability of a sequence's tokens under a source, in nats a token.

    A token that cannot stand where it does, and each after it, counts as ``IMPOSSIBLE``: a sequence
    that the source cannot write is a bad one, not a failure of the scorer, and an infinite value
    would make every mean and gradient of its batch infinite. So the longer a sequence is right from
    its beginning, the better.
    """

    name = "source_log_prob"
    credit = "rollouts"
    range = (-float("inf"), 0.0)

    def __init__(self, source: Source) -> None:
        self.source = source

    def __call__(self, sequences: Sequences) -> Scores:
        """Score B sequences."""
        log_probs_BT = self.source.log_prob(sequences)
        log_probs_BT = log_probs_BT.masked_fill(log_probs_BT == -torch.inf, IMPOSSIBLE)
        return Scores.of(self.name, log_probs_BT.sum(dim=1) / sequences.lengths_B.clamp(min=1))


@lru_cache(maxsize=4)
def numbered(num_tokens: int) -> Vocabulary:
    """The tokens ``0 .. num_tokens - 1``, written with spaces between, without an end token."""
    return Vocabulary.from_tokens(map(str, range(num_tokens)), "words", eos=False)
