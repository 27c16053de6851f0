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

from typing import Any

import torch
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from torch import Tensor

from ..envs import Sequences
from ..rewards import RepetitionPenalty
from .policies import Policy
from .seqgan import Baseline, SeqGAN


class ORGAN(SeqGAN):
    """ORGAN (Guimaraes et al., 2017): SeqGAN that pursues an objective as well.

    Args:
        policy: ``"GRU"``, ``"LSTM"``, ``"Transformer"``, or a Policy.
        env: whose reward is the mixture; without a discriminator in it this is plain REINFORCE.
        learning_rate: of Adam.
        batch_size: B, training sequences a round.
        completions: N, completions of every prefix.
        baseline: ``"leave_one_out"`` or ``"none"``.
        rollout_update: the share of the policy's weights that the rollout policy takes over after
            every update; 1 rolls out with the policy itself.
        prior_coefficient: weight of KL(policy || pretrained policy), a token, in the loss.
        repetition_penalty: multiply the objective's share by the paper's penalty p. A value v below
            0, of which the paper has none, becomes (2 - p) v: either way it falls by (1 - p) |v|.
        discriminator_steps: updates of each discriminator a round.
        discriminator_batch_size: real sequences an update, and as many generated ones.
        overlap: score finished sequences while their completions are made; see ``SeqGAN``.
        max_grad_norm: the gradient's norm is clipped to it.
        policy_kwargs: keywords of the policy, where it is made by name.
        stats_window_size: episodes that ``rollout/ep_rew_mean`` is the mean of.
        tensorboard_log: a folder for TensorBoard curves.
        verbose: 1 prints the log.
        seed: of everything random; None draws one.
        device: ``"auto"`` takes a GPU where there is one.
    """

    def __init__(
        self,
        policy: str | Policy = "GRU",
        env: GymEnv | str | None = None,
        learning_rate: float | Schedule = 1e-3,
        batch_size: int = 64,
        completions: int = 16,
        baseline: Baseline = "leave_one_out",
        rollout_update: float = 1.0,
        prior_coefficient: float = 0.0,
        repetition_penalty: bool = True,
        discriminator_steps: int = 5,
        discriminator_batch_size: int = 64,
        overlap: bool = False,
        max_grad_norm: float = 1.0,
        policy_kwargs: dict[str, Any] | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        self.repetition_penalty = repetition_penalty
        super().__init__(
            policy,
            env,
            learning_rate,
            batch_size,
            completions,
            baseline,
            rollout_update,
            prior_coefficient,
            discriminator_steps,
            discriminator_batch_size,
            overlap,
            max_grad_norm,
            policy_kwargs,
            stats_window_size,
            tensorboard_log,
            verbose,
            seed,
            device,
            _init_setup_model,
        )

    def _check_rewards(self) -> None:
        """Any reward will do."""

    def _shape_terminal(self, sequences: Sequences, values_B: Tensor) -> Tensor:
        if not self.repetition_penalty:
            return values_B
        assert self.task is not None
        penalty_B = RepetitionPenalty(self.task.canonical)(sequences).values_B
        return values_B - (1 - penalty_B) * values_B.abs()
