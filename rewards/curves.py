"""The curves of transforms: functions of a tensor of any shape, elementwise, NaN for NaN.

REINVENT 4 (Loeffler et al., 2024; ``reinvent/scoring/transforms``) and GuacaMol (Brown et al.,
2019; ``guacamol/score_modifier.py``).
"""

# Shapes: B values, K keys of a map
from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor


def sigmoid(x_B: Tensor, low: float, high: float, k: float) -> Tensor:
    """1 / (1 + 10 ** (-10 k (x - middle) / (high - low))); falls when k < 0."""
    steepness = math.log(10) * 10 * k / (high - low)
    return torch.sigmoid(steepness * (x_B - (low + high) / 2))


def double_sigmoid(x_B: Tensor, low: float, high: float, k: float) -> Tensor:
    """1 / (1 + 10 ** (-k d)), d the distance to the nearer of both ends, negative outside."""
    inside_B = torch.minimum(x_B - low, high - x_B)
    return torch.sigmoid(math.log(10) * k * inside_B)


def step(x_B: Tensor, low: float, high: float) -> Tensor:
    """1 where low <= x <= high, 0 elsewhere."""
    inside_B = (x_B >= low) & (x_B <= high)
    return torch.where(x_B.isnan(), x_B, inside_B.to(x_B.dtype))


def linear(x_B: Tensor, low: float, high: float) -> Tensor:
    """(x - low) / (high - low), clipped to [0, 1]."""
    return ((x_B - low) / (high - low)).clamp(0, 1) + 0.0  # -0.0 is written as 0


def gaussian(x_B: Tensor, mean: float, sd: float) -> Tensor:
    """exp(-((x - mean) / sd) ** 2 / 2)."""
    return torch.exp(-0.5 * ((x_B - mean) / sd).square())


def value_map(x_B: Tensor, values: Mapping[float, float], otherwise: float | None) -> Tensor:
    """values[x], compared in x's dtype; ``otherwise``, or NaN, for what is not a key."""
    found_BK = x_B[..., None] == x_B.new_tensor(list(values))
    rest = math.nan if otherwise is None else otherwise
    outcomes_K = x_B.new_tensor(list(values.values()))
    mapped_B = outcomes_K[found_BK.int().argmax(dim=-1)]
    mapped_B = torch.where(found_BK.any(dim=-1), mapped_B, rest)
    return mapped_B.masked_fill(x_B.isnan(), math.nan)
