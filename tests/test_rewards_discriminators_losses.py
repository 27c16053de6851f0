"""Losses, forms and calibration of discriminators, against numbers worked out by hand."""

from __future__ import annotations

from math import inf, log
from typing import get_args

import pytest
import torch
from tokengym.rewards.discriminators.calibration import (
    accuracy,
    auc,
    expected_calibration_error,
    share_below,
)
from tokengym.rewards.discriminators.forms import Form, bounds, estimates_probability, rank, worth
from tokengym.rewards.discriminators.losses import Loss, adversarial_loss, gradient_penalty

# The sigmoid of log 3 is 3/4, of -log 3 it is 1/4: -log s(log 3) = log(4/3).
L = log(3)
BY_HAND: list[tuple[Loss, list[float], list[float], float, float]] = [
    ("bce", [0, L], [-L, 0], 0.0, 0.5 * log(8 / 3)),
    ("bce", [0, L], [-L, 0], 0.1, 0.5 * log(8 / 3) + 0.025 * L),  # + 0.1 * E[D] / 2
    ("least_squares", [1, 0.5], [0, 0.5], 0.0, 0.125),
    ("least_squares", [1, 0.5], [0, 0.5], 0.1, 0.105),  # (0.01 + 0.16) / 4 + 0.25 / 4
    ("hinge", [2, 0], [-2, 0.5], 0.0, 0.5 + 0.75),
    ("relativistic", [L], [0, L], 0.0, 0.5 * log(8 / 3)),
    ("relativistic", [L + 5, L + 5, 5], [5], 0.0, (2 * log(4 / 3) + log(2)) / 3),
    ("relativistic_average", [1 + L], [1], 0.0, log(4 / 3)),
    ("relativistic_average", [L, -L], [0], 0.0, 0.25 * log(16 / 3) + 0.5 * log(2)),
    ("wasserstein", [1, 2], [0, -1], 0.0, -2.0),
    ("wasserstein", [0, -1], [1, 2], 0.0, 2.0),  # the wrong way round is bad: no absolute value
]


@pytest.mark.parametrize(("loss", "real", "generated", "smoothing", "expected"), BY_HAND)
def test_losses_by_hand(
    loss: Loss, real: list[float], generated: list[float], smoothing: float, expected: float
) -> None:
    found = adversarial_loss(
        loss,
        torch.tensor(real, dtype=torch.float64),
        torch.tensor(generated, dtype=torch.float64),
        smoothing,
    )
    assert float(found) == pytest.approx(expected)


def test_every_loss_is_worked_out() -> None:
    assert {loss for loss, *_ in BY_HAND} == set(get_args(Loss))


def test_smoothing_is_one_sided() -> None:
    real_B, generated_B = torch.zeros(1), torch.tensor([50.0])
    plain = adversarial_loss("bce", real_B, generated_B)
    assert adversarial_loss("bce", real_B, generated_B, 0.3) == plain  # a zero output has no side


def test_gradient_penalty_by_hand() -> None:
    real_BTE, generated_BTE = torch.ones(3, 2, 2), torch.zeros(3, 2, 2)
    share_B = torch.tensor([0.5, 0.5, 1.0])
    # The gradient of sum x^2 is 2x: four entries of 1, length 2, and once four of 2, length 4.
    found = gradient_penalty(lambda x: x.square().sum(dim=(1, 2)), real_BTE, generated_BTE, share_B)
    assert found.item() == pytest.approx((1 + 1 + 9) / 3)

    slope_E = torch.tensor([0.0, 3.0], requires_grad=True)
    penalty = gradient_penalty(
        lambda x: (x[:, 0] * slope_E).sum(dim=1), real_BTE, generated_BTE, share_B
    )
    assert penalty.item() == pytest.approx(4.0)  # (|slope| - 1)^2
    penalty.backward()
    assert slope_E.grad is not None
    assert slope_E.grad.tolist() == [0.0, pytest.approx(4.0)]  # 2 (|slope| - 1)


FORMS: list[tuple[Form, Loss, list[float], list[float]]] = [
    ("probability", "bce", [-L, 0, L], [0.25, 0.5, 0.75]),
    ("logit", "bce", [-L, 0, 90], [-L, 0, 90]),
    ("log_ratio", "bce", [-L, 0, 90], [-L, 0, 90]),
    ("probability", "least_squares", [-0.5, 0.25, 1.5], [0, 0.25, 1]),
    ("logit", "least_squares", [-0.5, 0.25, 1.5], [-0.5, 0.25, 1.5]),
    ("log_ratio", "least_squares", [-0.5, 0.25, 1.5], [-log(999), -L, log(999)]),
    ("logit", "wasserstein", [-7, 3], [-7, 3]),
    ("rank", "hinge", [3, 1, 2, 2, 9], [0.75, 0, 0.375, 0.375, 1]),
    ("rank", "bce", [4], [0.5]),
    ("rank", "bce", [], []),
]


@pytest.mark.parametrize(("form", "loss", "outputs", "expected"), FORMS)
def test_forms_by_hand(form: Form, loss: Loss, outputs: list[float], expected: list[float]) -> None:
    found_B = worth(form, loss, torch.tensor(outputs, dtype=torch.float32))
    assert found_B.tolist() == pytest.approx(expected, abs=1e-4)
    low, high = bounds(form, loss)
    assert all(low - 1e-4 <= value <= high + 1e-4 for value in found_B.tolist())


def test_bounds() -> None:
    assert bounds("probability", "bce") == bounds("rank", "wasserstein") == (0.0, 1.0)
    assert bounds("logit", "hinge") == bounds("log_ratio", "bce") == (-inf, inf)
    assert bounds("log_ratio", "least_squares") == pytest.approx((-log(999), log(999)))
    assert [loss for loss in get_args(Loss) if estimates_probability(loss)] == [
        "bce",
        "least_squares",
    ]


def test_the_mean_rank_is_a_half_whatever_the_outputs() -> None:
    outputs_B = torch.randint(5, (33,), generator=torch.Generator().manual_seed(0)).float()
    assert float(rank(outputs_B).mean()) == pytest.approx(0.5)


def test_calibration_by_hand() -> None:
    real_R, generated_G = torch.tensor([0.8, 0.5, 0.2]), torch.tensor([0.5, 0.1])
    assert share_below(real_R, generated_G).tolist() == [1.0, 0.75, 0.5]
    assert auc(real_R, generated_G) == 0.75
    assert auc(generated_G, real_R) == 0.25
    assert auc(torch.zeros(4), torch.zeros(9)) == 0.5
    assert accuracy(real_R, generated_G, 0.5) == 3 / 5  # on the threshold: generated
    # Two bins. Up to 0.5: 1 real of 2, probabilities sum to 0.6. Above: 2 of 3, and 2.2.
    real_R, generated_G = torch.tensor([0.9, 0.6, 0.2]), torch.tensor([0.7, 0.4])
    assert expected_calibration_error(real_R, generated_G, bins=2) == pytest.approx(0.6 / 5)
    # One bin forgives what two do not; the bounds belong to the lower bin, 0 to the first.
    assert expected_calibration_error(real_R, generated_G, bins=1) == pytest.approx(0.2 / 5)
    ends = torch.tensor([0.0, 1.0])
    assert expected_calibration_error(ends[1:], ends[:1]) == 0.0
    assert expected_calibration_error(ends[:1], ends[1:]) == 1.0
    assert expected_calibration_error(torch.tensor([0.5]), torch.tensor([0.5]), bins=2) == 0.0


def test_the_calibration_error_of_the_truth_falls_with_the_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    errors = []
    for size in (128, 50_000):
        p_B = torch.rand(size, generator=generator)
        is_real_B = torch.rand(size, generator=generator) < p_B
        errors.append(expected_calibration_error(p_B[is_real_B], p_B[~is_real_B]))
    assert 0.02 < errors[0] < 0.15
    assert errors[1] < 0.01
