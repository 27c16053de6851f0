"""The network of a discriminator: tokens, embedded, to one output a sequence."""

# Shapes: B sequences, T steps, E embedding, R completions
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

PrefixStates = tuple[Tensor, ...]


class TokenNetwork(nn.Module, ABC):
    """Tokens to one output a sequence; subclasses define ``judge``.

    Attributes:
        embedding: of tokens; the padding's row is zero.
        output: the last layer.
        chunk: sequences scored at once on a CPU: bounds memory, and stays in its cache.
    """

    chunk = 256

    embedding: nn.Embedding
    output: nn.Linear

    @abstractmethod
    def judge(self, embedded_BTE: Tensor, mask_BT: Tensor) -> Tensor:
        """Outputs (B,) of embedded sequences that are real where the mask is True."""

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Outputs (B,), with gradients."""
        return self.judge(self.embedding(tokens_BT), self.mask(tokens_BT))

    def fast_outputs(self, tokens_BT: Tensor) -> Tensor:
        """The same without gradients; for networks that have a faster way."""
        return self(tokens_BT)  # type: ignore[no-any-return]

    def read_prefixes(self, tokens_BT: Tensor) -> PrefixStates | None:
        """What all completions of a prefix share, tensors (T, B, ...), those at t of t + 1 tokens.

        None where there is no such thing.
        """
        return None

    def completed_outputs(self, tokens_RT: Tensor, length: int, shared: PrefixStates) -> Tensor:
        """``fast_outputs`` of completions of ``length`` tokens, each longer than that.

        Args:
            tokens_RT: int64, whole sequences.
            length: of their prefixes.
            shared: what ``read_prefixes`` gave for the prefix of each row, tensors (R, ...).
        """
        raise NotImplementedError

    def mask(self, tokens_BT: Tensor) -> Tensor:
        """True at what is to be read: real tokens, and one of the padding of an empty sequence."""
        assert self.embedding.padding_idx is not None
        mask_BT = tokens_BT.ne(self.embedding.padding_idx)
        mask_BT[:, 0] = True
        return mask_BT


@contextmanager
def asked(network: nn.Module) -> Iterator[None]:
    """In eval mode and without gradients; the mode is put back."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(training)
