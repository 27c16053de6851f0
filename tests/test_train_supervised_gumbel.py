"""The Gumbel distribution and relaxed draws, held to closed forms, scipy and torch.

Statistical tests have fixed seeds. A z-test fails by chance with probability 6e-5 (|z| < 4), a
Kolmogorov-Smirnov or chi-square test with 1e-3 before its seed was fixed.
"""

import math

import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from tokengym.train.supervised import (
    Gumbel,
    annealed_temperature,
    draw_without_replacement,
    gumbel_max,
    gumbel_softmax,
    gumbel_softmax_log_density,
    inverse_temperature,
    straight_through,
)
from tokengym.train.supervised.gumbel import gumbel_noise
from torch import Tensor

LOGITS = torch.tensor([0.5, 0.2, 0.2, 0.1], dtype=torch.float64).log()
N = 200_000


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def draws(loc: float = 0.0, scale: float = 1.0, seed: int = 0) -> Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Gumbel(torch.tensor(loc, dtype=torch.float64), scale).sample((N,))


def z(samples: Tensor, expected: float) -> float:
    samples = samples.double()
    return float((samples.mean() - expected) / (samples.std() / len(samples) ** 0.5))


def ks(samples: Tensor, cdf: str, *arguments: float) -> float:
    return float(scipy.stats.kstest(samples.numpy(), cdf, args=arguments).pvalue)


def chi_square(counts: Tensor, probabilities: Tensor) -> float:
    expected = probabilities / probabilities.sum() * counts.sum()
    return float(scipy.stats.chisquare(counts.numpy(), expected.numpy()).pvalue)


# --- the distribution ----------------------------------------------------------------------------


def test_G1_moments_are_the_closed_forms() -> None:
    loc, scale = 1.5, 0.7
    gumbel = Gumbel(torch.tensor(loc, dtype=torch.float64), scale)
    law = scipy.stats.gumbel_r(loc, scale)
    mean, variance, skewness, kurtosis = (float(m) for m in law.stats("mvsk"))
    assert float(gumbel.mean) == pytest.approx(mean)
    assert float(gumbel.variance) == pytest.approx(variance)
    assert float(gumbel.median) == pytest.approx(float(law.median()))
    assert float(gumbel.mode) == loc
    assert float(gumbel.entropy()) == pytest.approx(float(law.entropy()))
    assert float(gumbel.skewness) == pytest.approx(skewness)
    assert float(gumbel.excess_kurtosis) == pytest.approx(kurtosis)
    x = draws(loc, scale)
    standard = (x - mean) / variance**0.5
    assert abs(z(x, mean)) < 4
    assert abs(z(standard.square(), 1.0)) < 4
    assert abs(z(standard**3, skewness)) < 4
    assert abs(z((x < gumbel.median).double(), 0.5)) < 4
    # The density is highest at the mode: more draws about it than beside it.
    within = [((x - loc - shift).abs() < 0.1).sum() for shift in (-0.5, 0.0, 0.5)]
    assert within[1] == max(within)


def test_G2_the_law_is_scipys() -> None:
    assert ks(draws(1.5, 0.7), "gumbel_r", 1.5, 0.7) > 1e-3
    x = torch.linspace(-3, 20, 200, dtype=torch.float64)
    gumbel, law = (
        Gumbel(torch.tensor(1.5, dtype=torch.float64), 0.7),
        scipy.stats.gumbel_r(1.5, 0.7),
    )
    torch.testing.assert_close(
        gumbel.log_prob(x), torch.from_numpy(law.logpdf(x)), rtol=1e-12, atol=0
    )
    torch.testing.assert_close(gumbel.cdf(x), torch.from_numpy(law.cdf(x)), rtol=1e-12, atol=1e-300)
    u = torch.linspace(0.001, 0.999, 99, dtype=torch.float64)
    torch.testing.assert_close(gumbel.icdf(u), torch.from_numpy(law.ppf(u)), rtol=1e-12, atol=1e-12)


def test_G3_quantile_density_and_cdf_belong_together() -> None:
    gumbel = Gumbel(torch.tensor(-0.3, dtype=torch.float64), 2.0)
    x = torch.linspace(-6, 12, 500, dtype=torch.float64)
    torch.testing.assert_close(gumbel.icdf(gumbel.cdf(x)), x, rtol=1e-9, atol=1e-9)
    h = 1e-5
    slope = (gumbel.cdf(x + h) - gumbel.cdf(x - h)) / (2 * h)
    torch.testing.assert_close(slope, gumbel.log_prob(x).exp(), rtol=1e-5, atol=1e-9)
    wide = torch.linspace(-20, 90, 200_001, dtype=torch.float64)
    total = torch.trapezoid(gumbel.log_prob(wide).exp(), wide)
    assert float(total) == pytest.approx(1.0, abs=1e-9)


def test_G4_location_and_scale() -> None:
    standard = draws(seed=1)
    torch.testing.assert_close(draws(2.0, 3.0, seed=1), 2.0 + 3.0 * standard)
    moved = Gumbel(torch.tensor(2.0, dtype=torch.float64), 3.0)
    base = Gumbel(torch.tensor(0.0, dtype=torch.float64), 1.0)
    expected = base.log_prob(standard) - math.log(3.0)
    torch.testing.assert_close(moved.log_prob(2.0 + 3.0 * standard), expected)


def test_G5_the_largest_is_gumbel_and_independent_of_which_it_is() -> None:
    noise = draws().reshape(-1, 4)
    largest, which = (LOGITS + noise).max(dim=1)
    assert ks(largest, "gumbel_r", float(LOGITS.logsumexp(0)), 1.0) > 1e-3
    for k in range(4):
        assert ks(largest[which == k], "gumbel_r", float(LOGITS.logsumexp(0)), 1.0) > 1e-3


def test_G6_gumbel_max_draws_the_softmax(generator: torch.Generator) -> None:
    drawn = gumbel_max(LOGITS.expand(N, 4), generator)
    assert chi_square(drawn.bincount(minlength=4), LOGITS.exp()) > 1e-3
    a, b = (torch.Generator().manual_seed(3) for _ in range(2))
    assert gumbel_max(LOGITS.expand(99, 4), a).equal(gumbel_max(LOGITS.expand(99, 4) + 7.0, b))


def test_G7_the_largest_k_are_draws_without_replacement(generator: torch.Generator) -> None:
    p = LOGITS.exp()
    pairs = draw_without_replacement(LOGITS.expand(N, 4), 2, generator)
    expected = p[:, None] * p[None, :] / (1 - p[:, None])
    off_diagonal = ~torch.eye(4, dtype=torch.bool)
    counts = (pairs[:, 0] * 4 + pairs[:, 1]).bincount(minlength=16).reshape(4, 4)
    assert (counts.diagonal() == 0).all()
    assert chi_square(counts[off_diagonal], expected[off_diagonal]) > 1e-3


def test_G8_a_difference_is_logistic() -> None:
    assert ks(draws(seed=4) - draws(seed=5), "logistic") > 1e-3


def test_a_uniform_at_the_edge_is_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "exponential_", lambda self, **_: self.zero_())
    assert float(gumbel_noise(torch.zeros(()))) == pytest.approx(87.3, abs=0.1)  # -ln of tiny
    assert gumbel_softmax(torch.zeros(3), 1.0).isfinite().all()


# --- relaxed draws -------------------------------------------------------------------------------


@pytest.mark.parametrize("tau", [0.1, 1.0, 10.0])
def test_R1_rows_lie_on_the_simplex(tau: float, generator: torch.Generator) -> None:
    y = gumbel_softmax(LOGITS.expand(1000, 4), tau, generator=generator)
    torch.testing.assert_close(y.sum(dim=1), torch.ones(1000, dtype=torch.float64))
    assert (y >= 0).all()
    assert (y <= 1).all()


@pytest.mark.parametrize("tau", [0.01, 0.5, 1.0, 5.0])
def test_R2_the_largest_entry_is_an_exact_draw(tau: float, generator: torch.Generator) -> None:
    y = gumbel_softmax(LOGITS.expand(N, 4), tau, generator=generator)
    assert chi_square(y.argmax(dim=1).bincount(minlength=4), LOGITS.exp()) > 1e-3


def test_R2_the_expectation_is_the_softmax_only_in_the_limit(generator: torch.Generator) -> None:
    means = {
        tau: gumbel_softmax(LOGITS.expand(N, 4), tau, generator=generator)[:, 0]
        for tau in (1.0, 0.5, 1e-3)
    }
    assert z(means[1.0], 0.5) < -10
    assert z(means[0.5], 0.5) < -10
    assert abs(z(means[1e-3], 0.5)) < 4


def test_R3_temperature_limits(generator: torch.Generator) -> None:
    cold = gumbel_softmax(LOGITS.expand(1000, 4), 1e-6, generator=generator)
    assert float(cold.amax(dim=1).mean()) > 0.999
    hot = gumbel_softmax(LOGITS.expand(1000, 4), 1e6, generator=generator)
    torch.testing.assert_close(hot, torch.full_like(hot, 0.25), rtol=0, atol=1e-4)


@pytest.mark.parametrize("hard", [False, True])
def test_R4_equal_to_torch_from_the_same_noise(hard: bool) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        expected = F.gumbel_softmax(LOGITS.expand(50, 4), 0.7, hard=hard)
        torch.manual_seed(7)
        found = gumbel_softmax(LOGITS.expand(50, 4), 0.7, hard=hard)
    torch.testing.assert_close(found, expected)


def test_R5_the_log_density_is_the_concrete_distributions(generator: torch.Generator) -> None:
    tau = 0.7
    y = gumbel_softmax(LOGITS.expand(100, 4), tau, generator=generator)
    law = torch.distributions.RelaxedOneHotCategorical(
        torch.tensor(tau, dtype=torch.float64), logits=LOGITS
    )
    found = gumbel_softmax_log_density(y, LOGITS, tau)
    torch.testing.assert_close(found, law.log_prob(y), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("tau", [0.3, 1.0, 2.0])
def test_R5_the_density_integrates_to_one(tau: float) -> None:
    """Over x = logit(y_1), dy_1 = y_1 y_2 dx: at low temperatures the mass lies in the corners."""
    x = torch.linspace(-60, 60, 100_001, dtype=torch.float64)
    y = torch.stack([x.sigmoid(), (-x).sigmoid()], dim=1)
    density = (gumbel_softmax_log_density(y, LOGITS[:2], tau) + y.log().sum(dim=1)).exp()
    assert float(torch.trapezoid(density, x)) == pytest.approx(1.0, abs=1e-6)


def test_R6_two_categories_are_logistic(generator: torch.Generator) -> None:
    tau, logits = 0.5, LOGITS[[0, 3]]
    y = gumbel_softmax(logits.expand(N, 2), tau, generator=generator)
    log_odds = tau * (y[:, 0].log() - y[:, 1].log())
    assert ks(log_odds[y.amin(dim=1) > 0], "logistic", float(logits[0] - logits[1])) > 1e-3


def test_R7_straight_through_is_one_hot_with_the_soft_gradient() -> None:
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    gradients = []
    for hard in (False, True):
        logits = LOGITS.expand(100, 4).clone().requires_grad_()
        y = gumbel_softmax(logits, 0.5, hard=hard, generator=torch.Generator().manual_seed(2))
        if hard:
            assert ((y == 0) | (y == 1)).all()
            assert (y.sum(dim=1) == 1).all()
        (y * weights).sum().backward()
        gradients.append(logits.grad)
    assert gradients[0] is not None
    assert gradients[1] is not None
    torch.testing.assert_close(*gradients)


def test_R8_the_straight_through_softmax_is_exact_for_what_is_linear(
    generator: torch.Generator,
) -> None:
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    logits = LOGITS.clone().requires_grad_()
    (exact,) = torch.autograd.grad((logits.softmax(0) * weights).sum(), logits)
    rows = LOGITS.expand(100, 4).clone().requires_grad_()
    y = straight_through(gumbel_max(rows, generator), rows.softmax(dim=1))
    (found,) = torch.autograd.grad((y * weights).sum(), rows)
    torch.testing.assert_close(found, exact.expand(100, 4))


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("hard", [False, True])
def test_R8_relaxed_gradients_have_the_mean_of_their_integral_and_it_nears_the_exact_one(
    power: int, hard: bool, generator: torch.Generator
) -> None:
    """Two classes, f(y) = 2 y_1^power - y_2^power: y_1 = sigmoid((d + L) / tau), L logistic (R6).

    The mean over draws is the integral over L (|z| < 4), whose bias against the enumerated gradient
    falls with tau while the spread of a draw rises.
    """
    d, exact = 0.8, 3 * math.exp(0.8) / (1 + math.exp(0.8)) ** 2
    u = (torch.arange(400_000, dtype=torch.float64) + 0.5) / 400_000
    biases, spreads = [], []
    for tau in (1.0, 0.5, 0.1):
        y = torch.sigmoid((d + torch.logit(u)) / tau)
        x = y.round() if hard else y
        slope = power * (2 * x ** (power - 1) + (1 - x) ** (power - 1))
        expected = float((slope * y * (1 - y) / tau).mean())
        logits = torch.tensor([d, 0.0], dtype=torch.float64).expand(N, 2).clone().requires_grad_()
        drawn = gumbel_softmax(logits, tau, hard=hard, generator=generator)
        (2 * drawn[:, 0] ** power - drawn[:, 1] ** power).sum().backward()
        assert logits.grad is not None
        assert abs(z(logits.grad[:, 0], expected)) < 4
        biases.append(abs(expected - exact))
        spreads.append(float(logits.grad[:, 0].std()))
    assert biases[0] > biases[1] > biases[2]
    assert spreads[0] < spreads[1] < spreads[2]


@pytest.mark.parametrize("tau", [0.0, -1.0, math.nan])
def test_R9_a_temperature_that_is_none_is_refused(tau: float) -> None:
    with pytest.raises(ValueError, match="expected a temperature above 0"):
        gumbel_softmax(LOGITS, tau)


@pytest.mark.parametrize("tau", [1e-300, 1e-38, 1e-6, 1.0, 1e6, 1e300])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_R9_finite_at_every_temperature_and_precision(tau: float, dtype: torch.dtype) -> None:
    logits = (LOGITS * 20).to(dtype).expand(1000, 4).clone()
    logits[:, 1] = -torch.inf
    logits.requires_grad_()
    y = gumbel_softmax(logits, tau, generator=torch.Generator().manual_seed(0))
    assert y.dtype == dtype
    assert y.isfinite().all()
    assert (y[:, 1] == 0).all()
    (y * torch.arange(4.0).to(dtype)).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (logits.grad[:, 1] == 0).all()


def test_a_row_that_allows_nothing_is_refused() -> None:
    logits = torch.zeros(2, 3)
    logits[1] = -torch.inf
    for draw in (gumbel_max, lambda rows: gumbel_softmax(rows, 1.0)):
        with pytest.raises(ValueError, match="the largest logit of a row is -inf"):
            draw(logits)
    with pytest.raises(ValueError, match="k is 3; expected 1 to 2"):
        draw_without_replacement(torch.tensor([0.0, -torch.inf, 0.0]), 3)


# --- schedules -----------------------------------------------------------------------------------


def test_schedules_by_hand() -> None:
    assert annealed_temperature(0, 0.1, 0.5) == 1.0
    assert annealed_temperature(2, 0.1, 0.5) == pytest.approx(math.exp(-0.2))
    assert annealed_temperature(1000, 0.1, 0.5) == 0.5
    assert inverse_temperature(0, 10, 100) == 1.0
    assert inverse_temperature(5, 10, 100) == pytest.approx(10.0)
    assert inverse_temperature(10, 10, 100) == 100.0
