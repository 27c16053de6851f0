"""REINFORCE: what scored better than expected becomes more probable.

Williams (1992), "Simple statistical gradient-following algorithms for connectionist reinforcement
learning". The finished sequence's score goes to each of its tokens, less a baseline:

- ``leave_one_out``: the mean score of the other sequences (Kool et al., 2019; RLOO, Ahmadian et
  al., 2024). Unbiased, and a constant reward changes nothing.
- ``mean``: that of all of them, which shortens the gradient by 1 - 1/B.
- ``group``: that of the group that answers one prompt, as in GRPO (Shao et al., 2024). Unlike GRPO,
  advantages are not divided by the group's standard deviation, nor by lengths, which bends the
  gradient ("Dr. GRPO", Liu et al., 2025); ``scale_by_std`` is GRPO's own.
- ``learned``: a critic's estimate, from the tokens so far, of what the sequence will score.
- ``none``.

SeqGAN and ORGAN differ from it in how a token is valued, and in nothing else.
"""

# Shapes: B sequences, T steps, A actions
from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from stable_baselines3.common.type_aliases import GymEnv
from torch import Tensor

from ..envs import Sequences
from ..rewards.checks import check_choice, check_whole
from .advantages import group_advantages, leave_one_out_advantages, mean_advantages
from .assembled import Purpose
from .base import Batch, Values
from .counter_rng import fold_in
from .critic import CriticKind
from .losses import importance_weights, reinforce_loss, token_log_probs
from .parallel import sample_together
from .policies import Policy
from .policy_gradient import PolicyGradientAgent

Baseline = Literal["leave_one_out", "mean", "group", "learned", "none"]


class Reinforce(PolicyGradientAgent):
    """REINFORCE (Williams, 1992): rewarded for what the finished sequence is worth.

    With ``overlap`` a batch comes from the policy one update before; importance weights of whole
    sequences make its gradient that of the policy as it is.

    Args:
        policy: ``"GRU"``, ``"LSTM"``, ``"Transformer"``, or a Policy.
        env: whose reward is learnt from.
        baseline: what a value is compared with: ``"leave_one_out"``, ``"mean"``, ``"group"``,
            ``"learned"`` or ``"none"``.
        prompts: what the sequences begin with; each group has the next of them.
        group_size: sequences in a group, where there are prompts or the baseline is the group's.
        scale_by_std: divide by the standard deviation of the group, as GRPO does.
        **options: those of every policy-gradient agent.
    """

    def __init__(
        self,
        policy: str | Policy = "GRU",
        env: GymEnv | str | None = None,
        *,
        baseline: Baseline = "leave_one_out",
        prompts: list[str] | None = None,
        group_size: int = 8,
        scale_by_std: bool = False,
        **options: Any,
    ) -> None:
        check_choice(get_args(Baseline), baseline=baseline)
        if scale_by_std and baseline != "group":
            raise ValueError(f"scale_by_std is of baseline='group', and baseline is {baseline!r}")
        if isinstance(prompts, str) or (prompts is not None and not prompts):
            raise ValueError(f"prompts is {prompts!r}; expected a list of some, or None for none")
        self.baseline = baseline
        self.prompts, self.group_size, self.scale_by_std = prompts, group_size, scale_by_std
        super().__init__(policy, env, **options)
        check_whole(1 if baseline in ("none", "learned") else 2, batch_size=self.batch_size)
        if prompts is not None or baseline == "group":
            check_whole(2 if baseline == "group" else 1, group_size=group_size)
            if self.batch_size % group_size:
                raise ValueError(
                    f"batch_size is {self.batch_size} and group_size {group_size}; expected whole "
                    "groups in a batch"
                )

    def _critic_kind(self) -> CriticKind | None:
        return "own" if self.baseline == "learned" else None

    def _write(self, round: int) -> Batch:
        """The training sequences of a round, in groups where there are prompts."""
        if self.prompts is None:
            return super()._write(round)
        groups = self.batch_size // self.group_size
        seed = self._seed_of(Purpose.TRAINING_SEQUENCES, round)
        return self._written_to(self.prompts, round * groups, groups, seed)

    def _written_to_judge(self, n: int, seed: int) -> Sequences:
        if self.prompts is None:
            return super()._written_to_judge(n, seed)
        groups, first = -(-n // self.group_size), seed % len(self.prompts)
        return self._written_to(self.prompts, first, groups, seed).sequences[:n]

    def _read_inputs(self) -> None:
        super()._read_inputs()
        if self.task is not None:
            for prompt in self.prompts or []:
                self.task.encode_prompt(prompt)

    def _written_to(self, prompts: list[str], first: int, groups: int, seed: int) -> Batch:
        """Groups of sequences that begin with the prompts in turn, from number ``first`` on."""
        assert self.task is not None
        tokens, log_probs, lengths, conditions = [], [], [], []
        for group in range(groups):
            prompt = prompts[(first + group) % len(prompts)]
            written = sample_together(
                self.policy,
                self.group_size,
                max_length=self.max_length,
                seed=fold_in(seed, group),
                prompt=prompt,
                constraint=self.constraint,
            )
            tokens.append(written.tokens_BT)
            assert written.log_probs_BT is not None
            log_probs.append(written.log_probs_BT)
            if written.condition_B is not None:
                conditions.append(written.condition_B)
            lengths += [len(self.task.encode_prompt(prompt))] * self.group_size
        found = Sequences.from_tokens(torch.cat(tokens), self.policy.vocabulary)
        sequences = replace(
            found,
            log_probs_BT=torch.cat(log_probs),
            condition_B=torch.cat(conditions) if conditions else None,
        )
        steps_T = torch.arange(self.max_length, device=self.device)
        after_BT = steps_T >= torch.tensor(lengths, device=self.device)[:, None]
        return Batch(sequences, sequences.mask_BT & after_BT)

    def _update(self, batch: Batch, values: Values) -> dict[str, float]:
        tokens_BT, mask_BT = batch.cut()
        T = tokens_BT.shape[1]
        condition_B = batch.sequences.condition_B
        expected_BT = self._expected(tokens_BT, condition_B)
        advantages_BT, usable_BT = self._advantages(batch, values, expected_BT)
        advantages_BT, usable_BT = advantages_BT[:, :T], usable_BT[:, :T]
        if not usable_BT.any():
            self._warn_of_failures()
            return {}
        logits_BTA = self._logits(self.policy, tokens_BT, condition_B)
        log_probs_BT = token_log_probs(logits_BTA, tokens_BT, mask_BT)
        metrics: dict[str, float] = {}
        weights_B = torch.ones_like(log_probs_BT[:, 0])
        if batch.ahead:
            assert batch.sequences.log_probs_BT is not None
            then_BT = batch.sequences.log_probs_BT[:, :T].masked_fill(~mask_BT, 0.0)
            weights_B = importance_weights(log_probs_BT, then_BT)
            metrics["train/largest_weight"] = float(weights_B.max())
        loss = reinforce_loss(log_probs_BT, weights_B[:, None] * advantages_BT, usable_BT)
        metrics |= {
            "train/policy_gradient_loss": float(loss.detach()),
            "train/advantage_std": float(advantages_BT[usable_BT].std(correction=0)),
            "train/entropy": float(-log_probs_BT.detach().sum() / mask_BT.sum()),
        }
        if expected_BT is not None:
            error = (expected_BT - values.q_BT[:, :T])[usable_BT].square().mean()
            metrics["train/value_loss"] = float(error.detach())
            loss = loss + error  # of the critic's own weights alone
        prior_BTA = self._prior_logits(tokens_BT, condition_B)
        pulls, more = self._pulls(logits_BTA, prior_BTA, mask_BT)
        metrics |= more
        metrics["train/grad_norm"] = self._update_policy(loss + pulls)
        return metrics

    def _expected(self, tokens_BT: Tensor, condition_B: Tensor | None) -> Tensor | None:
        """What the critic expects before each token; None without one."""
        if self.value_network is None:
            return None
        with torch.backends.cudnn.flags(enabled=False):
            return self.value_network.values(self.policy, tokens_BT, condition_B)

    def _advantages(
        self, batch: Batch, values: Values, expected_BT: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The values less the baseline, and where there are any."""
        q_BT, usable_BT = values.q_BT, values.usable_BT
        lengths_B = batch.sequences.lengths_B
        if expected_BT is not None:
            T = expected_BT.shape[1]
            return q_BT[:, :T] - expected_BT.detach(), usable_BT[:, :T]
        if self.baseline == "leave_one_out":
            return leave_one_out_advantages(q_BT, lengths_B, usable_BT)
        if self.baseline == "mean":
            return mean_advantages(q_BT, lengths_B, usable_BT)
        if self.baseline == "group":
            size, scale = self.group_size, self.scale_by_std
            return group_advantages(q_BT, lengths_B, usable_BT, group_size=size, scale_by_std=scale)
        return q_BT, usable_BT
