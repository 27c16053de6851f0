"""REINFORCE: what scored better than expected becomes more probable.

Williams (1992), "Simple statistical gradient-following algorithms for connectionist reinforcement
learning". The finished sequence's score goes to each of its tokens, less a baseline:

- ``leave_one_out``: the mean score of the other sequences (Kool et al., 2019; RLOO, Ahmadian et
  al., 2024). Unbiased, and a constant reward changes nothing.
- ``mean``: that of all of them, which shortens the gradient by 1 - 1/B.
- ``none``.

SeqGAN, ORGAN differ from it in how a token is valued, and in nothing else.
"""

# Shapes: B sequences, T steps, A actions
from __future__ import annotations

import warnings
from typing import Any, Literal, get_args

from stable_baselines3.common.type_aliases import GymEnv
from torch import Tensor

from .advantages import leave_one_out_advantages, mean_advantages
from .base import Batch, Values
from .checks import check_least
from .losses import reinforce_loss, token_log_probs
from .policies import Policy
from .policy_gradient import PolicyGradientAgent

Baseline = Literal["leave_one_out", "mean", "none"]


class Reinforce(PolicyGradientAgent):
    """REINFORCE (Williams, 1992): rewarded for what the finished sequence is worth.

    Args:
        policy: ``"GRU"``, ``"LSTM"``, ``"Transformer"``, or a Policy.
        env: whose reward is learnt from.
        baseline: what a value is compared with: ``"leave_one_out"``, ``"mean"`` or ``"none"``.
        **options: those of every policy-gradient agent.
    """

    def __init__(
        self,
        policy: str | Policy = "GRU",
        env: GymEnv | str | None = None,
        *,
        baseline: Baseline = "leave_one_out",
        **options: Any,
    ) -> None:
        if baseline not in get_args(Baseline):
            known = ", ".join(map(repr, get_args(Baseline)))
            raise ValueError(f"baseline is {baseline!r}; expected one of {known}")
        self.baseline = baseline
        super().__init__(policy, env, **options)
        if baseline != "none":  # others to compare with
            check_least(2, batch_size=self.batch_size)

    def _update(self, batch: Batch, values: Values) -> dict[str, float]:
        advantages_BT, usable_BT = self._advantages(batch, values)
        if not usable_BT.any():
            warnings.warn(
                "no sequence of this round could be scored; it changes nothing", stacklevel=2
            )
            return {}
        tokens_BT, mask_BT = batch.cut()
        T = tokens_BT.shape[1]
        advantages_BT, usable_BT = advantages_BT[:, :T], usable_BT[:, :T]
        logits_BTA = self._logits(self.policy, tokens_BT)
        log_probs_BT = token_log_probs(logits_BTA, tokens_BT, mask_BT)
        loss = reinforce_loss(log_probs_BT, advantages_BT, usable_BT)
        metrics = {
            "train/policy_gradient_loss": float(loss.detach()),
            "train/advantage_std": float(advantages_BT[usable_BT].std(correction=0)),
            "train/entropy": float(-log_probs_BT.detach().sum() / mask_BT.sum()),
        }
        pulls, more = self._pulls(logits_BTA, tokens_BT, mask_BT)
        metrics |= more
        metrics["train/grad_norm"] = self._update_policy(loss + pulls)
        return metrics

    def _advantages(self, batch: Batch, values: Values) -> tuple[Tensor, Tensor]:
        """The values less the baseline, and where there are any."""
        if self.baseline == "none":
            return values.q_BT, values.usable_BT
        compare = {"leave_one_out": leave_one_out_advantages, "mean": mean_advantages}
        return compare[self.baseline](values.q_BT, batch.sequences.lengths_B, values.usable_BT)
