"""Teacher forcing: maximum likelihood, each token predicted from the true ones before it.

L = -sum_t log p(x_t | x_<t), the end token counted (Williams and Zipser, 1989). The beginning of
every agent, ``agent.pretrain``, takes the same steps.
"""

# Shapes: B sequences, T steps
from __future__ import annotations

from ...agents.pretraining import teacher_forcing_loss
from ...envs import Sequences
from .learner import Learner


class TeacherForcing(Learner):
    """Maximum likelihood of real sequences, for any policy; ``Learner`` documents the arguments."""

    def training_step(self, batch: Sequences, step: int) -> dict[str, float]:
        """Down the negative log-likelihood, in nats a token."""
        nll = teacher_forcing_loss(self.policy, batch)
        norm = self.descend(nll)
        return {"nll": float(nll.detach()), "gradient_norm": norm}
