"""Teacher forcing: maximum likelihood, each token predicted from the true ones before it.

L = -sum_t log p(x_t | x_<t), the end token counted (Williams and Zipser, 1989); log p(x_t | x_<t,
c) with a condition. The beginning of every agent, ``agent.pretrain``, takes the same steps.
"""

# Shapes: B sequences, T steps
from __future__ import annotations

from ...agents.pretraining import log_likelihoods, teacher_forcing_loss
from ...envs import Sequences
from ..metrics import Estimate
from .conditional import ConditionalLearner
from .figures import likelihood_figures


class TeacherForcing(ConditionalLearner):
    """Maximum likelihood of real sequences, for any policy.

    ``ConditionalLearner`` and ``Learner`` document the arguments.
    """

    def training_step(self, batch: Sequences, step: int) -> dict[str, float]:
        """Down the negative log-likelihood, in nats a token."""
        nll = teacher_forcing_loss(self.policy, self._as_policy_reads(batch))
        norm = self.descend(nll)
        return {"nll": float(nll.detach()), "gradient_norm": norm}

    def evaluate(self, sequences: Sequences | list[str]) -> dict[str, Estimate]:
        """Figures of likelihood; and what is written for the sequences' conditions (asked.py).

        Args:
            sequences: held out, with their conditions where the learner has any that no objective
                names.
        """
        real = self._encoded(sequences)
        log_probs_BT = log_likelihoods(self.policy, self._as_policy_reads(real))
        return likelihood_figures(log_probs_BT, real) | self.asked_figures(real)

    def _as_policy_reads(self, batch: Sequences) -> Sequences:
        condition = self.condition_of(batch)
        return batch if condition is None else batch.given(condition.to(batch.tokens_BT.device))
