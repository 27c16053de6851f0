"""Layers of policies: dropout of one mask for all steps, an output tied to the embedding, turns."""

# Shapes: B sequences, T steps, A actions, H units, K of a head
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class VariationalDropout(nn.Dropout):
    """Dropout of the same units at every step of a sequence.

    Gal and Ghahramani (2016), arXiv 1512.05287. Their mask on the recurrent connections is left
    out: the fused passes of ``nn.GRU`` and ``nn.LSTM`` have no place for it.
    """

    def forward(self, x_BTH: Tensor) -> Tensor:
        """Drop units of (B, T, H)."""
        if not self.training or not self.p:
            return x_BTH
        return x_BTH * F.dropout(x_BTH.new_ones(len(x_BTH), 1, x_BTH.shape[2]), self.p)


class TiedOutput(nn.Linear):
    """A linear output whose rows are the embeddings of the actions, with a bias of its own.

    Press and Wolf (2017), arXiv 1608.05859. The embedding is scaled down to what an output layer
    begins with.
    """

    def __init__(self, embedding: nn.Embedding, actions: int) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = embedding.embedding_dim, actions
        nn.init.normal_(embedding.weight, std=embedding.embedding_dim**-0.5)
        self.bias = nn.Parameter(embedding.weight.new_zeros(actions))
        self._embedding = (embedding,)  # no module of this one: its weights are saved once

    @property
    def weight(self) -> Tensor:  # type: ignore[override] # no weight of its own
        """The embeddings of the actions (A, H)."""
        return self._embedding[0].weight[: self.out_features]


def rotation(start: int, steps: int, size: int, like: Tensor) -> Tensor:
    """Unit complex numbers of the angles m theta_i, theta_i = 10000^(-2i / K); (steps, K / 2).

    Su et al. (2021), arXiv 2104.09864, section 3.2.2.
    """
    rates = 10_000 ** (-torch.arange(0, size, 2, device=like.device, dtype=torch.float64) / size)
    places = torch.arange(start, start + steps, device=like.device, dtype=torch.float64)
    angles = torch.outer(places, rates)
    turns = torch.polar(torch.ones_like(angles), angles)
    return turns.to(torch.complex128 if like.dtype == torch.float64 else torch.complex64)


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Turn pairs of the last axis by what ``rotation`` gives."""
    pairs = torch.view_as_complex(x.to(turns.real.dtype).unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turns).flatten(-2).to(x.dtype)
