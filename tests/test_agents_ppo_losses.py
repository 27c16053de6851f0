"""PPO's losses and advantages against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from tokengym.agents.ppo_losses import (
    clipped_loss,
    explained_variance,
    generalized_advantages,
    mean_divergence,
    normalized,
    value_differences,
    value_loss,
)

NAN = math.nan


def test_generalized_advantages_by_hand() -> None:
    values_BT = torch.tensor([[0.5, 0.2, 0.4], [0.3, NAN, NAN]], dtype=torch.float64)
    found_BT = generalized_advantages(
        values_BT, torch.tensor([1.0, -1.0]).double(), torch.tensor([3, 1]), 0.9, 0.5
    )
    last = 1 - 0.4
    second = 0.9 * 0.4 - 0.2 + 0.45 * last
    first = 0.9 * 0.2 - 0.5 + 0.45 * second
    expected_BT = torch.tensor([[first, second, last], [-1.3, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(found_BT, expected_BT)


def test_with_lambda_1_the_advantage_is_the_reward_less_the_value() -> None:
    values_BT = torch.rand(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rewards_B = torch.arange(5).double()
    found_BT = generalized_advantages(values_BT, rewards_B, torch.full((5,), 4), 1.0, 1.0)
    torch.testing.assert_close(found_BT, rewards_B[:, None] - values_BT)
    lengths_B = torch.tensor([4, 3, 2, 1, 4])
    one_step_BT = generalized_advantages(values_BT, rewards_B, lengths_B, 1.0, 0.0)
    assert one_step_BT[1].tolist() == pytest.approx(
        [
            *(values_BT[1, 1:3] - values_BT[1, :2]).tolist(),
            float(rewards_B[1] - values_BT[1, 2]),
            0.0,
        ]
    )


def test_value_differences_by_hand() -> None:
    q_BT = torch.tensor([[1.0, 4.0, 9.0], [2.0, 0.0, 0.0], [6.0, 5.0, 0.0]])
    usable_BT = torch.tensor([[True, True, False], [True, False, False], [True, True, False]])
    found_BT, known_BT = value_differences(q_BT, usable_BT)
    assert found_BT.tolist() == [[1 - 4, 3, 0], [2 - 3.5, 0, 0], [6 - 1.5, -1, 0]]
    assert known_BT.tolist() == usable_BT.tolist()


def test_a_token_after_one_that_could_not_be_valued_has_no_advantage() -> None:
    usable_BT = torch.tensor([[False, True, True], [True, True, True]])
    found_BT, known_BT = value_differences(torch.tensor([[9.0, 1, 3], [1, 2, 3]]), usable_BT)
    assert known_BT.tolist() == [[False, False, True], [False, True, True]]  # nobody to compare
    assert found_BT.tolist() == [[0, 0, 2], [0, 1, 1]]


def test_equal_values_have_no_advantage_to_the_bit() -> None:
    usable_BT = torch.arange(4) < torch.tensor([4, 1, 3])[:, None]
    found_BT, _ = value_differences(torch.full((3, 4), 0.1).where(usable_BT, 0.0), usable_BT)
    assert (found_BT == 0).all()


def test_normalized_by_hand() -> None:
    mask_BT = torch.tensor([[True, True], [True, False]])
    found_BT = normalized(torch.tensor([[1.0, 3.0], [2.0, 50.0]]), mask_BT)
    spread = math.sqrt(2 / 3)
    torch.testing.assert_close(found_BT, torch.tensor([[-1 / spread, 1 / spread], [0.0, 0.0]]))
    assert (normalized(torch.full((2, 2), 0.3), mask_BT) == 0).all()


def test_clipped_loss_by_hand() -> None:
    ratios_BT = torch.tensor([[1.5, 0.5], [1.5, 0.5]], dtype=torch.float64)
    log_ratios_BT = ratios_BT.log().requires_grad_()
    advantages_BT = torch.tensor([[2.0, 2.0], [-1.0, -1.0]], dtype=torch.float64)
    loss = clipped_loss(log_ratios_BT, advantages_BT, 0.2)
    assert loss.item() == pytest.approx(-(1.2 * 2 + 0.5 * 2 - 1.5 - 0.8) / 2)
    loss.backward()
    assert log_ratios_BT.grad is not None
    # Where moving further has no reward, there is no gradient; elsewhere it is -r A / B.
    assert log_ratios_BT.grad.tolist() == [[0, pytest.approx(-0.5)], [pytest.approx(0.75), 0]]


def test_value_loss_by_hand() -> None:
    mask_BT = torch.tensor([[True, True], [True, False]])
    values_BT = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    loss = value_loss(values_BT, torch.tensor([[0.0, 2.0], [1.0, NAN]]), mask_BT)
    assert loss.item() == pytest.approx((1 + 0 + 4) / 3)
    loss.backward()
    assert values_BT.grad is not None
    torch.testing.assert_close(values_BT.grad, torch.tensor([[2 / 3, 0], [4 / 3, 0]]))


def test_the_divergence_is_the_exact_one_in_expectation() -> None:
    old_A, new_A = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.2, 0.2, 0.6]).double()
    each_A = torch.stack(
        [
            mean_divergence(ratio.log().reshape(1, 1), torch.tensor([[True]]))
            for ratio in new_A / old_A
        ]
    )
    torch.testing.assert_close((old_A * each_A).sum(), (old_A * (old_A / new_A).log()).sum())
    masked_BT = torch.tensor([[math.log(2.0), 5.0]])
    found = mean_divergence(masked_BT, torch.tensor([[True, False]]))
    assert found.item() == pytest.approx(1 - math.log(2.0))


def test_explained_variance_by_hand() -> None:
    returns = torch.tensor([0.0, 2.0, 4.0])
    assert explained_variance(returns, returns) == 1
    assert explained_variance(torch.zeros(3), returns) == 0
    assert explained_variance(torch.tensor([1.0, 2.0, 3.0]), returns) == pytest.approx(0.75)
    assert explained_variance(returns, torch.ones(3)) == 0
