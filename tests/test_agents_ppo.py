"""PPO: its gradient is the one that it should be; it is masked, deterministic, and learns."""

# Shapes: B sequences, T steps, A actions, S = all sequences of the small language
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokengym.agents import PPO, Policy, SequenceAgent, load_agent
from tokengym.agents.base import Batch, Values
from tokengym.agents.losses import reinforce_loss, token_log_probs
from tokengym.agents.ppo_losses import clipped_loss, generalized_advantages, normalized
from tokengym.envs import Constraint, Sequences, SMILESSyntax, Task, TokenEnv, Vocabulary
from tokengym.rewards import FunctionObjective, Reward

from .conftest import PolicyMaker, TokenSum, log_probs

TARGET = "abca"
KINDS = ["GRU", "LSTM", "Transformer"]


def likeness(texts: list[str]) -> list[float]:
    """The share of places that are as in the target: optimum 1, random tokens 1/3."""
    return [sum(a == b for a, b in zip(text, TARGET, strict=False)) / len(TARGET) for text in texts]


def make(kind: str = "GRU", reward: Reward | None = None, **options: Any) -> PPO:
    vocabulary = Vocabulary.from_tokens(["a", "b", "c"], "characters", eos=False)
    task = Task(
        name="Target",
        vocabulary=vocabulary,
        max_length=len(TARGET),
        reward=reward or FunctionObjective(likeness, credit="rollouts"),
        load_data=lambda: vocabulary.encode(["abca", "abcb", "cbca", "abba"] * 8),
    )
    size = {"width": 8, "heads": 2} if kind == "Transformer" else {"hidden": 12, "embedding": 6}
    small: dict[str, Any] = {"batch_size": 8, "minibatch_size": 4, "completions": 2, "seed": 1}
    return PPO(kind, TokenEnv(task), policy_kwargs=size, **(small | options))


def weights(agent: SequenceAgent) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in agent.policy.parameters()])


# --- the gradient ---------------------------------------------------------------------------


def flat(gradients: Any) -> torch.Tensor:
    return torch.cat([g.flatten() for g in gradients])


def gradient(loss: torch.Tensor, policy: Policy) -> torch.Tensor:
    return flat(torch.autograd.grad(loss, list(policy.parameters())))


def small_agent(policy: Policy, small_task: Task, **options: Any) -> PPO:
    """As plain as PPO can be: one epoch, one minibatch, nothing but the policy gradient."""
    plain: dict[str, Any] = {
        "epochs": 1,
        "minibatch_size": 16,
        "batch_size": 16,
        "gae_lambda": 1.0,
        "value_coefficient": 0.0,
        "normalize_advantage": False,
        "seed": 0,
    }
    return PPO(policy, TokenEnv(small_task), **(plain | options))


def random_critic(agent: PPO) -> None:
    """One that says something, though nothing sensible."""
    assert agent.value_network is not None
    with torch.no_grad():
        for parameter in agent.value_network.parameters():
            parameter.copy_(
                torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5))
            )


@pytest.mark.parametrize("critic", ["own", "head"])
def test_without_clipping_it_is_reinforce_with_the_critic_as_baseline(
    make_policy: PolicyMaker, vocabulary: Vocabulary, small_task: Task, critic: Any
) -> None:
    policy = make_policy(vocabulary, 0)
    agent = small_agent(policy, small_task, critic=critic)
    random_critic(agent)
    assert agent.value_network is not None
    batch = agent._write(0)
    values = agent._value(batch)
    experience, _ = agent._experience(batch, values)
    loss, metrics = agent._loss(experience)
    found = gradient(loss, policy)
    tokens_BT, mask_BT = batch.cut()
    values_BT = agent.value_network.values(policy, tokens_BT).detach()
    advantages_BT = values.scores.values_B[:, None] - values_BT
    log_probs_BT = token_log_probs(policy(tokens_BT), tokens_BT, mask_BT)
    expected = gradient(reinforce_loss(log_probs_BT, advantages_BT, mask_BT), policy)
    torch.testing.assert_close(found, expected)
    assert found.norm() > 0.1
    assert metrics["train/clip_fraction"] == 0
    assert metrics["train/approx_kl"] == pytest.approx(0, abs=1e-12)


def exact_gradient(policy: Policy, everything: Sequences) -> torch.Tensor:
    """Of the expected reward, by enumeration."""
    p_S = log_probs(policy, everything).exp()
    return gradient((p_S * TokenSum()(everything).values_B.double()).sum(), policy)


def expected_gradient(policy: Policy, everything: Sequences, advantages_ST: torch.Tensor) -> Any:
    """What ``clipped_loss`` gives on average over all sequences, at the policy that wrote them."""
    log_probs_ST = token_log_probs(
        policy(everything.tokens_BT), everything.tokens_BT, everything.mask_BT
    )
    p_S = log_probs_ST.sum(dim=1).exp().detach()
    loss = clipped_loss(
        log_probs_ST - log_probs_ST.detach(), len(p_S) * p_S[:, None] * advantages_ST, 0.2
    )
    return -gradient(loss, policy)


def prefix_values(policy: Policy, everything: Sequences) -> torch.Tensor:
    """E[R | y_<t] by enumeration, (S, T)."""
    p_S = log_probs(policy, everything).exp().detach()
    rewards_S = TokenSum()(everything).values_B.double()
    found_ST = torch.zeros(everything.tokens_BT.shape, dtype=torch.float64)
    for s, tokens_T in enumerate(everything.tokens_BT):
        for t in range(int(everything.lengths_B[s])):
            same = (everything.tokens_BT[:, :t] == tokens_T[:t]).all(dim=1)
            found_ST[s, t] = (p_S[same] * rewards_S[same]).sum() / p_S[same].sum()
    return found_ST


def test_gae_is_unbiased_with_lambda_1_or_with_the_true_values(
    policy: Policy, all_sequences: Sequences, small_task: Task
) -> None:
    agent = small_agent(policy, small_task)
    random_critic(agent)
    assert agent.value_network is not None
    any_ST = agent.value_network.values(policy, all_sequences.tokens_BT).detach()
    true_ST = prefix_values(policy, all_sequences)
    rewards_S = TokenSum()(all_sequences).values_B.double()
    exact = exact_gradient(policy, all_sequences)
    for values_ST, trace, unbiased in (
        (any_ST, 1.0, True),
        (true_ST, 1.0, True),
        (true_ST, 0.5, True),
        (true_ST, 0.0, True),
        (any_ST, 0.5, False),
    ):
        advantages_ST = generalized_advantages(
            values_ST, rewards_S, all_sequences.lengths_B, 1.0, trace
        )
        found = expected_gradient(policy, all_sequences, advantages_ST)
        assert torch.allclose(found, exact, atol=1e-9) == unbiased, (trace, unbiased)


@pytest.mark.slow
def test_rollouts_are_unbiased(policy: Policy, all_sequences: Sequences, small_task: Task) -> None:
    """About 400 weights, 4.5 standard errors each: a false alarm with probability 0.003."""
    agent = small_agent(policy, small_task, advantage="rollouts", completions=2)
    estimates = []
    for agent.rounds in range(200):
        batch = agent._write(agent.rounds)
        experience, _ = agent._experience(batch, agent._value(batch))
        estimates.append(-gradient(agent._loss(experience)[0], policy))
    exact, stacked = exact_gradient(policy, all_sequences), torch.stack(estimates)
    error = stacked.std(dim=0) / len(stacked) ** 0.5
    z = (stacked.mean(dim=0) - exact).abs() / error.clamp(min=1e-9)
    assert z[error > 1e-6].max() < 4.5
    along = stacked @ exact / exact.norm()
    assert along.std() / len(along) ** 0.5 < 0.1 * exact.norm()  # so that a bias of half would show


# --- rewards --------------------------------------------------------------------------------


def test_a_constant_reward_changes_nothing_with_rollouts() -> None:
    constant = FunctionObjective(lambda texts: [0.1] * len(texts), credit="rollouts")
    agent = make(reward=constant, advantage="rollouts")
    before = weights(agent)
    agent.learn(300)
    assert torch.equal(before, weights(agent))


def test_equal_advantages_are_normalised_to_nothing() -> None:
    """A reward that is no sum of powers of two: rounding leaves no step of full size."""
    constant = FunctionObjective(lambda texts: [0.7] * len(texts))
    agent = make(reward=constant, gae_lambda=1.0, critic="own", value_coefficient=0.0)
    before = weights(agent)
    assert torch.equal(before, weights(agent.learn(100)))
    values_BT, all_BT = torch.full((3, 4), 0.1), torch.ones(3, 4, dtype=torch.bool)
    assert not normalized(values_BT, all_BT).any()
    values_BT[0, 0] = 5.0
    found_BT = normalized(values_BT, all_BT)
    torch.testing.assert_close(
        found_BT, (values_BT - values_BT.mean()) / values_BT.std(correction=0)
    )


def test_what_completions_have_no_use_for_is_refused() -> None:
    with pytest.raises(ValueError, match=r"gamma is 0\.5 and overlap False; both are of advantage"):
        make(advantage="rollouts", gamma=0.5)
    with pytest.raises(ValueError, match="overlap True"):
        make(advantage="rollouts", overlap=True)


@pytest.mark.parametrize("advantage", ["gae", "rollouts"])
def test_failures_are_left_out(advantage: Any) -> None:
    def fails(texts: list[str]) -> list[float | None]:
        return [None if text[0] == "a" else float(text.count("b")) for text in texts]

    reward = FunctionObjective(fails, credit="rollouts")
    agent = make(reward=reward, advantage=advantage, minibatch_size=1)  # none of them is empty
    batch = agent._write(0)
    values = agent._value(batch)
    experience, _ = agent._experience(batch, values)
    failed_B = ~values.scores.ok_B
    assert 0 < failed_B.sum() < len(failed_B)
    assert not experience.usable_BT[failed_B, -1].any()
    assert (experience.advantages_BT[~experience.usable_BT] == 0).all()
    assert agent._loss(experience)[0].isfinite()
    agent.learn(100)
    assert weights(agent).isfinite().all()


@pytest.mark.parametrize("advantage", ["gae", "rollouts"])
def test_a_round_that_cannot_be_scored_changes_nothing(advantage: Any) -> None:
    nothing = FunctionObjective(lambda texts: [None] * len(texts), credit="rollouts")
    agent = make(reward=nothing, advantage=advantage)
    before = weights(agent)
    with pytest.warns(UserWarning, match="no sequence of this round could be scored"):
        agent.learn(1)
    assert torch.equal(before, weights(agent))


def test_rollouts_refuse_what_scores_finished_sequences_alone() -> None:
    with pytest.raises(ValueError, match=r"'likeness' is a reward for finished sequences alone"):
        make(reward=FunctionObjective(likeness), advantage="rollouts")


# --- updates --------------------------------------------------------------------------------


def test_updates_end_where_the_policy_has_gone_too_far() -> None:
    updates = {}
    for target_kl in (None, 1e-6, 1e3):
        agent = make(target_kl=target_kl, learning_rate=0.01, epochs=3)
        agent.learn(1)
        updates[target_kl] = agent._n_updates
    assert updates == {None: 6, 1e-6: 1, 1e3: 6}  # the first update is at the policy that wrote


def test_a_minibatch_is_cut_to_its_longest_sequence(policy: Policy, small_task: Task) -> None:
    agent = small_agent(policy, small_task, batch_size=64)
    batch = agent._write(0)
    experience, _ = agent._experience(batch, agent._value(batch))
    lengths_B = batch.sequences.lengths_B
    for rows in (lengths_B == 1).nonzero()[:, 0], (lengths_B <= 2).nonzero()[:, 0]:
        part = experience[rows]
        assert part.tokens_BT.shape == (len(rows), int(lengths_B[rows].max()))
        assert torch.equal(part.written_BT.sum(dim=1), lengths_B[rows])
        assert part.returns_BT is not None
        assert part.returns_BT.shape == part.tokens_BT.shape


def test_every_epoch_has_all_rows_in_an_order_of_its_own() -> None:
    agent = make(batch_size=10, epochs=3)
    rows = list(agent._minibatches(10))
    assert [len(each) for each in rows] == [4, 4, 2] * 3
    epochs = [torch.cat(rows[first : first + 3]) for first in (0, 3, 6)]
    assert all(sorted(epoch.tolist()) == list(range(10)) for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1])


@pytest.mark.parametrize("critic", ["own", "head"])
def test_the_critic_learns_what_can_be_known(critic: Any) -> None:
    """Of four equal and independent shares of the reward, 0, 1, 2 and 3 are known before a token.

    So a perfect critic explains 3/8 of the variance; the rest is still to come.
    """
    agent = make(batch_size=1000, gae_lambda=1.0, critic=critic, learning_rate=0.05)
    with torch.no_grad():
        agent.policy.output.weight.zero_()  # all tokens are equally probable
        agent.policy.output.bias.zero_()
    assert agent.value_network is not None
    batch = agent._write(0)
    experience, metrics = agent._experience(batch, agent._value(batch))
    assert metrics["train/explained_variance"] == 0
    for parameter in agent.policy.output.parameters():
        parameter.requires_grad_(False)
    for _ in range(70):
        agent.optimizer.zero_grad()
        agent._loss(experience)[0].backward()
        agent.optimizer.step()
    batch = agent._write(1)
    _, metrics = agent._experience(batch, agent._value(batch))
    assert metrics["train/explained_variance"] == pytest.approx(3 / 8, abs=0.05)


# --- masked ---------------------------------------------------------------------------------

SMILES = Vocabulary.from_tokens(list("CNOF=()12"), "smiles")


def masked_agent(kind: str, constraint: Constraint, **options: Any) -> PPO:
    reward = FunctionObjective(lambda texts: [text.count("O") / 12 for text in texts])
    task = Task(
        name="Masked", vocabulary=SMILES, max_length=12, reward=reward, constraint=constraint
    )
    size = {"width": 8, "heads": 2} if kind == "Transformer" else {"hidden": 16, "embedding": 8}
    return PPO(
        kind, TokenEnv(task), policy_kwargs=size, batch_size=16, minibatch_size=8, seed=0, **options
    )


@pytest.mark.parametrize("kind", KINDS)
def test_recurrent_and_masked(kind: str) -> None:
    agent = masked_agent(kind, SMILESSyntax(), prior_coefficient=0.1, entropy_coefficient=0.01)
    written: list[Batch] = []
    update = agent._update

    def watched(batch: Batch, values: Values) -> dict[str, float]:
        written.append(batch)
        return update(batch, values)

    agent._update = watched  # type: ignore[method-assign]
    agent.learn(400)
    assert len(written) > 2
    for batch in written:
        allowed_BTA = agent._allowed(batch.sequences.tokens_BT)
        assert allowed_BTA is not None
        chosen_BT1 = batch.sequences.tokens_BT.clamp(max=SMILES.num_actions - 1)[:, :, None]
        assert allowed_BTA.gather(2, chosen_BT1)[:, :, 0][batch.written_BT].all()
    assert weights(agent).isfinite().all()


def test_what_is_learnt_from_is_what_was_drawn_from() -> None:
    agent = masked_agent("LSTM", SMILESSyntax())
    batch = agent._write(0)
    experience, metrics = agent._experience(batch, agent._value(batch))
    assert experience.allowed_BTA is not None
    hidden_BT = (~experience.allowed_BTA).any(dim=2) & experience.written_BT
    assert hidden_BT.float().mean() > 0.3
    _, made = agent._loss(experience)
    assert made["train/approx_kl"] < 1e-9  # renormalised over what is allowed, as in sampling
    assert batch.sequences.log_probs_BT is not None
    expected = -batch.sequences.log_probs_BT.sum() / batch.sequences.num_tokens
    assert metrics["train/entropy"] == pytest.approx(float(expected))


def test_nothing_is_learnt_about_forbidden_tokens() -> None:
    agent = masked_agent("LSTM", SMILESSyntax(), entropy_coefficient=0.1)
    batch = agent._write(0)
    experience, _ = agent._experience(batch, agent._value(batch))
    seen: list[torch.Tensor] = []

    def keep(_: Any, __: Any, logits_BTA: torch.Tensor) -> None:
        logits_BTA.retain_grad()
        seen.append(logits_BTA)

    agent.policy.output.register_forward_hook(keep)
    agent._loss(experience)[0].backward()
    gradient_BTA = seen[0].grad
    assert gradient_BTA is not None
    assert experience.allowed_BTA is not None
    assert (gradient_BTA[~experience.allowed_BTA] == 0).all()
    assert (gradient_BTA != 0).any()


# --- learning, determinism, resuming --------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options", "seed"),
    [
        ("GRU", {}, 0),
        ("GRU", {}, 1),
        ("GRU", {}, 2),
        ("LSTM", {"critic": "own"}, 0),
        ("Transformer", {"advantage": "rollouts"}, 0),
    ],
)
def test_learns_a_task_with_a_known_optimum(kind: str, options: dict[str, Any], seed: int) -> None:
    agent = make(kind, seed=seed, batch_size=32, minibatch_size=16, learning_rate=0.02, **options)

    def mean_return() -> float:
        texts = agent.sample(500, seed=9).texts
        return sum(likeness(texts)) / len(texts)

    random, optimum = 1 / 3, 1.0
    assert abs(mean_return() - random) < 0.2
    agent.learn(3_000)
    assert mean_return() > 0.9 * optimum


@pytest.mark.parametrize("advantage", ["gae", "rollouts"])
def test_one_seed_one_result(advantage: Any) -> None:
    runs = [weights(make(seed=seed, advantage=advantage).learn(200)) for seed in (1, 1, 2)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


@pytest.mark.parametrize(
    "options",
    [
        {"prior_coefficient": 0.1, "entropy_coefficient": 0.01, "target_kl": 0.02},
        {"critic": "own"},
        {"advantage": "rollouts"},
        {"overlap": True},
    ],
    ids=lambda options: next(iter(options)),
)
def test_saved_and_resumed_equals_never_stopped(options: dict[str, Any], tmp_path: Path) -> None:
    whole, first = make("LSTM", **options), make("LSTM", **options)
    for agent in (whole, first):
        agent.pretrain(epochs=1)
    whole.learn(400)
    first.learn(200)
    first.save(tmp_path / "half")
    second = load_agent(tmp_path / "half", make("LSTM").env)
    assert isinstance(second, PPO)
    second.learn(400 - second.num_timesteps, reset_num_timesteps=False)
    assert torch.equal(weights(whole), weights(second))
    if whole.value_network is not None:
        assert second.value_network is not None
        kept, found = whole.value_network.state_dict(), second.value_network.state_dict()
        assert all(torch.equal(kept[name], found[name]) for name in kept)
    assert whole.sample(5).texts == second.sample(5).texts


def test_the_critic_reads_as_the_pretrained_policy_does() -> None:
    agent = make(critic="own")
    agent.pretrain(epochs=3)
    agent._before_learning()
    assert agent.value_network is not None
    network = agent.value_network.network
    assert network is not None
    assert (network.output.weight == 0).all()
    copied, own = network.state_dict(), agent.policy.state_dict()
    assert all(torch.equal(copied[k], own[k]) for k in own if not k.startswith("output."))


class NoLastLayer(Policy):
    """A policy of a user's own, whose logits come from nowhere that a critic could begin at."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.logits = torch.nn.Parameter(torch.zeros(vocabulary.num_actions))

    def initial_state(self, batch: int, condition: Any = None) -> tuple[torch.Tensor, ...]:
        return ()

    def step(self, tokens_B: torch.Tensor, state: Any) -> Any:
        return self.logits.expand(len(tokens_B), -1), ()

    def forward(self, tokens_BT: torch.Tensor, condition: Any = None) -> torch.Tensor:
        return self.logits.expand(*tokens_BT.shape, -1)

    def config(self) -> dict[str, Any]:
        return {}


def test_a_policy_without_a_last_layer(small_task: Task) -> None:
    policy = NoLastLayer(small_task.vocabulary)
    with pytest.raises(TypeError, match=r"NoLastLayer has no last layer .* self\.output"):
        PPO(policy, TokenEnv(small_task))
    agent = PPO(policy, TokenEnv(small_task), advantage="rollouts", batch_size=16, seed=0)
    agent.learn(100)
    assert (policy.logits != 0).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"advantage": "td"}, "advantage is 'td'; expected 'gae' or 'rollouts'"),
        ({"critic": "none"}, "critic is 'none'; expected 'own' or 'head'"),
        ({"epochs": 0}, "epochs is 0; expected a whole number, at least 1"),
        ({"minibatch_size": 0}, "minibatch_size is 0; expected a whole number, at least 1"),
        ({"clip_range": 0.0}, "clip_range is 0.0; expected more than 0"),
        ({"target_kl": -0.1}, "target_kl is -0.1; expected more than 0"),
        ({"gamma": 1.1}, "gamma is 1.1; expected 0 to 1"),
        ({"gae_lambda": -0.5}, "gae_lambda is -0.5; expected 0 to 1"),
        ({"value_coefficient": -1}, "value_coefficient is -1; expected at least 0"),
        ({"completions": 0}, "completions is 0; expected a whole number, at least 1"),
    ],
)
def test_options_that_cannot_be_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)
