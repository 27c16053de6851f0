"""From features to tokens a few rows at a time: the output layer and the draw in one.

With a large vocabulary the logits of a tile, and what a draw makes of them, are more than a cache
holds, and memory that is asked from the system for every step costs as much as the arithmetic
(measured). Here a hundred rows are multiplied, exponentiated and drawn from in buffers that are
kept, then the next hundred; so logits never leave the cache.
"""

# Shapes: R rows, U histories of rows, H features, A actions, of whole blocks
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..envs.categorical import TWO_LEVELS, excluding, find_by_blocks, whole_blocks
from .draws import Draws, PointDraws
from .policies import Policy, State
from .policies.recurrent import RecurrentPolicy
from .precision import at_least_float32

_LOGITS = 650_000  # of a buffer; half and twice as many took longer on a core with 1 MiB of L2


class Head:
    """Steps a policy and draws what it writes; the weights stay as they are."""

    def __init__(self, policy: RecurrentPolicy) -> None:
        self._policy, self._actions = policy, policy.vocabulary.num_actions
        A, output = whole_blocks(self._actions), policy.output
        more = A - self._actions  # which are never drawn
        self._weight_HA = F.pad(output.weight.T, (0, more))
        self._bias_A = F.pad(output.bias, (0, more), value=-torch.inf)
        self._logits_UA = torch.empty(max(1, _LOGITS // A), A, dtype=policy.dtype)
        self._wide_UA = at_least_float32(self._logits_UA)  # the same buffer, but for half precision
        self._weights_UA = torch.empty_like(self._wide_UA)

    def step(self, tokens_R: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token; features (R, H) and the new state."""
        return self._policy.step_features(tokens_R, state)

    def draw(
        self,
        step: int,
        features_UH: Tensor,
        draws: Draws,
        of_R: Tensor | None = None,
        exclude_U: Tensor | None = None,
    ) -> Tensor:
        """The tokens of a step, int64 (R,): those that ``draws`` would draw from the logits.

        Args:
            step: which.
            features_UH: after the tokens before it.
            draws: of the rows.
            of_R: which of the features are a row's; None where each has its own.
            exclude_U: a token for each of the features that is not drawn, -1 for none.
        """
        assert isinstance(draws, PointDraws)
        uniforms_R, most = draws.points(step, self._weights_UA.dtype), len(self._logits_UA)
        tokens_R = torch.empty_like(uniforms_R, dtype=torch.int64)
        for start in range(0, len(features_UH), most):
            here = slice(start, start + most)
            weights_UA = self._softmax(
                features_UH[here], None if exclude_U is None else exclude_U[here]
            )
            if of_R is None:
                tokens_R[here] = find_by_blocks(weights_UA, uniforms_R[here])
                continue
            rows = ((of_R >= start) & (of_R < start + most)).nonzero()[:, 0]
            tokens_R[rows] = find_by_blocks(weights_UA, uniforms_R[rows], of_R[rows] - start)
        return tokens_R.clamp_(max=self._actions)

    def _softmax(self, features_UH: Tensor, exclude_U: Tensor | None) -> Tensor:
        U = len(features_UH)
        logits_UA, wide_UA, weights_UA = (
            buffer[:U] for buffer in (self._logits_UA, self._wide_UA, self._weights_UA)
        )
        torch.addmm(self._bias_A, features_UH, self._weight_HA, out=logits_UA)
        if self._wide_UA is not self._logits_UA:
            wide_UA.copy_(logits_UA)
        if exclude_U is not None:
            excluding(wide_UA, exclude_U)
        return torch.softmax(wide_UA, dim=1, out=weights_UA)


def head_of(policy: Policy) -> Head | None:
    """The head of a recurrent policy of many actions on a CPU; None where logits do as well."""
    if not isinstance(policy, RecurrentPolicy) or type(policy).step is not RecurrentPolicy.step:
        return None
    large = policy.vocabulary.num_actions >= TWO_LEVELS
    return Head(policy) if large and policy.device.type == "cpu" else None
