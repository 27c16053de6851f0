"""Encoders: a sequence as a diagonal normal distribution over codes z, q(z | x) or q(z | x, c).

Recurrent ones read from both ends and hand on both last states; the Transformer's is the mean over
tokens. Padding is never read, so a code depends neither on it nor on the rest of the batch.
"""

# Shapes: B sequences, T steps, D width of an embedding, C numbers of a condition, L of a code
from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from ...agents.checks import check_least
from ...envs import Vocabulary

EncoderKind = Literal["GRU", "LSTM", "Transformer"]


class Encoder(nn.Module):
    """The mean and the log-variance of a code, each (B, L).

    Args:
        vocabulary: what it reads.
        latent: L.
        kind: ``"GRU"``, ``"LSTM"`` or ``"Transformer"``.
        condition_size: C, read beside every token; 0 for none.
        embedding: D, the size of a token's embedding; of a Transformer a multiple of twice its
            heads.
        hidden: units of each direction; of a Transformer those of its feed-forward layers.
        layers: how many.
        heads: of a Transformer.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        latent: int,
        kind: EncoderKind = "GRU",
        condition_size: int = 0,
        embedding: int = 64,
        hidden: int = 128,
        layers: int = 1,
        heads: int = 4,
    ) -> None:
        super().__init__()
        check_least(1, embedding=embedding, hidden=hidden, layers=layers, heads=heads)
        if kind == "Transformer" and embedding % (2 * heads):
            raise ValueError(
                f"the encoder's embedding is {embedding} and heads {heads}; expected a multiple of "
                "twice the heads"
            )
        self.embedding = nn.Embedding(vocabulary.num_inputs, embedding)
        inputs = embedding + condition_size
        self.network: nn.Module
        if kind == "Transformer":
            self.project = nn.Linear(inputs, embedding)
            layer = nn.TransformerEncoderLayer(
                embedding, heads, hidden, dropout=0.0, batch_first=True, norm_first=True
            )
            self.network = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
            width = embedding
        else:
            network = {"GRU": nn.GRU, "LSTM": nn.LSTM}[kind]
            self.network = network(inputs, hidden, layers, batch_first=True, bidirectional=True)
            width = 2 * hidden
        self.head = nn.Linear(width, 2 * latent)

    def forward(
        self, tokens_BT: Tensor, lengths_B: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (B, L) of the codes of tokens, ``lengths_B`` of each row."""
        x_BTD = self.embedding(tokens_BT)
        if condition is not None:
            c_BTC = condition[:, None].expand(-1, tokens_BT.shape[1], -1)
            x_BTD = torch.cat([x_BTD, c_BTC.to(x_BTD.dtype)], dim=2)
        lengths_B = lengths_B.clamp(min=1)
        read = self._attend if isinstance(self.network, nn.TransformerEncoder) else self._recur
        mean_BL, log_var_BL = self.head(read(x_BTD, lengths_B)).chunk(2, dim=1)
        return mean_BL, log_var_BL

    def _recur(self, x_BTD: Tensor, lengths_B: Tensor) -> Tensor:
        packed = pack_padded_sequence(
            x_BTD, lengths_B.cpu(), batch_first=True, enforce_sorted=False
        )
        _, last = self.network(packed)
        h = last[0] if isinstance(last, tuple) else last  # (layers * 2, B, H), batch in the middle
        return torch.cat([h[-2], h[-1]], dim=1)

    def _attend(self, x_BTD: Tensor, lengths_B: Tensor) -> Tensor:
        T = x_BTD.shape[1]
        padding_BT = torch.arange(T, device=x_BTD.device) >= lengths_B[:, None]
        x_BTD = self.project(x_BTD)
        x_BTD = x_BTD + sinusoids(T, x_BTD)
        heard_BTD = self.network(x_BTD, src_key_padding_mask=padding_BT)
        kept_BTD = heard_BTD.masked_fill(padding_BT[:, :, None], 0.0)
        mean_BD: Tensor = kept_BTD.sum(dim=1) / lengths_B[:, None]
        return mean_BD


def sinusoids(steps: int, like: Tensor) -> Tensor:
    """Places as sines and cosines (T, D), D even (Vaswani et al., 2017, section 3.5)."""
    D = like.shape[-1]
    rates = torch.exp(-math.log(10_000.0) * torch.arange(0, D, 2, device=like.device) / D)
    angles = torch.arange(steps, device=like.device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1).to(like.dtype)


def drawn(mean_BL: Tensor, log_var_BL: Tensor) -> Tensor:
    """A code of each distribution: mean + deviation * noise, differentiable in both."""
    return mean_BL + (0.5 * log_var_BL).exp() * torch.randn_like(mean_BL)


def gaussian_kl(mean_BL: Tensor, log_var_BL: Tensor) -> Tensor:
    """KL(N(mean, exp(log_var)) || N(0, 1)) of each number, in nats, (B, L).

    0.5 (mean^2 + e^log_var - 1 - log_var); Kingma and Welling (2014), appendix B.
    """
    return 0.5 * (mean_BL.square() + log_var_BL.expm1() - log_var_BL)
