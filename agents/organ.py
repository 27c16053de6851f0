"""ORGAN: objective-reinforced generative adversarial networks.

Guimaraes, Sanchez-Lengeling, Outeiral, Farias and Aspuru-Guzik (2017), arXiv 1705.10843. SeqGAN
whose reward is lambda D + (1 - lambda) O: a discriminator keeps what is written realistic, an
objective O that nobody can differentiate says what is wanted.

The mixture is the environment's reward, ``0.5 * ConvDiscriminator() + 0.5 * QED() * Valid()``.
Unlike the paper, an objective scores the finished sequence once instead of every completion, and
its value goes to every token: the same expected gradient at a thousandth of the calls.
"""

# Shapes: B sequences
from __future__ import annotations

import warnings
from typing import Any

from stable_baselines3.common.type_aliases import GymEnv
from torch import Tensor

from ..envs import Sequences
from ..rewards import Objective, RepetitionPenalty
from .policies import Policy
from .seqgan import SeqGAN


class ORGAN(SeqGAN):
    """ORGAN (Guimaraes et al., 2017): SeqGAN that pursues an objective as well.

    Args:
        policy: ``"GRU"``, ``"LSTM"``, ``"Transformer"``, or a Policy.
        env: whose reward is the mixture; without a discriminator in it this is plain REINFORCE.
        repetition_penalty: multiply the objective's share by the paper's penalty p. A value v below
            0, of which the paper has none, becomes (2 - p) v: either way it falls by (1 - p) |v|.
        **options: those of ``SeqGAN``.
    """

    def __init__(
        self,
        policy: str | Policy = "GRU",
        env: GymEnv | str | None = None,
        *,
        repetition_penalty: bool = True,
        **options: Any,
    ) -> None:
        self.repetition_penalty = repetition_penalty
        super().__init__(policy, env, **options)

    def _check_rewards(self) -> None:
        """Any reward will do; the penalty is of finished sequences."""
        assert self.task is not None
        each = self.task.reward.components()
        rolled = [o.name for o in each if isinstance(o, Objective) and o.credit == "rollouts"]
        if self.repetition_penalty and rolled:
            warnings.warn(
                f"{', '.join(rolled)}: scores completions, which the repetition penalty leaves as "
                "they are; let it score finished sequences, credit='terminal', or say "
                "repetition_penalty=False",
                stacklevel=2,
            )

    def _shape_terminal(self, sequences: Sequences, values_B: Tensor) -> Tensor:
        if not self.repetition_penalty:
            return values_B
        assert self.task is not None
        penalty_B = RepetitionPenalty(self.task.canonical)(sequences).values_B
        return values_B - (1 - penalty_B) * values_B.abs()
