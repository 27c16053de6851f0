"""What was asked for against what was written: how well conditions steer.

What cannot be measured, such as a text that is no molecule, has no part in errors and accuracies;
its share stands beside them.
"""

# Shapes: B sequences, C properties
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...envs import Sequences
from ...rewards import Objective, Reward
from ..metrics import Estimate, mean_of, share_of
from ..metrics.estimate import LEAST, by_influence


def class_figures(asked_B: Tensor, found_B: Tensor) -> dict[str, Estimate]:
    """``class_accuracy`` of what could be measured, and ``measured``, the share of it.

    Args:
        asked_B: the classes, int64.
        found_B: those of what was written, NaN where there is none.
    """
    known_B = ~found_B.isnan()
    right = int((found_B[known_B] == asked_B[known_B]).sum())
    known = int(known_B.sum())
    return {"class_accuracy": share_of(right, known), "measured": share_of(known, len(known_B))}


def property_figures(
    names: Sequence[str], asked_BC: Tensor, found_BC: Tensor
) -> dict[str, Estimate]:
    """``NAME_error``, absolute, and ``NAME_correlation`` (Pearson's) of each, and ``measured``.

    A writer that does not heed what is asked has a correlation of 0.

    Args:
        names: of the C properties.
        asked_BC: their values that were asked for.
        found_BC: those of what was written, NaN where there are none.
    """
    known_B = ~found_BC.isnan().any(dim=1)
    figures = {"measured": share_of(int(known_B.sum()), len(known_B))}
    asked, found = (each[known_B].double().cpu().numpy() for each in (asked_BC, found_BC))
    for name, asked_B, found_B in zip(names, asked.T, found.T, strict=True):
        figures[f"{name}_error"] = mean_of(np.abs(found_B - asked_B).tolist())
        figures[f"{name}_correlation"] = correlation(asked_B, found_B)
    return figures


def correlation(x_B: np.ndarray, y_B: np.ndarray) -> Estimate:
    """Pearson's r, with the delta method's standard error; NaN where one of them is constant."""
    n = len(x_B)
    if n < LEAST or min(np.ptp(x_B), np.ptp(y_B)) == 0:
        return Estimate(math.nan, math.nan, n)
    x_B, y_B = ((each - each.mean()) / each.std() for each in (x_B, y_B))
    r = float((x_B * y_B).mean())
    return by_influence(r, x_B * y_B - r * (x_B**2 + y_B**2) / 2)


def measured(rewards: Sequence[Reward], sequences: Sequences) -> Tensor:
    """What each reward says of each sequence, (B, C); NaN in a row of which one says nothing.

    That is a failure, or a text without a canonical form where a reward has such forms: of what is
    no molecule there are no rings to count.
    """
    found = [reward(sequences) for reward in rewards]
    known_B = torch.stack([each.ok_B for each in found]).all(dim=0)
    known_B &= _has_form(rewards, sequences.texts).to(known_B.device)
    values_BC = torch.stack([each.values_B for each in found], dim=1)
    return values_BC.masked_fill(~known_B[:, None], torch.nan)


def _has_form(rewards: Sequence[Reward], texts: Sequence[str]) -> Tensor:
    """Whether a text has every canonical form that these know, bool (B,)."""
    objectives = [part for each in rewards for part in each.walk() if isinstance(part, Objective)]
    forms = {each.canonical for each in objectives if each.canonical is not None}
    return torch.tensor([all(form(text) is not None for form in forms) for text in texts])
