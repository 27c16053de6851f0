"""The critic: V(y_<t), what sequences that begin with these tokens are worth on average.

Either a network of its own, which begins as a copy of the policy with one output in the place of
A: what writes well reads well. Or one more output of the policy's own features, which saves its
pass over the sequences, and lets the value's error train the policy's features too.
"""

# Shapes: B sequences, T steps, A actions, H features
from __future__ import annotations

from copy import deepcopy
from typing import Literal

import torch
from torch import Tensor, nn

from .policies import Policy

CriticKind = Literal["own", "head"]


class Critic(nn.Module):
    """The values of prefixes, 0 everywhere to begin with.

    Args:
        policy: whose prefixes are valued.
        kind: ``"own"``, a network of its own, or ``"head"``, an output of the policy's features.

    Raises:
        TypeError: the policy has no ``output`` to be replaced.
    """

    def __init__(self, policy: Policy, kind: CriticKind) -> None:
        super().__init__()
        if not isinstance(getattr(policy, "output", None), nn.Linear):
            raise TypeError(
                f"{type(policy).__name__} has no last layer to make a critic from; call it "
                "self.output, an nn.Linear from features to logits"
            )
        value = nn.Linear(policy.output.in_features, 1, device=policy.device, dtype=policy.dtype)
        nn.init.zeros_(value.weight)
        nn.init.zeros_(value.bias)
        self.network: Policy | None = None
        self.head: nn.Linear | None = None
        if kind == "own":
            self.network = deepcopy(policy).eval()
            self.network.output = value
        else:
            self.head = value

    def beside(
        self, policy: Policy, tokens_BT: Tensor, condition_B: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits (B, T, A) and values (B, T); both at t know the tokens before t."""
        if self.network is not None:
            values_BT = self.network(tokens_BT, condition_B)[:, :, 0]
            return policy(tokens_BT, condition_B), values_BT
        assert self.head is not None
        features_BTH = policy.features(tokens_BT, condition_B)
        return policy.output(features_BTH), self.head(features_BTH)[:, :, 0]

    def values(
        self, policy: Policy, tokens_BT: Tensor, condition_B: Tensor | None = None
    ) -> Tensor:
        """Values (B, T) alone."""
        if self.network is not None:
            values_BT: Tensor = self.network(tokens_BT, condition_B)[:, :, 0]
            return values_BT
        return self.beside(policy, tokens_BT, condition_B)[1]

    @torch.no_grad()
    def begin_as(self, policy: Policy) -> None:
        """Read prefixes as the policy does now, where the critic has a network of its own."""
        if self.network is not None:
            weights = policy.state_dict().items()
            kept = {name: value for name, value in weights if not name.startswith("output.")}
            self.network.load_state_dict(kept, strict=False)
