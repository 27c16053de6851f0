"""A causal Transformer policy with cached keys (Vaswani et al., 2017, arXiv 1706.03762).

Pre-norm blocks (Xiong et al., 2020, arXiv 2002.04745) with GELU, and rotary positions (Su et al.,
2021, arXiv 2104.09864), so that no length is built in. A step reads one token and attends to the
keys and values of those before it, which are its state.

Completions of one prefix share the prefix's keys: ``branch`` keeps them once for each prefix, and
a step multiplies them with the queries of all its completions at once.

A condition c (B, C) is added to every token's embedding, by a linear layer.
Left out: grouped queries.
"""

# Shapes: B sequences, T steps, A actions, D width, N heads, K = D / N, R rows (B, or completions),
#         P prefixes that rows share, M the most rows of one prefix, S steps since the prefix,
#         C numbers of a condition
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...envs import Vocabulary
from .base import Policy, State
from .conditions import ConditionPrior, checked_condition
from .layers import TiedOutput, rotate, rotation


class TransformerPolicy(Policy):
    """A causal Transformer; see the top of this file.

    Args:
        vocabulary: what it reads and writes.
        width: D, of the residual stream.
        layers: how many blocks.
        heads: N, which divides the width into parts of even size.
        dropout: share of units dropped while training, after the embedding and in every block.
        tied: the output layer has the embedding's weights (see layers.py).
        condition_size: C, numbers of a condition that it reads; 0 for none.
        modes: M, of what conditions are drawn from where none is given (see conditions.py).
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
        condition_size: int = 0,
        modes: int = 1,
    ) -> None:
        super().__init__()
        if min(width, layers, heads) < 1 or width % (2 * heads) or not 0 <= dropout < 1:
            raise ValueError(
                f"width {width}, layers {layers}, heads {heads} should be at least 1, the width a "
                f"multiple of twice the heads, and dropout {dropout} in [0, 1)"
            )
        if min(modes, condition_size + 1) < 1:
            raise ValueError(
                f"modes {modes} should be at least 1, condition_size {condition_size} at least 0"
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
        self.condition_size = condition_size
        if condition_size:
            self._config |= dict(condition_size=condition_size, modes=modes)
            self.of_condition = nn.Linear(condition_size, width)
            self.prior = ConditionPrior(condition_size, modes)

    def config(self) -> dict[str, Any]:
        """The constructor's keywords."""
        return dict(self._config)

    def features(self, tokens_BT: Tensor, condition: Tensor | None = None) -> Tensor:
        """The residual stream after the last block, normalised (B, T, D)."""
        c_BC = self._read_condition(len(tokens_BT), condition)
        x_BTD = self.dropout(self._embedded(self.shifted(tokens_BT), c_BC[:, None]))
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
        c_BC = self._read_condition(batch, condition)
        empty = self.embedding.weight.new_zeros(batch, self.heads, 0, self.width // self.heads)
        rows = torch.arange(batch, device=self.device)
        caches = (empty,) * (2 * len(self.blocks))
        return Cache(rows, torch.zeros_like(rows), c_BC, caches, caches).pack()

    def step(self, tokens_B: Tensor, state: State) -> tuple[Tensor, State]:
        """One token; logits (B, A)."""
        cache = Cache.unpack(state)
        turns = rotation(cache.length, 1, self.width // self.heads, self.embedding.weight)
        x_RD = self._embedded(tokens_B, cache.condition_RC)
        own: list[Tensor] = []
        for layer, block in enumerate(cast(Iterable[Block], self.blocks)):
            x_RD, keys, values = block.step(x_RD, turns, cache, layer)
            own += [keys, values]
        return self.output(self.norm(x_RD)), replace(cache, own=tuple(own)).pack()

    def _read_condition(self, batch: int, condition: Tensor | None) -> Tensor:
        """The condition (B, C), of no columns where none is read."""
        condition = checked_condition(condition, batch, self.condition_size)
        if condition is None:
            return self.embedding.weight.new_zeros(batch, 0)
        return condition.to(self.device, self.dtype)

    def _embedded(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """Tokens embedded, with the share of their sequence's condition."""
        embedded: Tensor = self.embedding(tokens)
        return embedded + self.of_condition(condition) if self.condition_size else embedded

    def select(self, state: State, rows: Tensor) -> State:
        """The state of these rows; shared prefixes stay where they are."""
        cache = Cache.unpack(state)
        own = tuple(tensor[rows] for tensor in cache.own)
        owner_R, c_RC = cache.owner_R[rows], cache.condition_RC[rows]
        return Cache(owner_R, _places(owner_R), c_RC, cache.prefix, own).pack()

    def branch(self, state: State, rows: Tensor) -> State:
        """The state of ``len(rows)`` rows that go on from these; each prefix is kept once."""
        owners, owner_R = rows.unique(return_inverse=True)
        cache = Cache.unpack(self.select(state, owners))
        c_RC = cache.condition_RC[owner_R]
        prefix = tuple(
            torch.cat([shared[cache.owner_R], own], dim=2) if shared.shape[2] else own
            for shared, own in zip(cache.prefix, cache.own, strict=True)
        )
        own = tuple(tensor.new_zeros(len(rows), *tensor[0, :, :0].shape) for tensor in prefix)
        return Cache(owner_R, _places(owner_R), c_RC, prefix, own).pack()


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
        condition_RC: what it is written under; no columns where nothing is read.
        prefix: keys and values of every layer, (P, N, t, K) each.
        own: of every layer, (R, N, S, K) each, written since.
    """

    owner_R: Tensor
    slot_R: Tensor
    condition_RC: Tensor
    prefix: tuple[Tensor, ...]
    own: tuple[Tensor, ...]

    @classmethod
    def unpack(cls, state: State) -> Cache:
        """From the flat tuple that a state is."""
        owner_R, slot_R, condition_RC, *caches = state
        half = len(caches) // 2
        return cls(owner_R, slot_R, condition_RC, tuple(caches[:half]), tuple(caches[half:]))

    def pack(self) -> State:
        """As one flat tuple."""
        return (self.owner_R, self.slot_R, self.condition_RC, *self.prefix, *self.own)

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
