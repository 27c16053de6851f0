"""A causal Transformer policy with cached keys (Vaswani et al., 2017, arXiv 1706.03762).

Pre-norm blocks (Xiong et al., 2020, arXiv 2002.04745) with GELU, and rotary positions (Su et al.,
2021, arXiv 2104.09864), so that no length is built in. A step reads one token and attends to the
keys and values of those before it, which are its state.

Completions of one prefix share the prefix's keys: ``branch`` keeps them once for each prefix, and
a step multiplies them with the queries of all its completions at once.
Left out: grouped queries.
"""

# Shapes: B sequences, T steps, A actions, D width, N heads, K = D / N, R rows (B, or completions),
#         P prefixes that rows share, M the most rows of one prefix, S steps since the prefix
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...envs import Vocabulary
from .base import Policy, State, refuse_condition
from .layers import TiedOutput


class TransformerPolicy(Policy):
    """A causal Transformer; see the top of this file.

    Args:
        vocabulary: what it reads and writes.
        width: D, of the residual stream.
        layers: how many blocks.
        heads: N, which divides the width into parts of even size.
        dropout: share of units dropped while training, after the embedding and in every block.
        tied: the output layer has the embedding's weights (see layers.py).
    """

    name = "Transformer"

    def __init__(
        self,
        vocabulary: Vocabulary,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.0,
        tied: bool = False,
    ) -> None:
        super().__init__()
        if min(width, layers, heads) < 1 or width % (2 * heads) or not 0 <= dropout < 1:
            raise ValueError(
                f"width {width}, layers {layers}, heads {heads} should be at least 1, the width a "
                f"multiple of twice the heads, and dropout {dropout} in [0, 1)"
            )
        self.vocabulary = vocabulary
        self._config = dict(width=width, layers=layers, heads=heads, dropout=dropout, tied=tied)
        self.width, self.heads = width, heads
        self.embedding = nn.Embedding(vocabulary.num_inputs, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        A = vocabulary.num_actions
        self.output = TiedOutput(self.embedding, A) if tied else nn.Linear(width, A)

    def config(self) -> dict[str, Any]:
        """The constructor's keywords."""
        return dict(self._config)

    def features(self, tokens_BT: Tensor, condition: Tensor | None = None) -> Tensor:
        """The residual stream after the last block, normalised (B, T, D)."""
        refuse_condition(condition)
        x_BTD = self.dropout(self.embedding(self.shifted(tokens_BT)))
        turns = rotation(0, tokens_BT.shape[1], self.width // self.heads, x_BTD)
        for block in self.blocks:
            x_BTD = block(x_BTD, turns)
        normed_BTD: Tensor = self.norm(x_BTD)
        return normed_BTD

    def forward(self, tokens_BT: Tensor, condition: Tensor | None = None) -> Tensor:
        """Logits (B, T, A) in one pass."""
        logits_BTA: Tensor = self.output(self.features(tokens_BT, condition))
        return logits_BTA

    def initial_state(self, batch: int, condition: Tensor | None = None) -> State:
        """No keys and no values yet: every row is its own, empty, prefix."""
        refuse_condition(condition)
        empty = self.embedding.weight.new_zeros(batch, self.heads, 0, self.width // self.heads)
        rows = torch.arange(batch, device=self.device)
        caches = (empty,) * (2 * len(self.blocks))
        return Cache(rows, torch.zeros_like(rows), caches, caches).pack()

    def step(self, tokens_B: Tensor, state: State) -> tuple[Tensor, State]:
        """One token; logits (B, A)."""
        cache = Cache.unpack(state)
        turns = rotation(cache.length, 1, self.width // self.heads, self.embedding.weight)
        x_RD = self.embedding(tokens_B)
        own: list[Tensor] = []
        for layer, block in enumerate(cast(Iterable[Block], self.blocks)):
            x_RD, keys, values = block.step(x_RD, turns, cache, layer)
            own += [keys, values]
        return self.output(self.norm(x_RD)), Cache(
            cache.owner_R, cache.slot_R, cache.prefix, tuple(own)
        ).pack()

    def select(self, state: State, rows: Tensor) -> State:
        """The state of these rows; shared prefixes stay where they are."""
        cache = Cache.unpack(state)
        own, owner_R = tuple(tensor[rows] for tensor in cache.own), cache.owner_R[rows]
        return Cache(owner_R, _places(owner_R), cache.prefix, own).pack()

    def branch(self, state: State, rows: Tensor) -> State:
        """The state of ``len(rows)`` rows that go on from these; each prefix is kept once."""
        owners, owner_R = rows.unique(return_inverse=True)
        cache = Cache.unpack(self.select(state, owners))
        prefix = tuple(
            torch.cat([shared[cache.owner_R], own], dim=2) if shared.shape[2] else own
            for shared, own in zip(cache.prefix, cache.own, strict=True)
        )
        own = tuple(tensor.new_zeros(len(rows), *tensor[0, :, :0].shape) for tensor in prefix)
        return Cache(owner_R, _places(owner_R), prefix, own).pack()


class Block(nn.Module):
    """Attention and a feed-forward layer, each added to what it reads."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.feed_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor, turns: Tensor) -> Tensor:
        """Every step attends to itself and those before it."""
        q, k, v = (
            self.qkv(self.attention_norm(x_BTD))
            .unflatten(2, (3, self.heads, -1))
            .permute(2, 0, 3, 1, 4)
        )
        heard = F.scaled_dot_product_attention(
            rotate(q, turns), rotate(k, turns), v, is_causal=True
        )
        x_BTD = x_BTD + self.dropout(self.project(heard.transpose(1, 2).flatten(2)))
        return self._feed(x_BTD)

    def step(
        self, x_RD: Tensor, turns: Tensor, cache: Cache, layer: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One more step of R rows; also their keys and values with this step's."""
        qkv = self.qkv(self.attention_norm(x_RD)).unflatten(1, (3, self.heads, -1))
        q_RNK, k_RNK, v_RNK = qkv.unbind(1)
        q_RNK, k_RNK = rotate(q_RNK, turns), rotate(k_RNK, turns)
        keys = torch.cat([cache.own[2 * layer], k_RNK[:, :, None]], dim=2)
        values = torch.cat([cache.own[2 * layer + 1], v_RNK[:, :, None]], dim=2)
        shared_keys, shared_values = cache.prefix[2 * layer : 2 * layer + 2]
        q_RNK = q_RNK / q_RNK.shape[2] ** 0.5
        scores = (keys @ q_RNK[..., None])[..., 0]
        if (t := shared_keys.shape[2]) == 0:
            heard = (scores.softmax(2)[:, :, None] @ values)[:, :, 0]
        else:
            before = cache.gather(cache.grouped(q_RNK) @ shared_keys.mT)
            weights = torch.cat([before, scores], dim=2).softmax(2)
            heard = cache.gather(cache.grouped(weights[:, :, :t]) @ shared_values)
            heard = heard + (weights[:, :, None, t:] @ values)[:, :, 0]
        return self._feed(x_RD + self.project(heard.flatten(1))), keys, values

    def _feed(self, x: Tensor) -> Tensor:
        fed: Tensor = x + self.dropout(self.down(F.gelu(self.up(self.feed_norm(x)))))
        return fed


@dataclass(frozen=True)
class Cache:
    """Keys and values of R rows: those of the prefix they share, then their own.

    Args:
        owner_R: which prefix a row goes on from.
        slot_R: its number among the rows of that prefix.
        prefix: keys and values of every layer, (P, N, t, K) each.
        own: of every layer, (R, N, S, K) each, written since.
    """

    owner_R: Tensor
    slot_R: Tensor
    prefix: tuple[Tensor, ...]
    own: tuple[Tensor, ...]

    @classmethod
    def unpack(cls, state: State) -> Cache:
        """From the flat tuple that a state is."""
        half = len(state) // 2 + 1
        return cls(state[0], state[1], state[2:half], state[half:])

    def pack(self) -> State:
        """As one flat tuple."""
        return (self.owner_R, self.slot_R, *self.prefix, *self.own)

    @property
    def length(self) -> int:
        """How many tokens were read."""
        return self.prefix[0].shape[2] + self.own[0].shape[2]

    def grouped(self, rows: Tensor) -> Tensor:
        """(R, N, X) by prefix, (P, N, M, X), zero where a prefix has fewer rows than M."""
        P, N = self.prefix[0].shape[:2]
        groups = rows.new_zeros(P, int(self.slot_R.max()) + 1, N, rows.shape[2])
        groups[self.owner_R, self.slot_R] = rows
        return groups.transpose(1, 2)

    def gather(self, groups: Tensor) -> Tensor:
        """Back to rows, (R, N, X)."""
        return groups.transpose(1, 2)[self.owner_R, self.slot_R]


def _places(owner_R: Tensor) -> Tensor:
    """The number of each row among those of its owner."""
    order = owner_R.argsort(stable=True)
    ranked = owner_R[order]
    slot_R = torch.empty_like(owner_R)
    places = torch.arange(len(ranked), device=ranked.device)
    slot_R[order] = places - torch.searchsorted(ranked, ranked)
    return slot_R


def rotation(start: int, steps: int, size: int, like: Tensor) -> Tensor:
    """Unit complex numbers of the angles m theta_i, theta_i = 10000^(-2i / K); (steps, K / 2)."""
    rates = 10_000 ** (-torch.arange(0, size, 2, device=like.device, dtype=torch.float64) / size)
    places = torch.arange(start, start + steps, device=like.device, dtype=torch.float64)
    angles = torch.outer(places, rates)
    turns = torch.polar(torch.ones_like(angles), angles)
    return turns.to(torch.complex128 if like.dtype == torch.float64 else torch.complex64)


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Turn pairs of the last axis (Su et al., section 3.2.2)."""
    pairs = torch.view_as_complex(x.to(turns.real.dtype).unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turns).flatten(-2).to(x.dtype)
