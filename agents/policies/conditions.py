"""Conditions of policies: numbers that a whole sequence is written under, and where they come from.

A latent code z is such a condition, a class (one-hot) or wanted properties are others, and they may
stand side by side. A policy that is given none draws its own: a uniform mixture of M normal
distributions with means ``mean_MC`` and deviations ``scale_C``. One mode at 0 with deviation 1 is
the prior of a VRAE, several are a categorical mixture, and a number that is only looked up, such as
a class, has deviation 0.
"""

# Shapes: B sequences, C numbers of a condition, M modes
from __future__ import annotations

import torch
from torch import Tensor, nn

from ..counter_rng import Uniforms, fold_in

_STREAM = 0x7A  # apart from the uniforms of the tokens


class ConditionPrior(nn.Module):
    """Where a policy's conditions come from when it is given none.

    Args:
        size: C.
        modes: M.
    """

    mean_MC: Tensor
    scale_C: Tensor

    def __init__(self, size: int, modes: int = 1) -> None:
        super().__init__()
        self.register_buffer("mean_MC", torch.zeros(modes, size))
        self.register_buffer("scale_C", torch.ones(size))

    def draw(self, seed: int, b_B: Tensor) -> Tensor:
        """The conditions (B, C) of sequences number ``b_B``; each depends on (seed, b) alone."""
        uniforms = Uniforms(fold_in(seed, _STREAM), b_B, 0, torch.zeros_like(b_B))
        M, C = self.mean_MC.shape
        mode_B = (uniforms.at(0, torch.float64) * M).long()
        columns = [uniforms.at(step, torch.float64) for step in range(1, C + 1)]
        uniforms_BC = torch.stack(columns, dim=1) + 2.0**-25  # inside (0, 1): normals are finite
        normal_BC = torch.special.ndtri(uniforms_BC).to(self.mean_MC.dtype)
        drawn_BC: Tensor = self.mean_MC[mode_B] + self.scale_C * normal_BC
        return drawn_BC


def checked_condition(condition: Tensor | None, batch: int, size: int) -> Tensor | None:
    """A condition (B, C) that a policy can read; None where it reads none.

    Raises:
        ValueError: there is none and should be, or the reverse, or it has another shape.
    """
    if not size:
        if condition is not None:
            raise ValueError("this policy takes no condition; give none")
        return None
    if condition is None:
        raise ValueError(
            f"this policy reads a condition of {size} numbers, and the sequences have none; give "
            "one, as sample() leaves in Sequences.condition_B, or policy.draw_condition"
        )
    if condition.shape != (batch, size):
        raise ValueError(
            f"the condition has shape {tuple(condition.shape)}; expected {(batch, size)}, a row "
            "for each sequence"
        )
    return condition
