"""From features to tokens a few rows at a time: the output layer and the draw in one.

With a large vocabulary the logits of a tile, and what a draw makes of them, are more than a cache
holds, and memory that is asked from the system for every step costs as much as the arithmetic
(measured). Here a hundred rows are multiplied, exponentiated and drawn from in buffers that are
kept, then the next hundred; so logits never leave the cache.
"""

# Shapes: R rows, H features, A actions
from __future__ import annotations

import torch
from torch import Tensor

from ..envs.categorical import TWO_LEVELS, find_by_blocks
from .draws import Draws, PointDraws
from .policies import Policy, State
from .policies.recurrent import RecurrentPolicy
from .precision import at_least_float32

_LOGITS = 640_000  # of a buffer; half and twice as many took longer on a core with 1 MiB of L2


class Head:
    """Steps a policy and draws what it writes; the weights stay as they are."""

    def __init__(self, policy: RecurrentPolicy) -> None:
        self._policy = policy
        A = policy.vocabulary.num_actions
        self._logits_RA = torch.empty(max(1, _LOGITS // A), A, dtype=policy.dtype)
        self._wide_RA = at_least_float32(self._logits_RA)  # the same buffer, but for half precision
        self._weights_RA = torch.empty_like(self._wide_RA)

    def step(self, tokens_R: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token; features (R, H) and the new state."""
        return self._policy.step_features(tokens_R, state)

    def draw(
        self, step: int, features_RH: Tensor, draws: Draws, exclude_R: Tensor | None = None
    ) -> Tensor:
        """The tokens of a step, int64 (R,): those that ``draws`` would draw from the logits.

        Args:
            step: which.
            features_RH: after the tokens before it.
            draws: of the rows.
            exclude_R: a token for each row that is not drawn.
        """
        assert isinstance(draws, PointDraws)
        uniforms_R, rows = draws.points(step, self._weights_RA.dtype), len(self._logits_RA)
        tokens_R = torch.empty_like(uniforms_R, dtype=torch.int64)
        for start in range(0, len(tokens_R), rows):
            here = slice(start, start + rows)
            excluded_R = None if exclude_R is None else exclude_R[here]
            weights_RA = self._softmax(features_RH[here], excluded_R)
            tokens_R[here] = find_by_blocks(weights_RA, uniforms_R[here])
        return tokens_R

    def _softmax(self, features_RH: Tensor, exclude_R: Tensor | None) -> Tensor:
        output, R = self._policy.output, len(features_RH)
        logits_RA, wide_RA, weights_RA = (
            buffer[:R] for buffer in (self._logits_RA, self._wide_RA, self._weights_RA)
        )
        torch.addmm(output.bias, features_RH, output.weight.T, out=logits_RA)
        if self._wide_RA is not self._logits_RA:
            wide_RA.copy_(logits_RA)
        if exclude_R is not None:
            wide_RA.scatter_(1, exclude_R[:, None], -torch.inf)
        return torch.softmax(wide_RA, dim=1, out=weights_RA)


def head_of(policy: Policy) -> Head | None:
    """The head of a recurrent policy of many actions on a CPU; None where logits do as well."""
    if not isinstance(policy, RecurrentPolicy) or type(policy).step is not RecurrentPolicy.step:
        return None
    large = policy.vocabulary.num_actions >= TWO_LEVELS
    return Head(policy) if large and policy.device.type == "cpu" else None
