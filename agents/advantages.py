"""Advantages: how much better than expected a token was; pure functions of a batch's values.

Whatever is taken off the value of a token has to be the same whichever token was written, or the
gradient is another one. All of them take values (B, T), numbers of tokens and where values are
usable (False where one is missing: it failed; such cells count for nobody), and return the
advantages, 0 where there is none, and where there is one.

A sequence that has ended keeps its last value: it is its own completion. Equal values give
advantages of exactly 0: values are compared with one of them before anything is summed.
"""

# Shapes: B sequences, T steps
from __future__ import annotations

import torch
from torch import Tensor

_LEAST_STD = 1e-4  # added to a group's standard deviation, which may be 0


def leave_one_out_advantages(
    q_BT: Tensor, lengths_B: Tensor, usable_BT: Tensor
) -> tuple[Tensor, Tensor]:
    """Q minus the mean Q of the other sequences at the same step (Kool et al., 2019).

    RLOO (Ahmadian et al., 2024) where the value is the finished sequence's. The baseline of a token
    depends on other sequences only, so the gradient stays unbiased.
    """
    centred_BT, usable_BT = _held(q_BT, lengths_B, usable_BT)
    others_BT = usable_BT.sum(dim=0) - usable_BT.long()
    baseline_BT = (centred_BT.sum(dim=0) - centred_BT) / others_BT.clamp(min=1)
    real_BT = usable_BT & (others_BT > 0) & _inside(q_BT, lengths_B)
    return torch.where(real_BT, centred_BT - baseline_BT, 0.0), real_BT


def mean_advantages(
    q_BT: Tensor, lengths_B: Tensor, usable_BT: Tensor, *, scale_by_std: bool = False
) -> tuple[Tensor, Tensor]:
    """Q minus the mean Q of all sequences at the same step, the token's own among them.

    That makes it 1 - 1/B times the leave-one-out advantage: the gradient is shorter, by a known
    factor, and not bent.

    Args:
        q_BT: values; anything in the padding.
        lengths_B: numbers of tokens.
        usable_BT: where there is one.
        scale_by_std: divide by the standard deviation at that step, as GRPO does; that bends it:
            batches that agree count for more (Liu et al., 2025, "Dr. GRPO", section 3.1).
    """
    centred_BT, usable_BT = _held(q_BT, lengths_B, usable_BT)
    count_T = usable_BT.sum(dim=0)
    off_BT = centred_BT - centred_BT.sum(dim=0) / count_T.clamp(min=1)
    if scale_by_std:
        squares_T = off_BT.square().masked_fill(~usable_BT, 0.0).sum(dim=0)
        off_BT = off_BT / ((squares_T / (count_T - 1).clamp(min=1)).sqrt() + _LEAST_STD)
    real_BT = usable_BT & (count_T > 1) & _inside(q_BT, lengths_B)
    return torch.where(real_BT, off_BT, 0.0), real_BT


def group_advantages(
    q_BT: Tensor,
    lengths_B: Tensor,
    usable_BT: Tensor,
    *,
    group_size: int,
    scale_by_std: bool = False,
) -> tuple[Tensor, Tensor]:
    """GRPO: ``mean_advantages`` within each group of rows that answer one prompt.

    Shao et al. (2024), arXiv 2402.03300, section 4.1.2; without ``scale_by_std`` that of Dr. GRPO
    (Liu et al., 2025, arXiv 2503.20783).
    """
    groups = zip(*(table.split(group_size) for table in (q_BT, lengths_B, usable_BT)), strict=True)
    found = [mean_advantages(*group, scale_by_std=scale_by_std) for group in groups]
    advantages, real = zip(*found, strict=True)
    return torch.cat(advantages), torch.cat(real)


def _held(q_BT: Tensor, lengths_B: Tensor, usable_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Values less one of them, 0 where there is none, and where there is; both held at the end."""
    steps_T = torch.arange(q_BT.shape[1], device=q_BT.device)
    held_BT = torch.minimum(steps_T, lengths_B[:, None] - 1)  # after the end, the last value
    usable_BT, q_BT = usable_BT.gather(1, held_BT), q_BT.gather(1, held_BT)
    origin = q_BT[usable_BT][0] if usable_BT.any() else q_BT.new_zeros(())
    return torch.where(usable_BT, q_BT - origin, 0.0), usable_BT


def _inside(q_BT: Tensor, lengths_B: Tensor) -> Tensor:
    return torch.arange(q_BT.shape[1], device=q_BT.device) < lengths_B[:, None]
