"""How likely an answer is, given the latent utility of what was shown: pure functions.

One utility u lies behind every form of question. The location of a question is what an assessor
answers from, with ``discrimination`` d > 0 and ``bias`` b of their own:

- a pair: d (u_left - u_right) + b, so b is a preference for the left side. With location z and
  ties nu, P(left) : P(equal) : P(right) = exp(z / 2) : nu : exp(-z / 2). That is Bradley and Terry
  (1952) with the ties of Davidson (1970), "On extending the Bradley-Terry model to accommodate ties
  in paired comparison experiments", and the order effect of Davidson and Beaver (1977). Without a
  tie left wins with probability sigmoid(z).
- a scale: d u + b, so b shifts all thresholds. P(answer > k) = sigmoid(z - threshold_k): the
  cumulative logit of McCullagh (1980), "Regression models for ordinal data".
- yes or no: the scale of two levels.

Discrimination is that of item response theory (Birnbaum, 1968): who answers at random has d = 0.
"""

# Shapes: K answers to a question; ... anything in front: members, ratings
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .ratings import Form

COLUMNS: dict[Form, tuple[str, ...]] = {
    "pair": ("left", "equal", "right"),
    "yes_no": ("no", "yes"),
    "scale": ("1", "2", "3", "4", "5"),
}
"""The answers to each form of question, in the order of the columns below."""


def pair_log_probs(location: Tensor, log_ties: Tensor) -> Tensor:
    """Log-probabilities (..., 3) of left, equal, right.

    Args:
        location: (...), how much better the left one seems.
        log_ties: log nu, which broadcasts with it; -inf: no ties.
    """
    half = location / 2
    return torch.stack([half, log_ties.expand_as(half), -half], dim=-1).log_softmax(dim=-1)


def scale_log_probs(location: Tensor, thresholds: Tensor) -> Tensor:
    """Log-probabilities (..., K) of the levels of a scale, from the lowest.

    Args:
        location: (...), how good it seems.
        thresholds: (..., K - 1), rising; those in front broadcast with the location.
    """
    above = F.logsigmoid(location[..., None] - thresholds)  # log P(answer > k)
    up_to = F.logsigmoid(thresholds - location[..., None])
    # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a))
    apart = torch.log(-torch.expm1(thresholds[..., :-1] - thresholds[..., 1:]))
    between = above[..., :-1] + up_to[..., 1:] + apart
    return torch.cat([up_to[..., :1], between, above[..., -1:]], dim=-1)


def rising(raw: Tensor) -> Tensor:
    """Thresholds (..., K - 1) that rise, from any numbers: the first, then logs of the steps."""
    steps = torch.cat([raw[..., :1], raw[..., 1:].exp()], dim=-1)
    return steps.cumsum(dim=-1)


def answer_log_probs(form: Form, location: Tensor, shape: Tensor) -> Tensor:
    """Log-probabilities (..., K) of the answers to a question of this form.

    Args:
        form: of the question.
        location: (...), see the top of this file.
        shape: (..., 1) log ties of a pair; (..., K - 1) raw thresholds of a scale.
    """
    if form == "pair":
        return pair_log_probs(location, shape[..., 0])
    return scale_log_probs(location, rising(shape))
