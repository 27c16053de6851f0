"""Scheduled sampling: its schedules, its mixture of inputs, and what its objective lacks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from tokengym.agents import Policy
from tokengym.agents.pretraining import seeded
from tokengym.envs import MarkovSource, Sequences, Vocabulary
from tokengym.train.supervised import ScheduledSampling, TeacherForcing
from tokengym.train.supervised.scheduled_sampling import mixed_pass

from .conftest import PolicyMaker


@pytest.mark.parametrize(
    ("options", "step", "expected"),
    [
        ({"c": 0.01}, 0, 1.0),
        ({"c": 0.01}, 30, 0.7),
        ({"c": 0.01, "lowest": 0.25}, 90, 0.25),
        ({"c": 0.0, "k": 0.4}, 90, 0.4),
        ({"decay": "exponential", "k": 0.5}, 3, 0.125),
        ({"decay": "inverse_sigmoid", "k": 4.0}, 0, 0.8),
        ({"decay": "inverse_sigmoid", "k": 4.0}, 8, 4 / (4 + math.exp(2))),
        ({"decay": "inverse_sigmoid", "k": 4.0}, 10**6, 0.0),
    ],
)
def test_the_share_of_truth_by_hand(
    policy: Policy, options: dict[str, Any], step: int, expected: float
) -> None:
    assert ScheduledSampling(policy, **options).truth_share(step) == pytest.approx(expected)


def test_with_truth_alone_it_is_teacher_forcing(
    make_policy: PolicyMaker, vocabulary: Vocabulary, all_sequences: Sequences
) -> None:
    policy = make_policy(vocabulary, 3)
    mixed_BTA = mixed_pass(policy, all_sequences.tokens_BT, 1.0)
    forced_BTA = policy(all_sequences.tokens_BT)
    torch.testing.assert_close(mixed_BTA, forced_BTA, atol=1e-12, rtol=0)


def test_without_truth_it_does_not_matter_what_the_truth_is(
    policy: Policy, all_sequences: Sequences
) -> None:
    tokens_BT = all_sequences.tokens_BT
    with seeded(1):
        first = mixed_pass(policy, tokens_BT, 0.0)
    with seeded(1):
        second = mixed_pass(policy, tokens_BT.flip(0), 0.0)
    assert torch.equal(first, second)
    with seeded(2):
        assert not torch.equal(first, mixed_pass(policy, tokens_BT, 0.0))


def test_the_coin_is_thrown_for_every_token() -> None:
    """A policy that repeats what it reads shows its inputs: true ones with probability 0.3.

    20,000 coins: 4 standard errors, a false alarm once in 16,000.
    """
    source = MarkovSource(np.full((2, 2), 0.5), length=20)

    class Repeats(Policy):
        """Logits that are 0 for all tokens but carry the token that was read."""

        name = "Repeats"

        def __init__(self) -> None:
            super().__init__()
            self.vocabulary = source.vocabulary
            self.read: list[torch.Tensor] = []
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def initial_state(self, batch: int, condition: torch.Tensor | None = None) -> Any:
            return ()

        def step(self, tokens_B: torch.Tensor, state: Any) -> Any:
            self.read.append(tokens_B)
            return torch.tensor([0.0, -torch.inf]).repeat(len(tokens_B), 1), ()

        def forward(self, tokens_BT: torch.Tensor, condition: torch.Tensor | None = None) -> Any:
            raise NotImplementedError

        def config(self) -> dict[str, Any]:
            return {}

    policy = Repeats()  # draws 0 always; the truth is 1 always
    with seeded(3):
        mixed_pass(policy, torch.ones(1000, 21, dtype=torch.int64), 0.3)
    read_TB = torch.stack(policy.read[1:])
    share = float(read_TB.double().mean())
    assert abs(share - 0.3) < 4 * math.sqrt(0.3 * 0.7 / read_TB.numel())
    by_row = read_TB.double().mean(dim=0)  # each row its own coins, not one for all steps
    assert 0.5 < float(by_row.var()) / (0.3 * 0.7 / len(read_TB)) < 2


@pytest.mark.slow
def test_the_objective_is_improper_and_teacher_forcing_is_not() -> None:
    """A chain that stays with probability 0.95: h = 0.199 nats, ln 2 for who sees no truth.

    With eps at 0 the inputs carry nothing of the sequence to be predicted, and the loss has its
    optimum at the marginal distribution.
    """
    source = MarkovSource(np.array([[0.95, 0.05], [0.05, 0.95]]), length=12)
    data, fresh = source.sample(4000, seed=1), source.sample(2000, seed=2)
    options: dict[str, Any] = {
        "vocabulary": source.vocabulary,
        "policy_kwargs": {"embedding": 8, "hidden": 16},
        "learning_rate": 0.01,
    }
    entropy = source.entropy().value
    forced = TeacherForcing("GRU", **options).fit(data, max_epochs=3)
    figure = forced.evaluate(fresh)["nats_a_sequence"]
    assert abs(figure.value - entropy) < 4 * figure.se
    blind = ScheduledSampling("GRU", c=0.0, k=1e-9, **options).fit(data, max_epochs=3)
    assert blind.evaluate(fresh)["nats_a_token"].value > source.entropy_rate() + 0.2


def test_mistakes_are_told(policy: Policy) -> None:
    for options, message in (
        ({"decay": "cubic"}, "decay is 'cubic'; expected one of linear"),
        ({"decay": "exponential", "k": 1.5}, "k is 1.5 and lowest is 0.0; expected k below 1"),
        ({"lowest": 2.0}, "lowest is 2.0"),
    ):
        with pytest.raises(ValueError, match=message):
            ScheduledSampling(policy, **options)
