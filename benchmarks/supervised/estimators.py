"""Estimators of a draw's gradient: bias and spread against the exact one.

The gradient of E[f(y)] by four logits, y a one-hot draw, is known by enumeration. With
w = (-1, 0.5, 2, 1) and v = (1, -0.5, 0.5, 2)

    linear        f(y) = w . y
    quadratic     f(y) = sum_k w_k y_k^2
    squared sum   f(y) = (v . y)^2

at logits (1, 0.5, 0, -0.5), 200,000 draws each, in float64. Bias and spread of one draw are norms,
as shares of the exact gradient's. Floors: REINFORCE is unbiased for all three, and straight-through
softmax is exact for the linear one and has no spread there; bias falls with tau (all within four
standard errors); from tau 1 to 0.1, tenfold colder, the spread grows by 4 to 20.
"""

# Shapes: B draws, K = 4 classes
from __future__ import annotations

import math
from collections.abc import Callable

import torch
from tokengym.train.supervised.gumbel import gumbel_max, gumbel_softmax, straight_through
from torch import Tensor

from .case import Case, Row

Function = Callable[[Tensor], Tensor]
Estimator = Callable[[Function, Tensor], Tensor]

DRAWS = 200_000
LOGITS_K = torch.tensor([1.0, 0.5, 0.0, -0.5], dtype=torch.float64)
_W = torch.tensor([-1.0, 0.5, 2.0, 1.0], dtype=torch.float64)
_V = torch.tensor([1.0, -0.5, 0.5, 2.0], dtype=torch.float64)
FUNCTIONS: dict[str, Function] = {
    "linear": lambda y_BK: y_BK @ _W,
    "quadratic": lambda y_BK: y_BK.square() @ _W,
    "squared sum": lambda y_BK: (y_BK @ _V).square(),
}
TAUS = (1.0, 0.5, 0.1)


def cases() -> list[Case]:
    """One case."""
    return [Case("Gumbel estimators", estimators_of_draws)]


def estimators_of_draws(seed: int) -> list[Row]:
    """Bias and spread of every estimator for every function."""
    torch.manual_seed(seed)
    return [row for name, f in FUNCTIONS.items() for row in estimated(name, f)]


def estimated(name: str, f: Function) -> list[Row]:
    """The rows of one function."""
    rows: list[Row] = []
    bias, error, spread = {}, {}, {}
    for estimator, estimate in estimators().items():
        bias[estimator], error[estimator], spread[estimator] = quality(f, estimate)
    for estimator in bias:
        limit, good = "", True
        exact = estimator == "ST-softmax" and name == "linear"
        if estimator == "REINFORCE" or exact:
            limit = "exact" if exact else "0 within 4 standard errors"
            good = bias[estimator] <= 4 * error[estimator] + 1e-12
        elif warmer := _warmer(estimator):
            limit = f"< {bias[warmer]:.3f}, that of {warmer}"
            allowed = 4 * math.hypot(error[estimator], error[warmer])
            good = bias[estimator] < bias[warmer] + allowed
        rows.append(
            Row(f"{name}, {estimator}: bias", bias[estimator], error[estimator], limit, good)
        )
        limit, good = ("0", spread[estimator] < 1e-12) if exact else ("", True)
        if estimator.endswith(" 0.1"):
            warm = spread[estimator.replace(" 0.1", " 1.0")]
            limit = f"4 to 20 times {warm:.3g}, that of tau 1"
            good = 4 <= spread[estimator] / warm <= 20
        rows.append(Row(f"{name}, {estimator}: spread", spread[estimator], None, limit, good))
    return rows


def quality(f: Function, estimate: Estimator) -> tuple[float, float, float]:
    """Bias, its standard error, and the spread of one draw, as shares of the gradient's norm."""
    logits_BK = LOGITS_K.expand(DRAWS, -1).clone().requires_grad_()
    found_BK = estimate(f, logits_BK)
    exact_K = exact_gradient(f)
    norm, spread = float(exact_K.norm()), float(found_BK.var(dim=0).sum().sqrt())
    bias = float((found_BK.mean(dim=0) - exact_K).norm())
    return bias / norm, spread / math.sqrt(DRAWS) / norm, spread / norm


def exact_gradient(f: Function) -> Tensor:
    """Of sum_k p_k f(e_k) by the logits, (K,)."""
    logits_K = LOGITS_K.clone().requires_grad_()
    expected = logits_K.softmax(dim=0) @ f(torch.eye(len(logits_K), dtype=torch.float64))
    (gradient_K,) = torch.autograd.grad(expected, [logits_K])
    return gradient_K


def estimators() -> dict[str, Estimator]:
    """By name; each gives a gradient (B, K) for each row of logits."""
    found: dict[str, Estimator] = {"REINFORCE": reinforce, "ST-softmax": straight_through_softmax}
    for hard, name in ((False, "GS"), (True, "ST-GS")):
        for tau in TAUS:
            found[f"{name} tau {tau}"] = relaxed_estimator(tau, hard)
    return found


def reinforce(f: Function, logits_BK: Tensor) -> Tensor:
    """f(y) grad log p(y)."""
    drawn_B = gumbel_max(logits_BK.detach())
    one_hot_BK = torch.eye(logits_BK.shape[1], dtype=logits_BK.dtype)[drawn_B]
    log_probs_B = (logits_BK.log_softmax(dim=1) * one_hot_BK).sum(dim=1)
    return _gradient((f(one_hot_BK) * log_probs_B), logits_BK)


def straight_through_softmax(f: Function, logits_BK: Tensor) -> Tensor:
    """One-hot forward, the softmax's gradient backward."""
    y_BK = straight_through(gumbel_max(logits_BK.detach()), logits_BK.softmax(dim=1))
    return _gradient(f(y_BK), logits_BK)


def relaxed_estimator(tau: float, hard: bool) -> Estimator:
    """Gumbel-softmax at a temperature, straight-through where ``hard``."""
    return lambda f, logits_BK: _gradient(f(gumbel_softmax(logits_BK, tau, hard=hard)), logits_BK)


def _gradient(values_B: Tensor, logits_BK: Tensor) -> Tensor:
    (gradient_BK,) = torch.autograd.grad(values_B.sum(), [logits_BK])
    return gradient_BK


def _warmer(estimator: str) -> str | None:
    """The same at the next higher temperature."""
    name, _, tau = estimator.rpartition(" ")
    place = TAUS.index(float(tau)) if name else 0
    return f"{name} {TAUS[place - 1]}" if place else None
