"""Estimators of a draw's gradient: bias and spread against the exact one.

The gradient of E[f(y)] by four logits, y a one-hot draw, is known by enumeration. With
w = (-1, 0.5, 2, 1) and v = (1, -0.5, 0.5, 2)

    linear        f(y) = w . y
    quadratic     f(y) = sum_k w_k y_k^2
    squared sum   f(y) = (v . y)^2

at logits (1, 0.5, 0, -0.5), 200,000 draws each, in float64. Bias and spread of one draw are norms,
as shares of the exact gradient's.

Every estimator is held against its like that does not use this library: REINFORCE and
straight-through softmax by their formula for each draw of torch's multinomial, relaxed draws are
torch's RelaxedOneHotCategorical, and straight through it. Floors: the four means and the spread
agree within four standard errors (of 24 estimators and 5 figures each, one seed in 130 would miss
by chance); REINFORCE is unbiased, straight-through softmax is exact for the linear function and has
no spread there; bias falls with tau (within four standard errors); from tau 1 to 0.1 the spread
grows by 4 to 20.
"""

# Shapes: B draws, K = 4 classes
from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from tokengym.train.supervised.gumbel import gumbel_max, gumbel_softmax, straight_through
from torch import Tensor
from torch.distributions import RelaxedOneHotCategorical

from ..results import Figures, Row, exactly
from .case import Case, Part, named, within

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
OFF = 4.0  # standard errors
TINY = 1e-12  # of what has no spread


def part(quick: bool) -> Part:
    """Every function and estimator."""
    draws = 2_000 if quick else DRAWS
    names = [f"{name}, {estimator}" for name in FUNCTIONS for estimator in estimators()]
    return Part(
        "Gumbel estimators",
        f"The gradient of E[f(y)] by four logits, {draws:,} draws: bias and spread of one draw as "
        "shares of the exact gradient's norm. *Off*: the largest difference of a mean or the "
        "spread from the same estimator by torch's own distributions, in standard errors.",
        {"bias": "bias", "bias_error": "its standard error", "spread": "spread", "off": "off"},
        [Case("", partial(figures, draws), {"draws": draws})],
        rows_within=names,
        missed=missed,
    )


def figures(draws: int, seed: int) -> Figures:
    """Bias and spread of every estimator for every function."""
    torch.manual_seed(seed)
    found: Figures = {}
    for name, f in FUNCTIONS.items():
        for estimator, estimate in estimators().items():
            drawn_BK = gradients(f, estimate, draws)
            row = quality(drawn_BK, exact_gradient(f))
            row["off"] = exactly(off(drawn_BK, reference(f, estimator, draws)))
            found |= named(f"{name}, {estimator}", row)
    return found


def missed(rows: list[Row]) -> list[str]:
    """Estimators that are not what they should be."""
    found = []
    for seed, each in enumerate(figures for row in rows for figures in row.seeds):
        for f in FUNCTIONS:
            for estimator in estimators():
                row = within(each, f"{f}, {estimator}")
                warm = within(each, f"{f}, {warmer(estimator)}")
                hot = within(each, f"{f}, {estimator.rpartition(' ')[0]} {TAUS[0]}")
                if not is_right(f, estimator, row, warm, hot):
                    found.append(f"{f}, {estimator}, seed {seed}: {row}")
    return found


def is_right(f: str, estimator: str, row: Figures, warm: Figures, hot: Figures) -> bool:
    """The floors of one estimator: of itself, and beside the next warmer and the warmest."""
    bias, error, spread = (row[name].value for name in ("bias", "bias_error", "spread"))
    good = row["off"].value <= OFF
    if estimator == "ST-softmax" and f == "linear":
        return good and bias < 1e-12 and spread < 1e-12
    if estimator == "REINFORCE":
        good &= bias <= OFF * error
    if warm:
        allowed = OFF * math.hypot(error, warm["bias_error"].value)
        good &= bias < warm["bias"].value + allowed
    if estimator.endswith(f" {TAUS[-1]}"):
        good &= 4 <= spread / hot["spread"].value <= 20
    return good


def gradients(f: Function, estimate: Estimator, draws: int) -> Tensor:
    """One for each draw, (B, K)."""
    return estimate(f, LOGITS_K.expand(draws, -1).clone().requires_grad_())


def quality(found_BK: Tensor, exact_K: Tensor) -> Figures:
    """Bias, its standard error, and the spread of one draw, as shares of the gradient's norm."""
    norm, spread = float(exact_K.norm()), float(found_BK.var(dim=0).sum().sqrt())
    bias = float((found_BK.mean(dim=0) - exact_K).norm())
    return {
        "bias": exactly(bias / norm),
        "bias_error": exactly(spread / math.sqrt(len(found_BK)) / norm),
        "spread": exactly(spread / norm),
    }


def off(found_BK: Tensor, like_BK: Tensor) -> float:
    """The largest difference of means, and of variances, in standard errors.

    Args:
        found_BK: gradients.
        like_BK: the same by other means.
    """
    both = [torch.cat([each, squares(each)], dim=1) for each in (found_BK, like_BK)]
    difference = both[0].mean(dim=0) - both[1].mean(dim=0)
    error = sum(each.var(dim=0) / len(each) for each in both)
    assert isinstance(error, Tensor)
    return float((difference.abs() / (error.sqrt() + TINY)).max())


def squares(each_BK: Tensor) -> Tensor:
    """Squared distance from the mean, (B, 1)."""
    return (each_BK - each_BK.mean(dim=0)).square().sum(dim=1, keepdim=True)


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


def warmer(estimator: str) -> str:
    """The same at the next higher temperature; itself without one is no estimator's name."""
    name, _, tau = estimator.rpartition(" ")
    place = TAUS.index(float(tau)) if name else 0
    return f"{name} {TAUS[place - 1]}" if place else ""


# --- the same by other means ----------------------------------------------------------------------


def reference(f: Function, estimator: str, draws: int) -> Tensor:
    """Gradients (B, K) of an estimator of this name, without this library's draws."""
    name, _, tau = estimator.rpartition(" ")
    if not name:
        return enumerated(f, estimator, draws)
    logits_BK = LOGITS_K.expand(draws, -1).clone().requires_grad_()
    soft_BK = RelaxedOneHotCategorical(torch.tensor(float(tau)), logits=logits_BK).rsample()
    if name.startswith("ST"):
        hard_BK = F.one_hot(soft_BK.argmax(dim=1), len(LOGITS_K)).double()
        return _gradient(f(hard_BK + soft_BK - soft_BK.detach()), logits_BK)
    return _gradient(f(soft_BK), logits_BK)


def enumerated(f: Function, estimator: str, draws: int) -> Tensor:
    """What each of the K draws gives by its formula, (B, K), drawn by torch's multinomial."""
    p_K, one_hot_KK = LOGITS_K.softmax(dim=0), torch.eye(len(LOGITS_K), dtype=LOGITS_K.dtype)
    if estimator == "REINFORCE":
        of_draw_KK = f(one_hot_KK)[:, None] * (one_hot_KK - p_K)
    else:
        y_KK = one_hot_KK.clone().requires_grad_()
        (slope_KK,) = torch.autograd.grad(f(y_KK).sum(), [y_KK])
        of_draw_KK = (slope_KK - (slope_KK @ p_K)[:, None]) * p_K
    return of_draw_KK[torch.multinomial(p_K, draws, replacement=True)]
