"""Packed products are those of ``F.linear``, and follow the weights that they were made of."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tokengym.agents import GRUPolicy, LSTMPolicy
from tokengym.envs import Vocabulary
from tokengym.rewards.discriminators.conv import ConvNetwork
from tokengym.rewards.packed import add_product, linear, pack

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-4, torch.bfloat16: 0.2}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("rows", [0, 1, 70])
def test_products_are_those_of_the_weights(rows: int, dtype: torch.dtype) -> None:
    """Where nothing can be packed, too: in float64, and on machines without the operators."""
    torch.manual_seed(0)
    x, weight = torch.randn(rows, 256).to(dtype), torch.randn(300, 256).to(dtype)
    bias, total = torch.randn(300).to(dtype), torch.randn(rows, 300).to(dtype)
    packed, width = pack(weight), TOLERANCE[dtype]
    assert dtype != torch.float64 or packed is None
    expected = F.linear(x.double(), weight.double())
    for found, added in (
        (linear(x, weight, bias, packed), bias),
        (linear(x, weight, None, packed), torch.zeros_like(bias)),
        (add_product(total.clone(), x, weight, packed), total),
    ):
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), expected + added.double(), atol=width, rtol=0.01)


def test_small_weights_stay_as_they_are() -> None:
    assert pack(torch.ones(8, 8)) is None


@pytest.mark.parametrize("kind", [GRUPolicy, LSTMPolicy])
def test_a_policy_with_fixed_weights_steps_as_without(
    kind: type[GRUPolicy | LSTMPolicy], vocabulary: Vocabulary
) -> None:
    """After an update of the weights, too; with gradients nothing packed is used."""
    torch.manual_seed(0)
    policy = kind(vocabulary, embedding=8, hidden=150, layers=2).eval()
    token_B = torch.tensor([0, 1, 0])
    state = tuple(torch.randn(3, 150) for _ in policy.initial_state(3))
    for _ in range(2):
        slow = policy.step(token_B, state)[0]
        with policy.fixed_weights():
            assert policy.step(token_B, state)[0].requires_grad
            with torch.no_grad():
                fast = policy.step(token_B, state)[0]
        torch.testing.assert_close(fast, slow, atol=1e-5, rtol=1e-5)
        with torch.no_grad():
            for weight in policy.parameters():
                weight.mul_(-1.1)


def test_a_highway_of_many_features_follows_its_weights(vocabulary: Vocabulary) -> None:
    """Its scores without gradients are those with, and completions see an update as well."""
    torch.manual_seed(0)
    network = ConvNetwork(vocabulary, 6, 4, (1, 2), (100, 120), 0.0).eval()
    assert network.highway is not None
    tokens_BT = torch.tensor([[0, 1, 1, 0, 1, 0], [1, 1, 0, 0, 0, 1]])
    for _ in range(2):
        with torch.no_grad():
            expected = network(tokens_BT)
            (shared_TBK,) = network.read_prefixes(tokens_BT)
            completed = network.completed_outputs(tokens_BT, 3, (shared_TBK[2],))
            torch.testing.assert_close(completed, expected)
            torch.testing.assert_close(network.fast_outputs(tokens_BT), expected)
            network.highway.weight.mul_(3.0)
