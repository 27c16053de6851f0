"""Rollouts and the policy gradient against enumeration (A = 3, T = 4)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import pytest
import torch
from tokengym.agents import GRUPolicy, Policy, action_values, sample
from tokengym.agents.advantages import leave_one_out_advantages
from tokengym.agents.completions import Backend, Plan, Scheme, tiles
from tokengym.agents.losses import kl_divergence, reinforce_loss, token_log_probs
from tokengym.agents.policies import State
from tokengym.envs import Sequences, Vocabulary
from tokengym.rewards import (
    ConvDiscriminator,
    FunctionObjective,
    RecurrentDiscriminator,
    Reward,
    Scores,
)

from .conftest import PolicyMaker, T, TokenSum, log_probs


def exact_values(
    policy: Policy, sequences: Sequences, everything: Sequences, reward: Reward
) -> torch.Tensor:
    """E[R | prefix] for every prefix, by enumeration."""
    p = log_probs(policy, everything).exp().detach()
    rewards = reward(everything).values_B.double()
    q = torch.zeros(sequences.tokens_BT.shape, dtype=torch.float64)
    for b in range(len(sequences)):
        for t in range(int(sequences.lengths_B[b])):
            prefix = sequences.tokens_BT[b, : t + 1]
            same = (everything.tokens_BT[:, : t + 1] == prefix).all(dim=1)
            q[b, t] = (p[same] * rewards[same]).sum() / p[same].sum()
    return q


SCHEMES = get_args(Scheme)


def convolution() -> Reward:
    """It goes on from the windows of the prefixes, far enough from even that a mistake shows."""
    reward = ConvDiscriminator(3, (1, 2, 3), (4, 4, 4), reward="logit")
    reward.prepare(Vocabulary.from_tokens(["a", "b"], "characters"), T, "cpu")
    with torch.no_grad():
        reward.network.output.weight.mul_(5)
    return reward


def recurrence() -> Reward:
    """It goes on from the states of the prefixes."""
    reward = RecurrentDiscriminator(embedding=3, hidden=4, reward="logit")
    reward.prepare(Vocabulary.from_tokens(["a", "b"], "characters"), T, "cpu")
    with torch.no_grad():
        reward.network.output.weight.mul_(5)
    return reward


RewardMaker = Callable[[], Reward]


def drawn_by(plan: Plan, backend: Backend) -> dict[tuple[int, int, int], list[int]]:
    """The tokens of completion n of the first t + 1 tokens of sequence b."""
    rows = {}
    for tile in tiles(plan, backend):
        found = zip(tile.b_R.tolist(), tile.n_R.tolist(), tile.tokens_RT.tolist(), strict=True)
        rows.update({(b, tile.t, n): row for b, n, row in found})
    return rows


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("completions", [1, 5])
def test_backends_draw_the_same_tokens(
    make_policy: PolicyMaker, vocabulary: Vocabulary, completions: int, scheme: Scheme
) -> None:
    policy = make_policy(vocabulary, 1)
    sequences = sample(policy, 6, max_length=7, seed=3)
    plan = Plan(policy, sequences, completions, scheme, seed=9)
    drawn = drawn_by(plan, "reference")
    assert drawn == drawn_by(plan, "tiled")
    assert drawn == drawn_by(replace(plan, tile_rows=2, compact_every=1), "tiled")
    assert drawn == drawn_by(replace(plan, tile_rows=7, compact_every=3), "tiled")
    lengths, wanted = sequences.lengths_B.tolist(), plan.wanted_BT.tolist()
    assert set(drawn) == {
        (b, t, n) for b in range(6) for t in range(lengths[b] - 1) for n in range(wanted[b][t])
    }
    inside_BT = sequences.mask_BT[:, 1:]
    assert scheme == "backward" or (plan.wanted_BT[inside_BT] == completions).all()
    if policy.fixed_shapes:
        assert drawn == drawn_by(plan, "graph")
    for (b, t, _), row in drawn.items():  # a completion never changes its prefix
        own = sequences.tokens_BT[b].tolist()
        assert row[: t + 1] == own[: t + 1]
        assert scheme != "backward" or row[t + 1] != own[t + 1]


def test_completions_that_draw_alike_are_read_once(
    vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy that always writes the same: one row a prefix and step, whatever N is."""
    policy = GRUPolicy(vocabulary, hidden=4, embedding=4).eval()
    with torch.no_grad():
        policy.output.bias[0] += 50
    sequences = sample(policy, 3, max_length=6)
    rows, step = [], policy.step

    def counted(last_B: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        rows.append(len(last_B))
        return step(last_B, state)

    monkeypatch.setattr(policy, "step", counted)
    drawn_by(Plan(policy, sequences, completions=5, tile_rows=15), "tiled")
    assert set(rows) == {3}
    apart = len(rows)
    rows.clear()
    drawn_by(Plan(policy, sequences, completions=5), "tiled")  # all prefixes in one tile
    assert apart - len(rows) == 3 + 2 + 1  # the steps of the longer prefixes


@pytest.mark.parametrize("scheme", SCHEMES)
def test_values_equal_whatever_the_backend(policy: Policy, scheme: Scheme) -> None:
    sequences = sample(policy, 6, max_length=T, seed=3)
    backends: tuple[Backend, ...] = "reference", "tiled", "graph", "auto"
    first, *others = (
        action_values(policy, sequences, TokenSum(), completions=4, scheme=scheme, backend=backend)
        for backend in backends
    )
    for other in others:
        torch.testing.assert_close(first.q_BT, other.q_BT, atol=1e-6, rtol=0)
        torch.testing.assert_close(first.variance_BT, other.variance_BT, atol=1e-6, rtol=0)
        assert first.n_BT.tolist() == other.n_BT.tolist()
        assert first.tokens == other.tokens


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("make_reward", [TokenSum, convolution, recurrence])
def test_values_are_the_enumerated_ones(
    policy: Policy, all_sequences: Sequences, scheme: Scheme, make_reward: RewardMaker
) -> None:
    """Each cell within 4 standard errors: 15 cells or so, a false alarm in about 1,000 runs."""
    sequences, reward = sample(policy, 8, max_length=T, seed=0), make_reward()
    found = action_values(policy, sequences, reward, completions=4000, scheme=scheme, seed=1)
    exact = exact_values(policy, sequences, all_sequences, reward)
    assert ((found.q_BT - exact).abs() <= 4 * found.variance_BT.sqrt() + 1e-5).all()
    assert (found.n_BT[sequences.mask_BT] > 0).all()
    last = torch.arange(8), sequences.lengths_B - 1
    torch.testing.assert_close(found.q_BT[last], exact[last], atol=1e-6, rtol=0)
    assert (found.variance_BT[last] == 0).all()


@pytest.mark.parametrize(
    ("scheme", "completions"), [*((scheme, 3) for scheme in SCHEMES), ("backward", 2)]
)
def test_the_mean_of_many_tables_is_the_enumerated_one(
    policy: Policy, all_sequences: Sequences, scheme: Scheme, completions: int
) -> None:
    """Few completions a cell, where sharing matters most: 400 tables, each cell within 4.5 s.e.

    About 20 cells at 4.5 give a false alarm with probability 0.0002. With two completions
    ``backward`` writes one where the next token is likely.
    """
    sequences = sample(policy, 8, max_length=T, seed=0)
    exact = exact_values(policy, sequences, all_sequences, TokenSum())
    tables = torch.stack(
        [
            action_values(
                policy, sequences, TokenSum(), completions=completions, scheme=scheme, seed=seed
            ).q_BT
            for seed in range(400)
        ]
    )
    error = tables.std(dim=0) / len(tables) ** 0.5
    assert ((tables.mean(dim=0) - exact).abs() <= 4.5 * error + 1e-5).all()


def test_reuse_writes_fewer_tokens_and_scores_nothing_twice(policy: Policy) -> None:
    sequences = sample(policy, 8, max_length=T, seed=0)
    scored: list[int] = []

    def counted(written: Sequences) -> Scores:
        scored.append(len(written))
        return TokenSum()(written)

    plain = action_values(policy, sequences, counted, completions=8)
    full = sum(scored)
    scored.clear()
    again = action_values(policy, sequences, counted, completions=8, scheme="reuse")
    assert sum(scored) < full
    assert again.tokens < plain.tokens
    assert again.n_BT.tolist() == plain.n_BT.tolist()


def test_backward_skips_what_is_certain(vocabulary: Vocabulary) -> None:
    """A policy that always writes a: nothing else can be drawn, and every value is exact."""
    policy = GRUPolicy(vocabulary, embedding=2, hidden=2).double().eval()
    with torch.no_grad():
        policy.output.weight.zero_()
        policy.output.bias.copy_(torch.tensor([0.0, -torch.inf, -torch.inf]))
    sequences = sample(policy, 2, max_length=T)
    found = action_values(policy, sequences, TokenSum(), scheme="backward")
    assert found.tokens == 0
    assert (found.q_BT == found.scores.values_B[:, None]).all()
    assert (found.variance_BT == 0).all()


def test_backward_writes_as_many_as_would_have_gone_there(vocabulary: Vocabulary) -> None:
    """Next tokens of probability 1/2, 1/4 and 1/4: of 16 completions 8 or 12 begin otherwise."""
    policy = GRUPolicy(vocabulary, embedding=2, hidden=2).eval()
    with torch.no_grad():
        policy.output.weight.zero_()
        policy.output.bias.copy_(torch.tensor([0.5, 0.25, 0.25]).log())
    sequences = sample(policy, 20, max_length=T)
    follows_BT, inside_BT = sequences.tokens_BT[:, 1:], sequences.mask_BT[:, 1:]
    for N, likely, unlikely in ((16, 8, 12), (3, 2, 3), (2, 1, 2), (1, 1, 1)):
        wanted_BT = Plan(policy, sequences, N, "backward").wanted_BT
        assert wanted_BT[inside_BT & (follows_BT == 0)].unique().tolist() == [likely]
        assert wanted_BT[inside_BT & (follows_BT != 0)].unique().tolist() == [unlikely]
        assert (wanted_BT[~inside_BT] == 0).all()


def test_backward_varies_no_more_than_plain(policy: Policy, all_sequences: Sequences) -> None:
    """By enumeration, with the completions that are written: every value's exact variance."""
    N, p = 5, log_probs(policy, all_sequences).exp().detach()
    values = TokenSum()(all_sequences).values_B.double()
    sequences = sample(policy, 16, max_length=T, seed=0)
    plan = Plan(policy, sequences, N, "backward")
    fewer = 0
    for b, length in enumerate(sequences.lengths_B.tolist()):
        own = sequences.tokens_BT[b]
        backward = 0.0
        for t in range(length - 2, -1, -1):
            here = (all_sequences.tokens_BT[:, : t + 1] == own[: t + 1]).all(dim=1)
            other = here & (all_sequences.tokens_BT[:, t + 1] != own[t + 1])
            share, wanted = float(p[other].sum() / p[here].sum()), int(plan.wanted_BT[b, t])
            backward = (1 - share) ** 2 * backward
            backward += share**2 * variance_of(values[other], p[other]) / wanted
            assert backward <= variance_of(values[here], p[here]) / N + 1e-9
            fewer += wanted < N
    assert fewer > 0


def variance_of(values: torch.Tensor, weights: torch.Tensor) -> float:
    shares = weights / weights.sum()
    return float((shares * (values - (shares * values).sum()).square()).sum())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_failed_completions_count_for_nobody(policy: Policy, scheme: Scheme) -> None:
    """A value is missing where every completion failed, and the sequence itself is one of them."""
    sequences = sample(policy, 8, max_length=T, seed=0)
    scorer = FunctionObjective(lambda texts: [None if t.endswith("b") else 1.0 for t in texts])
    found = action_values(policy, sequences, scorer, completions=6, scheme=scheme)
    scored = found.n_BT > 0
    assert (found.q_BT[scored] == 1.0).all()
    assert found.q_BT[sequences.mask_BT & ~scored].isnan().all()
    if scheme == "backward":  # which goes on from the sequence's own score
        assert not (~scored & sequences.mask_BT)[found.scores.ok_B].any()


def test_one_side_stands_for_both_where_the_other_failed(vocabulary: Vocabulary) -> None:
    policy = GRUPolicy(vocabulary, embedding=2, hidden=2).double().eval()
    with torch.no_grad():
        policy.output.weight.zero_()
        policy.output.bias.copy_(torch.tensor([0.5, 0.25, 0.25]).log())
    sequences = Sequences.from_tokens(torch.tensor([[0, 0]]), vocabulary)
    for failing, q, ok in (("other", 1.0, True), ("own", 0.25, False), ("both", math.nan, False)):

        def score(texts: list[str], failing: str = failing) -> list[float | None]:
            values = [1.0 if text == "aa" else 0.25 for text in texts]
            names = ["own" if text == "aa" else "other" for text in texts]
            return [
                None if failing in ("both", name) else value
                for name, value in zip(names, values, strict=True)
            ]

        found = action_values(policy, sequences, FunctionObjective(score), scheme="backward")
        torch.testing.assert_close(found.q_BT[0, 0], torch.tensor(q).double(), equal_nan=True)
        assert found.scores.ok_B.tolist() == [ok]
        assert bool(found.n_BT[0, 0] > 0) == (failing != "both")


def exact_gradient(policy: Policy, everything: Sequences, reward: Reward) -> torch.Tensor:
    p = log_probs(policy, everything).exp()
    value = (p * reward(everything).values_B.double()).sum()
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(policy.parameters()))])


@pytest.mark.parametrize(
    ("baseline", "scheme", "make_reward"),
    [
        ("none", "plain", TokenSum),
        ("leave_one_out", "backward", convolution),
        *(("leave_one_out", scheme, TokenSum) for scheme in SCHEMES),
    ],
)
def test_the_estimated_gradient_is_the_exact_one(
    policy: Policy,
    all_sequences: Sequences,
    baseline: str,
    scheme: Scheme,
    make_reward: RewardMaker,
) -> None:
    """The mean of 300 estimates along a fixed direction and at every weight, z < 4.5 each.

    About 400 weights at z = 4.5 give a false alarm with probability 0.003.
    """
    reward = make_reward()
    exact = exact_gradient(policy, all_sequences, reward)
    estimates = []
    for seed in range(300):
        sequences = sample(policy, 16, max_length=T, seed=seed)
        q_BT = action_values(
            policy, sequences, reward, completions=2, scheme=scheme, seed=seed + 9999
        ).q_BT
        usable = sequences.mask_BT
        if baseline == "leave_one_out":
            q_BT, usable = leave_one_out_advantages(q_BT, sequences.lengths_B, usable)
        logits = policy(sequences.tokens_BT)
        found = token_log_probs(logits, sequences.tokens_BT, sequences.mask_BT)
        loss = reinforce_loss(found, q_BT, usable)
        gradients = torch.autograd.grad(-loss, list(policy.parameters()))
        estimates.append(torch.cat([g.flatten() for g in gradients]))
    stacked = torch.stack(estimates)
    error = stacked.std(dim=0) / len(stacked) ** 0.5
    z = (stacked.mean(dim=0) - exact).abs() / error.clamp(min=1e-9)
    assert z[error > 1e-6].max() < 4.5
    along = stacked @ exact
    spread = along.std() / len(along) ** 0.5
    assert abs(along.mean() - exact @ exact) < 4 * spread


def test_reinforce_loss_by_hand() -> None:
    log_probs_BT = torch.tensor([[-1.0, -2.0], [-3.0, -4.0]], requires_grad=True)
    advantages = torch.tensor([[1.0, 2.0], [0.5, 100.0]])
    mask = torch.tensor([[True, True], [True, False]])
    loss = reinforce_loss(log_probs_BT, advantages, mask)
    assert loss.item() == pytest.approx((1 + 4 + 1.5) / 2)
    loss.backward()
    assert log_probs_BT.grad is not None
    assert log_probs_BT.grad.tolist() == [[-0.5, -1.0], [-0.25, 0.0]]


def test_leave_one_out_by_hand() -> None:
    q = torch.tensor([[1.0, 3.0], [2.0, 9.0], [6.0, 6.0]])  # row 1 ends after one token
    advantages, usable = leave_one_out_advantages(
        q, torch.tensor([2, 1, 2]), torch.tensor([[True, True], [True, False], [True, True]])
    )
    assert advantages.tolist() == [[1 - 4, 3 - 4], [2 - 3.5, 0.0], [6 - 1.5, 6 - 2.5]]
    assert usable.tolist() == [[True, True], [True, False], [True, True]]


def test_equal_values_have_no_advantage_to_the_bit() -> None:
    q = torch.full((5, 3), 0.1)
    lengths = torch.tensor([3, 1, 2, 3, 3])
    advantages, _ = leave_one_out_advantages(q, lengths, torch.arange(3) < lengths[:, None])
    assert (advantages == 0).all()


def test_kl_by_hand() -> None:
    p = torch.tensor([[[0.5, 0.5], [0.9, 0.1]]]).log()
    q = torch.tensor([[[0.25, 0.75], [0.9, 0.1]]]).log()
    mask = torch.tensor([[True, False]])
    expected = 0.5 * torch.log(torch.tensor(2.0)) + 0.5 * torch.log(torch.tensor(0.5 / 0.75))
    torch.testing.assert_close(kl_divergence(p, q, mask), expected)


def test_options_out_of_range(policy: Policy) -> None:
    sequences = sample(policy, 2, max_length=T)
    with pytest.raises(ValueError, match="completions 0"):
        action_values(policy, sequences, TokenSum(), completions=0)
    with pytest.raises(ValueError, match="unknown scheme 'best'"):
        action_values(policy, sequences, TokenSum(), scheme="best")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown backend 'fast'"):
        action_values(policy, sequences, TokenSum(), backend="fast")  # type: ignore[arg-type]
