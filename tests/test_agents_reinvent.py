"""Reinvent and Augmented Hill-Climb: what their losses are least for, and whom they learn from."""

# Shapes: B sequences, S = all sequences of the small language
from __future__ import annotations

import pytest
import torch
from tokengym.agents import AugmentedHillClimb, Policy, Reinvent
from tokengym.agents.hill_climb import best_rows
from tokengym.agents.losses import augmented_likelihood_loss
from tokengym.envs import Sequences
from tokengym.rewards import DiversityMemory, FunctionObjective

from .conftest import TokenSum, log_probs
from .test_agents_reinforce import TARGET, flat, likeness, make, weights


def test_its_expected_gradient_is_that_of_a_regularised_reward(
    policy: Policy, all_sequences: Sequences
) -> None:
    """-2 sigma times that of E[R] - KL(pi || prior) / sigma."""
    sigma, parameters = 3.0, list(policy.parameters())
    prior_S = log_probs(policy, all_sequences).detach() + torch.linspace(-0.5, 0.5, 31)
    values_S = TokenSum()(all_sequences).values_B.double()
    log_probs_S = log_probs(policy, all_sequences)
    p_S = log_probs_S.exp()
    goal = (p_S * (values_S - (log_probs_S - prior_S) / sigma)).sum()
    exact = flat(torch.autograd.grad(goal, parameters, retain_graph=True))
    found = torch.zeros_like(exact)
    for p, mine, prior, value in zip(p_S, log_probs_S, prior_S, values_S, strict=True):
        loss = augmented_likelihood_loss(mine[None], prior[None], value[None], sigma)
        found += p.detach() * flat(torch.autograd.grad(loss, parameters, retain_graph=True))
    torch.testing.assert_close(found, -2 * sigma * exact, rtol=1e-6, atol=1e-7)


def test_a_constant_reward_changes_nothing_in_expectation(
    policy: Policy, all_sequences: Sequences
) -> None:
    mine_S = log_probs(policy, all_sequences)
    loss = mine_S.new_zeros(())
    for p, log_prob in zip(mine_S.detach().exp(), mine_S, strict=True):
        loss = loss + p * augmented_likelihood_loss(
            log_prob[None], log_prob[None].detach(), torch.tensor([0.7]), 100.0
        )
    gradient = flat(torch.autograd.grad(loss, list(policy.parameters())))
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-9)


def test_the_best_rows_by_hand() -> None:
    values_B = torch.tensor([0.5, 0.9, float("nan"), 0.5, 0.1])
    rows = torch.tensor([0, 1, 3, 4])
    assert best_rows(values_B, rows, 0.5).tolist() == [1, 0]
    assert best_rows(values_B, rows, 0.51).tolist() == [1, 0, 3]
    assert best_rows(values_B, rows, 1e-9).tolist() == [1]
    assert best_rows(values_B, rows[:0], 0.5).tolist() == []


@pytest.mark.parametrize(("kind", "least"), [(Reinvent, 0.65), (AugmentedHillClimb, 0.8)])
def test_it_learns_a_task_with_a_known_optimum(kind: type[Reinvent], least: float) -> None:
    agent = make(kind, batch_size=32, learning_rate=0.02, sigma=30.0)
    texts = agent.sample(300, seed=9).texts
    random, optimum = 1 / 3, 1.0
    assert abs(sum(likeness(texts)) / 300 - random) < 0.1
    agent.learn(10_000)
    texts = agent.sample(300, seed=9).texts
    assert sum(likeness(texts)) / 300 > least * optimum  # the prior holds it back


def test_replay_joins_the_batch() -> None:
    with_replay, without = make(Reinvent), make(Reinvent, replay_batch_size=0)
    for agent in (with_replay, without):
        agent.learn(100)
    assert 10 < len(with_replay.replay) <= 100
    assert len(without.replay) == 0
    assert not torch.equal(weights(with_replay), weights(without))


def test_with_a_diversity_memory_it_goes_on_to_other_sequences() -> None:
    found = []
    for memory in (False, True):
        reward = FunctionObjective(likeness, name="likeness")
        wrapped = DiversityMemory(reward, bucket_size=8) if memory else reward
        agent = make(AugmentedHillClimb, reward=wrapped, learning_rate=0.02, batch_size=32)
        agent.learn(8000)
        found.append(agent.sample(200, seed=1).texts.count(TARGET))
    assert found[0] > 100 > 20 > found[1]


def test_a_round_that_cannot_be_scored_changes_nothing() -> None:
    agent = make(Reinvent, reward=FunctionObjective(lambda texts: [None] * len(texts)))
    before = weights(agent)
    message = "could be scored; .*'<lambda>' failed first on .* returned None"
    with pytest.warns(UserWarning, match=message):
        agent.learn(1)
    assert torch.equal(before, weights(agent))


def test_options_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="top_share is 0; expected more than 0, at most 1"):
        make(AugmentedHillClimb, top_share=0)
    with pytest.raises(ValueError, match=r"sigma is -1\.0; expected more than 0"):
        make(Reinvent, sigma=-1.0)
