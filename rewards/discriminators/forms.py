"""The forms in which a discriminator's output is a reward.

  probability   D, that a sequence is real
  logit         the network's output as it is: with bce the log odds, else the critic's own scale
  log_ratio     log D - log(1 - D), the reward of AIRL (Fu et al., 2018, arXiv 1710.11248): at the
                optimum log(p / q), whose expectation under the policy is minus a divergence
  rank          the share of the other sequences of the batch that are less real, ties counted half

With bce the log ratio is the logit. With least squares the output is itself an estimate of D, so
there the two differ. Hinge, relativistic and Wasserstein outputs estimate no probability; their
logits can be brought to [0, 1] by a transform, ``sigmoid(discriminator, low=-1, high=1)``.

A rank is relative to its batch: its mean is 0.5 whatever is written.
"""

# Shapes: B sequences
from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from .calibration import share_below
from .losses import Loss

Form = Literal["probability", "logit", "log_ratio", "rank"]

THRESHOLDS: dict[str, float] = {"bce": 0.0, "least_squares": 0.5, "hinge": 0.0}
"""Above which output a sequence is taken for real; other losses know only differences."""

_NEAREST = 1e-3  # how near to 0 and 1 an estimate of D by least squares may come in a log ratio


def default_form(loss: Loss) -> Form:
    """A probability where the loss estimates one, else the output as it is."""
    return "probability" if estimates_probability(loss) else "logit"


def estimates_probability(loss: Loss) -> bool:
    """Whether an optimum of this loss gives p / (p + q)."""
    return loss in ("bce", "least_squares")


def probability(loss: Loss, outputs_B: Tensor) -> Tensor:
    """The estimate of p / (p + q), in [0, 1]."""
    assert estimates_probability(loss)
    return outputs_B.sigmoid() if loss == "bce" else outputs_B.clamp(0, 1)


def log_ratio(loss: Loss, outputs_B: Tensor) -> Tensor:
    """The estimate of log(p / q), in nats."""
    assert estimates_probability(loss)
    return outputs_B if loss == "bce" else outputs_B.clamp(_NEAREST, 1 - _NEAREST).logit()


def rank(outputs_B: Tensor) -> Tensor:
    """(number below + half the number of ties) / (B - 1); 0.5 for a sequence alone."""
    B = len(outputs_B)
    if B < 2:
        return torch.full_like(outputs_B, 0.5)
    with_itself_B = share_below(outputs_B, outputs_B) * B
    return ((with_itself_B - 0.5) / (B - 1)).to(outputs_B.dtype)


def worth(form: Form, loss: Loss, outputs_B: Tensor) -> Tensor:
    """The reward (B,) for the network's outputs."""
    if form == "probability":
        return probability(loss, outputs_B)
    if form == "log_ratio":
        return log_ratio(loss, outputs_B)
    return rank(outputs_B) if form == "rank" else outputs_B


def bounds(form: Form, loss: Loss) -> tuple[float, float]:
    """The lowest and the highest reward."""
    if form in ("probability", "rank"):
        return (0.0, 1.0)
    clamped = form == "log_ratio" and loss == "least_squares"
    highest = math.log((1 - _NEAREST) / _NEAREST) if clamped else math.inf
    return (-highest, highest)
