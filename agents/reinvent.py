"""REINVENT: learn the prior, made likelier where the score is high.

Olivecrona, Blaschke, Engkvist and Chen (2017), arXiv 1704.07555; Blaschke et al. (2020), J. Chem.
Inf. Model. 60, 5918 (REINVENT 2.0). The agent's log-likelihood of a sequence is drawn towards
log prior(y) + sigma R(y), by its squared distance; the prior is the agent as it was when learning
began, that is, as teacher forcing left it. The best sequences so far are learnt from again.

That is a regression, so it holds for whoever wrote the sequences: neither replay, nor experience
from a file, nor a batch that was written ahead (``overlap``) needs importance weights.

The diversity filter is a reward here, ``diversity_memory(qed, by="scaffold")``; it says of a batch
what the places were before it, not within it. Gradients are clipped, as everywhere.
"""

# Shapes: B sequences, T steps
from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from torch import Tensor

from .assembled import Purpose
from .base import Batch, SequenceAgent, Values
from .checks import check_positive
from .losses import augmented_likelihood_loss, token_log_probs
from .policies import Policy


class Reinvent(SequenceAgent):
    """REINVENT (Olivecrona et al., 2017): a prior, augmented by the score.

    Args:
        policy: ``"GRU"``, ``"LSTM"``, ``"Transformer"``, or a Policy.
        env: whose reward is learnt from, best in [0, 1].
        sigma: nats that a score of 1 adds to the prior's log-likelihood.
        learning_rate: of Adam, or a schedule of the remaining progress.
        replay_batch_size: of the best sequences so far, how many join every batch; 0: none.
        **options: those of every agent.
    """

    def __init__(
        self,
        policy: str | Policy = "GRU",
        env: GymEnv | str | None = None,
        *,
        sigma: float = 128.0,
        learning_rate: float | Schedule = 5e-4,
        replay_batch_size: int = 10,
        **options: Any,
    ) -> None:
        check_positive(sigma=sigma)
        self.sigma = sigma
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            replay_batch_size=replay_batch_size,
            **options,
        )

    def _before_learning(self) -> None:
        super()._before_learning()
        self._keep_companion("prior")

    def _update(self, batch: Batch, values: Values) -> dict[str, float]:
        rows = self._chosen(values)
        if not len(rows):
            self._warn_of_failures()
            return {}
        chosen = Batch(batch.sequences[rows], batch.written_BT[rows])
        parts = [self._log_probs(chosen)]
        scores = [values.scores.values_B[rows]]
        if self.replay_batch_size and len(self.replay):
            seed = self._seed_of(Purpose.REPLAY, self.rounds)
            replayed, known_B = self._draw_replayed(seed)
            parts.append(self._log_probs(Batch(replayed, replayed.mask_BT)))
            scores.append(known_B)
        log_probs_B, prior_B = (torch.cat(each) for each in zip(*parts, strict=True))
        loss = augmented_likelihood_loss(log_probs_B, prior_B, torch.cat(scores), self.sigma)
        return {
            "train/augmented_likelihood_loss": float(loss.detach()),
            "train/log_prior": float(prior_B[: len(rows)].mean()),
            "train/log_likelihood": float(log_probs_B[: len(rows)].detach().mean()),
            "train/grad_norm": self._update_policy(loss),
        }

    def _chosen(self, values: Values) -> Tensor:
        """The rows of the batch that are learnt from: here all that could be scored."""
        return values.scores.ok_B.nonzero()[:, 0]

    def _log_probs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Log-likelihoods of sequences, the agent's with its gradient, and the prior's."""
        tokens_BT, mask_BT = batch.cut()
        condition_B = batch.sequences.condition_B
        mine_BTA = self._logits(self.policy, tokens_BT, condition_B)
        mine_BT = token_log_probs(mine_BTA, tokens_BT, mask_BT)
        with torch.no_grad():
            prior_BTA = self._logits(self.companions["prior"], tokens_BT, condition_B)
        return mine_BT.sum(dim=1), token_log_probs(prior_BTA, tokens_BT, mask_BT).sum(dim=1)
