"""The Gumbel distribution, and what is made of it: exact and relaxed draws of a category.

Gumbel(mu, b) is the law of the largest of many: cdf exp(-exp(-(x - mu) / b)). With standard noise
g, argmax(logits + g) is a draw from softmax(logits) (the Gumbel-max trick), and the k largest are k
draws without replacement (Vieira, 2014; Kool et al., 2019, arXiv 1903.06059).

Softmax((logits + g) / tau) relaxes the draw, so that gradients reach the logits (Jang et al., 2017,
arXiv 1611.01144; Maddison et al., 2017, arXiv 1611.00712). Its largest entry is a draw from
softmax(logits) at every temperature; its expectation is softmax(logits) only as tau goes to 0. A
straight-through draw is one-hot and has the relaxed draw's gradient.

Noise is -log of an exponential draw, in float32 at least: -log(-log(u)) of a float32 uniform has no
tail beyond 16.6. Half precision is drawn and normalised in float32, and rounded at the end.
"""

# Shapes: ... any, K categories
from __future__ import annotations

import math

import torch
from torch import Tensor, distributions

EULER = 0.5772156649015329
_SKEWNESS = 1.1395470994046486  # 12 sqrt(6) zeta(3) / pi^3
_EXCESS_KURTOSIS = 12 / 5


class Gumbel(distributions.Gumbel):
    """``torch.distributions.Gumbel`` with the tail of its draws, its median and higher moments.

    Args:
        loc: mu, the mode.
        scale: b, more than 0.
    """

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws of ``sample_shape + batch_shape``, with gradients to ``loc`` and ``scale``."""
        shape = self._extended_shape(torch.Size(sample_shape))
        return self.loc + self.scale * gumbel_noise(self.loc.expand(shape))

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws without gradients."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """-(w + exp(-w)) - ln b, where w = (x - mu) / b; in nats."""
        standard = self._standard(value)
        return -(standard + (-standard).exp()) - self.scale.log()

    def cdf(self, value: Tensor) -> Tensor:
        """exp(-exp(-(x - mu) / b))."""
        return (-(-self._standard(value)).exp()).exp()

    def icdf(self, value: Tensor) -> Tensor:
        """Mu - b ln(-ln u), the quantile of u in (0, 1)."""
        return self.loc - self.scale * (-value.log()).log()

    def entropy(self) -> Tensor:
        """Ln b + 1 + Euler's constant, in nats."""
        return self.scale.log() + (1 + EULER)

    @property
    def median(self) -> Tensor:
        """Mu - b ln ln 2."""
        return self.loc - self.scale * math.log(math.log(2))

    @property
    def skewness(self) -> Tensor:
        """1.1395, whatever mu and b are."""
        return torch.full_like(self.scale, _SKEWNESS)

    @property
    def excess_kurtosis(self) -> Tensor:
        """2.4, whatever mu and b are."""
        return torch.full_like(self.scale, _EXCESS_KURTOSIS)

    def _standard(self, value: Tensor) -> Tensor:
        return (value - self.loc) / self.scale


def gumbel_noise(like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Independent standard Gumbel draws of ``like``'s shape, device and dtype.

    Rounded to half precision where ``like`` has it; always finite.
    """
    wide = torch.promote_types(like.dtype, torch.float32)
    draws = torch.empty(like.shape, dtype=wide, device=like.device).exponential_(
        generator=generator
    )
    return -draws.clamp_min_(torch.finfo(wide).tiny).log_().to(like.dtype)


def gumbel_max(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draws from softmax(logits), (..., K) to int64 (...)."""
    return perturbed(logits, generator).argmax(dim=-1)


def draw_without_replacement(
    logits: Tensor, k: int, generator: torch.Generator | None = None
) -> Tensor:
    """The first k draws without replacement from softmax(logits), in order; int64 (..., k).

    Raises:
        ValueError: k categories cannot be drawn.
    """
    possible = int(logits.isfinite().sum(dim=-1).min())
    if not 1 <= k <= possible:
        raise ValueError(f"k is {k}; expected 1 to {possible}, the categories that can be drawn")
    return perturbed(logits, generator).topk(k, dim=-1).indices


def gumbel_softmax(
    logits: Tensor,
    tau: float,
    *,
    hard: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """A relaxed draw from softmax(logits): rows that sum to 1, in the logits' dtype.

    Args:
        logits: (..., K); -inf is never drawn, and has exactly 0 and no gradient.
        tau: the temperature.
        hard: straight-through: one-hot, with the relaxed draw's gradient.
        generator: of the noise.

    Raises:
        ValueError: tau is not more than 0, or a row has no finite logit.
    """
    return relaxed(perturbed(logits, generator), tau, hard=hard).to(logits.dtype)


def perturbed(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Logits + noise, in float32 at least.

    Raises:
        ValueError: a row has no finite logit, or one that is no number.
    """
    drawable = logits.detach().amax(dim=-1)
    if not drawable.isfinite().all():
        wrong = drawable.flatten()[~drawable.isfinite().flatten()][0]
        raise ValueError(
            f"the largest logit of a row is {float(wrong)}; expected a finite one in every row, "
            "and -inf for nothing but what may not be drawn"
        )
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return wide + gumbel_noise(wide, generator)


def relaxed(perturbed_logits: Tensor, tau: float, *, hard: bool = False) -> Tensor:
    """Softmax(perturbed logits / tau), or straight through it; see ``gumbel_softmax``.

    The largest entry is taken off before the division, so that no temperature above 0 overflows.
    """
    if not tau > 0:
        raise ValueError(f"tau is {tau}; expected a temperature above 0")
    known = torch.finfo(perturbed_logits.dtype)
    tau = min(max(tau, known.tiny), known.max)  # beyond, it would be read as 0 or infinite
    largest = perturbed_logits.detach().amax(dim=-1, keepdim=True)
    soft = ((perturbed_logits - largest) / tau).softmax(dim=-1)
    return straight_through(soft.argmax(dim=-1), soft) if hard else soft


def straight_through(drawn: Tensor, soft: Tensor) -> Tensor:
    """One-hot of ``drawn`` (...), exactly, with the gradient of ``soft`` (..., K).

    Bengio et al. (2013), arXiv 1308.3432. Drawn by Gumbel-max from softmax(logits) and with that
    softmax as ``soft`` it is unbiased for what is linear in the one-hot.
    """
    one_hot = torch.zeros_like(soft).scatter_(-1, drawn[..., None], 1.0)
    return one_hot + (soft - soft.detach())


def gumbel_softmax_log_density(draws: Tensor, logits: Tensor, tau: float) -> Tensor:
    """The log density of relaxed draws on the simplex, (..., K) to (...), in nats.

    ln Gamma(K) + (K - 1) ln tau + sum_k (l_k - (tau + 1) ln y_k) - K logsumexp_k(l_k - tau ln y_k);
    Maddison et al. (2017), eq. 10.
    """
    K = logits.shape[-1]
    log_draws = draws.log()
    inner = (logits - (tau + 1) * log_draws).sum(dim=-1)
    outer = K * (logits - tau * log_draws).logsumexp(dim=-1)
    return math.lgamma(K) + (K - 1) * math.log(tau) + inner - outer


def annealed_temperature(step: int, rate: float, least: float) -> float:
    """max(least, exp(-rate step)); Jang et al. (2017), section 4.1."""
    return max(least, math.exp(-rate * step))


def inverse_temperature(step: int, steps: int, largest: float) -> float:
    """Beta = largest^(step / steps), by which RelGAN multiplies; Nie et al. (2019), section 2.3."""
    return float(largest ** (step / steps))
