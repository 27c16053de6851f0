"""Policies that read a condition: one distribution for each, in every way of reading it."""

# Shapes: B sequences, T steps, C numbers of a condition
from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from tokengym.agents import (
    ORGAN,
    PPO,
    AugmentedHillClimb,
    GRUPolicy,
    LSTMPolicy,
    Policy,
    Reinforce,
    Reinvent,
    SequenceAgent,
    TransformerPolicy,
    action_values,
    sample,
)
from tokengym.agents.losses import reinforce_loss, token_log_probs
from tokengym.agents.policies.conditions import ConditionPrior
from tokengym.agents.policies.recurrent import RecurrentPolicy
from tokengym.envs import Sequences, Task, TokenEnv, Vocabulary

from .conftest import T, TokenSum

C = 2
KINDS: list[Callable[[Vocabulary], Policy]] = [
    lambda v: GRUPolicy(v, embedding=5, hidden=7, condition_size=C),
    lambda v: GRUPolicy(v, embedding=5, hidden=7, layers=2, condition_size=C),
    lambda v: LSTMPolicy(v, embedding=5, hidden=7, layers=2, condition_size=C),
    lambda v: TransformerPolicy(v, width=8, heads=2, layers=2, condition_size=C),
]


@pytest.fixture(params=KINDS, ids=["GRU", "GRU-2", "LSTM-2", "Transformer-2"])
def conditioned(request: pytest.FixtureRequest, vocabulary: Vocabulary) -> Policy:
    """Random weights, in float64."""
    torch.manual_seed(0)
    made: Policy = request.param(vocabulary)
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(2)
    return made.double().eval()


def conditions(n: int) -> torch.Tensor:
    return torch.randn(n, C, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_T1_chain_rule_under_conditions(
    conditioned: Policy, vocabulary: Vocabulary, all_sequences: Sequences
) -> None:
    """Stepping, by the table and without it, is the one pass; rows may be dropped on the way."""
    c_BC = conditions(len(all_sequences))
    expected_BTA = conditioned(all_sequences.tokens_BT, c_BC)
    rows = torch.arange(len(all_sequences))
    for table in (False, True):
        with torch.set_grad_enabled(not table), conditioned.fixed_weights():
            state = conditioned.initial_state(len(all_sequences), c_BC)
            token_B = torch.full((len(all_sequences),), vocabulary.bos)
            for t in range(T):
                if t == 2:
                    rows = torch.arange(0, len(all_sequences), 3)
                    token_B, state = token_B[rows], conditioned.select(state, rows)
                logits_BA, state = conditioned.step(token_B, state)
                torch.testing.assert_close(logits_BA, expected_BTA[rows, t], atol=1e-12, rtol=0)
                token_B = all_sequences.tokens_BT[rows, t]
        rows = torch.arange(len(all_sequences))


def test_a_branch_keeps_the_condition_of_its_row(conditioned: Policy) -> None:
    """Twice over, rows out of order, some left out: steps are those of the one pass."""
    tokens_BT = torch.tensor([[0, 1, 0, 1], [1, 1, 0, 0], [0, 0, 1, 1]])
    c_BC, bos_B = conditions(3), torch.full((3,), conditioned.vocabulary.bos)
    expected_BTA = conditioned(tokens_BT, c_BC)
    _, state = conditioned.step(bos_B, conditioned.initial_state(3, c_BC))
    first = torch.tensor([2, 0, 2, 2, 0])
    state = conditioned.branch(state, first)
    logits_RA, state = conditioned.step(tokens_BT[first, 0], state)
    torch.testing.assert_close(logits_RA, expected_BTA[first, 1], atol=1e-12, rtol=0)
    again = torch.tensor([4, 1, 1, 3])
    rows = first[again]
    logits_RA, _ = conditioned.step(tokens_BT[rows, 1], conditioned.branch(state, again))
    torch.testing.assert_close(logits_RA, expected_BTA[rows, 2], atol=1e-12, rtol=0)


def test_T2_given_a_condition_probabilities_sum_to_one(
    conditioned: Policy, all_sequences: Sequences
) -> None:
    totals = []
    for c_C in conditions(2):
        tokens_BT = all_sequences.tokens_BT
        logits_BTA = conditioned(tokens_BT, c_C.expand(len(tokens_BT), C))
        log_p_B = token_log_probs(logits_BTA, tokens_BT, all_sequences.mask_BT).sum(dim=1)
        assert float(log_p_B.detach().exp().sum()) == pytest.approx(1, abs=1e-12)
        totals.append(log_p_B)
    assert not torch.allclose(totals[0], totals[1], atol=0.1)


@pytest.mark.parametrize("conditioned", KINDS[:3], indirect=True)
def test_T8_a_state_carries_its_condition_across_chunks(
    conditioned: Policy, all_sequences: Sequences
) -> None:
    assert isinstance(conditioned, RecurrentPolicy)
    inputs_BT = all_sequences.tokens_BT
    first = conditioned.initial_state(len(inputs_BT), conditions(len(inputs_BT)))
    whole_BTH, last = conditioned.read(inputs_BT, first)
    begun_BTH, state = conditioned.read(inputs_BT[:, :1], first)
    rest_BTH, state = conditioned.read(inputs_BT[:, 1:], state)
    both_BTH = torch.cat([begun_BTH, rest_BTH], dim=1)
    torch.testing.assert_close(both_BTH, whole_BTH, atol=1e-12, rtol=0)
    torch.testing.assert_close(state, last, atol=1e-12, rtol=0)


def test_what_is_written_keeps_its_condition(conditioned: Policy) -> None:
    """Drawn for a sequence's number, whatever is written beside it; its log-probability is so."""
    written = sample(conditioned, 9, max_length=T, seed=5)
    assert written.condition_B is not None
    assert written.log_probs_BT is not None
    logits_BTA = conditioned(written.tokens_BT, written.condition_B)
    found_BT = token_log_probs(logits_BTA, written.tokens_BT, written.mask_BT)
    torch.testing.assert_close(found_BT, written.log_probs_BT, atol=1e-12, rtol=0)
    rest = sample(conditioned, 4, max_length=T, seed=5, first=5)
    assert rest.condition_B is not None
    assert torch.equal(rest.tokens_BT, written.tokens_BT[5:])
    assert torch.equal(rest.condition_B, written.condition_B[5:])
    given = sample(conditioned, 9, max_length=T, seed=5, condition=written.condition_B)
    assert torch.equal(given.tokens_BT, written.tokens_BT)


@pytest.mark.parametrize("scheme", ["plain", "backward", "reuse"])
def test_completions_go_on_under_the_condition(conditioned: Policy, scheme: str) -> None:
    """All backends write the same, of completions that share their prefix too."""
    written = sample(conditioned, 3, max_length=T, seed=2)
    options = {"completions": 3, "scheme": scheme, "seed": 4}
    backends = ("reference", "tiled", *(["graph"] if conditioned.fixed_shapes else []))
    reference, *others = (
        action_values(conditioned, written, TokenSum(), backend=backend, **options)  # type: ignore[arg-type]
        for backend in backends
    )
    for other in others:
        torch.testing.assert_close(other.q_BT, reference.q_BT, atol=1e-9, rtol=0, equal_nan=True)


def test_the_prior_is_a_mixture_of_normals() -> None:
    """Moments of 40,000 draws against the closed form; 5 standard errors each."""
    prior = ConditionPrior(3, modes=2).double()
    prior.mean_MC[:] = torch.tensor([[2.0, 0.0, 1.0], [-2.0, 0.0, 0.0]])
    prior.scale_C[:] = torch.tensor([0.5, 1.0, 0.0])
    n = 40_000
    c_BC = prior.draw(3, torch.arange(n))
    variance = torch.tensor([4.25, 1.0, 0.25], dtype=torch.float64)
    error = 5 * (variance / n) ** 0.5
    expected = torch.tensor([0.0, 0.0, 0.5], dtype=torch.float64)
    assert ((c_BC.mean(dim=0) - expected).abs() < error).all()
    torch.testing.assert_close(c_BC.var(dim=0), variance, rtol=0.05, atol=0)
    assert set(c_BC[:, 2].tolist()) == {0.0, 1.0}
    assert torch.equal(c_BC[:, 0] > 0, c_BC[:, 2] == 1)  # one mode for all numbers
    assert torch.equal(prior.draw(3, torch.tensor([7])), c_BC[7:8])


def test_conditions_that_do_not_fit_are_refused(conditioned: Policy, policy: Policy) -> None:
    tokens_BT = torch.zeros(2, T, dtype=torch.int64)
    with pytest.raises(ValueError, match="reads a condition of 2 numbers, and the sequences have"):
        conditioned(tokens_BT)
    with pytest.raises(ValueError, match=r"shape \(2, 3\); expected \(2, 2\)"):
        conditioned(tokens_BT, torch.zeros(2, 3))
    with pytest.raises(ValueError, match="takes no condition"):
        policy(tokens_BT, torch.zeros(2, 3))


# --- agents -----------------------------------------------------------------------------------


def two_ways(vocabulary: Vocabulary) -> GRUPolicy:
    """A policy with two conditions alone, so that what it writes overall can be enumerated."""
    torch.manual_seed(1)
    made = GRUPolicy(vocabulary, embedding=5, hidden=7, condition_size=1, modes=2)
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(2)
        made.prior.mean_MC[:] = torch.tensor([[2.0], [-2.0]])
        made.prior.scale_C.zero_()
    return made.double().eval()


def overall(policy: Policy, sequences: Sequences) -> torch.Tensor:
    """p(x) = mean over the two conditions of p(x | c)."""
    tokens_BT, parts = sequences.tokens_BT, []
    for c_C in policy.prior.mean_MC:
        logits_BTA = policy(tokens_BT, c_C.expand(len(tokens_BT), 1))
        log_p_BT = token_log_probs(logits_BTA, tokens_BT, sequences.mask_BT)
        parts.append(log_p_BT.sum(dim=1).exp())
    return torch.stack(parts).mean(dim=0)


def test_the_gradient_given_conditions_is_that_of_what_is_written_overall(
    vocabulary: Vocabulary, all_sequences: Sequences
) -> None:
    """REINFORCE of 40,000 samples against the enumerated gradient of E[R]: within 3 % of it.

    The estimate's own error is about 0.5 % of the norm; with the wrong conditions it is not near.
    """
    policy = two_ways(vocabulary)
    values_B = TokenSum()(all_sequences).values_B.double()
    wanted = torch.autograd.grad((overall(policy, all_sequences) * values_B).sum(), weights(policy))
    written = sample(policy, 40_000, max_length=T, seed=3)
    assert written.condition_B is not None
    scores_B = TokenSum()(written).values_B.double()
    advantages_BT = (scores_B - scores_B.mean())[:, None].expand(-1, T)

    def error(condition_B: torch.Tensor) -> float:
        logits_BTA = policy(written.tokens_BT, condition_B)
        log_probs_BT = token_log_probs(logits_BTA, written.tokens_BT, written.mask_BT)
        loss = reinforce_loss(log_probs_BT, advantages_BT, written.mask_BT)
        found = torch.autograd.grad(-loss, weights(policy))
        apart = sum(float((a - b).square().sum()) for a, b in zip(found, wanted, strict=True))
        return math.sqrt(apart / sum(float(b.square().sum()) for b in wanted))

    assert error(written.condition_B) < 0.03
    assert error(-written.condition_B) > 0.3


def weights(policy: Policy) -> list[torch.Tensor]:
    return list(policy.parameters())


def test_T5_what_is_written_overall_is_the_mixture(
    vocabulary: Vocabulary, all_sequences: Sequences
) -> None:
    """Chi-square over the sequences that are expected at least 5 times; p > 1e-4."""
    policy, n = two_ways(vocabulary), 20_000
    expected_S = overall(policy, all_sequences).detach() * n
    texts = [tuple(row) for row in all_sequences.tokens_BT.tolist()]
    written = sample(policy, n, max_length=T, seed=8)
    rows = [tuple(row) for row in written.tokens_BT.tolist()]
    counts_S = torch.tensor([rows.count(text) for text in texts])
    often_S = expected_S > 5
    statistic = ((counts_S - expected_S).square() / expected_S)[often_S].sum()
    degrees = torch.tensor(float(often_S.sum()) - 1)
    p = 1 - torch.special.gammainc(degrees.double() / 2, statistic / 2)
    assert p > 1e-4


AGENTS: list[tuple[type[SequenceAgent], dict[str, Any]]] = [
    (ORGAN, {"completions": 2}),
    (Reinforce, {"overlap": True, "prior_coefficient": 0.1}),
    (Reinforce, {"baseline": "learned"}),
    (ORGAN, {"completions": 2, "replay_batch_size": 8}),
    (Reinvent, {}),
    (AugmentedHillClimb, {"replay_batch_size": 4}),
    (PPO, {}),
]


@pytest.mark.parametrize(("kind", "options"), AGENTS)
def test_agents_learn_with_it(
    kind: type[SequenceAgent], options: dict[str, Any], small_task: Task, tmp_path: Any
) -> None:
    """More of what scores well, and a stopped agent goes on to the bit."""
    policy = two_ways(small_task.vocabulary).float()
    common: dict[str, Any] = {"batch_size": 64, "learning_rate": 0.02, "seed": 0, "device": "cpu"}
    agent = kind(policy, TokenEnv(small_task), **(common | options))
    before = float(TokenSum()(agent.sample(500, seed=1)).values_B.mean())
    agent.learn(400)
    agent.save(tmp_path / "agent")
    agent.learn(3000, reset_num_timesteps=False)
    again = kind.load(tmp_path / "agent", TokenEnv(small_task), device="cpu")
    again.learn(3000, reset_num_timesteps=False)
    ours, theirs = agent.policy.state_dict(), again.policy.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    after = float(TokenSum()(agent.sample(500, seed=1)).values_B.mean())
    assert after > before + 0.5


def test_predictions_keep_the_condition_of_an_episode(small_task: Task) -> None:
    agent = Reinforce(two_ways(small_task.vocabulary), TokenEnv(small_task), seed=0, device="cpu")
    empty_BT = np.full((6, T), small_task.vocabulary.pad)
    _, state = agent.predict(empty_BT)
    assert state is not None
    _, kept = agent.predict(empty_BT, state, np.zeros(6, bool))
    assert kept is not None
    assert np.array_equal(state[0], kept[0])
    starts_B = np.array([True] * 3 + [False] * 3)
    redrawn = [agent.predict(empty_BT, state, starts_B)[1] for _ in range(20)]
    assert all(each is not None and np.array_equal(each[0][3:], state[0][3:]) for each in redrawn)
    assert any(each is not None and not np.array_equal(each[0], state[0]) for each in redrawn)
    mean, _ = evaluate_policy(agent, TokenEnv(small_task), 3, warn=False)  # type: ignore[arg-type]
    assert np.isfinite(mean)


def test_what_is_remembered_keeps_the_condition_that_it_was_written_under(
    small_task: Task, tmp_path: Path
) -> None:
    """In a saved agent, too."""
    policy = two_ways(small_task.vocabulary).float()
    agent = Reinvent(policy, TokenEnv(small_task), replay_size=20, device="cpu")
    written = agent.sample(30, seed=1)
    assert written.condition_B is not None
    agent.remember(written, TokenSum()(written).values_B)
    agent.save(tmp_path / "agent")
    loaded = Reinvent.load(tmp_path / "agent", TokenEnv(small_task), device="cpu")
    known = set(zip(written.texts, written.condition_B[:, 0].tolist(), strict=True))
    for each in (agent, loaded):
        replayed, _ = each._draw_replayed(seed=0)
        assert replayed.condition_B is not None
        drawn = set(zip(replayed.texts, replayed.condition_B[:, 0].tolist(), strict=True))
        assert len(drawn) == 10
        assert drawn <= known


def test_self_imitation_is_under_the_condition(small_task: Task) -> None:
    """By hand: -log p(y | c) (R - mean), of the one sequence that is remembered."""
    agent = Reinforce(
        two_ways(small_task.vocabulary), TokenEnv(small_task), replay_batch_size=1, device="cpu"
    )
    c_BC = torch.tensor([[-2.0]], dtype=torch.float64)
    one = small_task.vocabulary.encode(["ab"]).given(c_BC)
    agent.remember(one, [3.0])
    agent.replay.expect(torch.tensor([1.0]))
    ours, other = (
        token_log_probs(agent.policy(one.tokens_BT, c), one.tokens_BT, one.mask_BT).sum()
        for c in (c_BC, -c_BC)
    )
    torch.testing.assert_close(agent._imitation(), -2.0 * ours)
    assert abs(float((other - ours).detach())) > 0.1


def test_what_has_no_condition_is_not_remembered(small_task: Task, tmp_path: Path) -> None:
    policy, env = two_ways(small_task.vocabulary), TokenEnv(small_task)
    agent = Reinvent(policy, env, device="cpu")
    with pytest.raises(ValueError, match="reads a condition of 1 numbers, and the sequences have"):
        agent.remember(["ab"], [1.0])
    (tmp_path / "known.csv").write_text("text,score\nab,1.0\n")
    agent = Reinvent(policy, env, experience=str(tmp_path / "known.csv"), device="cpu")
    with pytest.raises(ValueError, match=r"sequences of '.*known.csv' have none; leave experience"):
        agent.learn(10)
