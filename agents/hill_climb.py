"""Augmented Hill-Climb: REINVENT that learns from the better part of every batch alone.

Thomas, O'Boyle, Bender and de Graaf (2022), J. Cheminformatics 14, 68. What scored badly pulls the
agent back to the prior as strongly as what scored well pulls it on; without it, far fewer sequences
have to be scored.
"""

# Shapes: B sequences
from __future__ import annotations

import math
from typing import Any

from stable_baselines3.common.type_aliases import GymEnv
from torch import Tensor

from .base import Values
from .policies import Policy
from .reinvent import Reinvent


class AugmentedHillClimb(Reinvent):
    """Augmented Hill-Climb (Thomas et al., 2022).

    Args:
        policy: ``"GRU"``, ``"LSTM"``, ``"Transformer"``, or a Policy.
        env: whose reward is learnt from, best in [0, 1].
        top_share: of the sequences that could be scored, the best that are learnt from, up to a
            whole one.
        sigma: nats that a score of 1 adds to the prior's log-likelihood.
        **options: those of ``Reinvent``.
    """

    def __init__(
        self,
        policy: str | Policy = "GRU",
        env: GymEnv | str | None = None,
        *,
        top_share: float = 0.5,
        sigma: float = 60.0,
        **options: Any,
    ) -> None:
        if not 0 < top_share <= 1:
            raise ValueError(f"top_share is {top_share}; expected more than 0, at most 1")
        self.top_share = top_share
        super().__init__(policy, env, sigma=sigma, **options)

    def _chosen(self, values: Values) -> Tensor:
        return best_rows(values.scores.values_B, super()._chosen(values), self.top_share)


def best_rows(values_B: Tensor, rows: Tensor, share: float) -> Tensor:
    """Of ``rows`` the ``share`` with the highest values, at least one if there is any; best first.

    Of equal values the earlier row.
    """
    order = values_B[rows].argsort(descending=True, stable=True)
    return rows[order[: math.ceil(share * len(rows))]]
