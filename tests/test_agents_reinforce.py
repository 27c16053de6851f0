"""Reinforce and what it shares with the agents built on it: baselines, pulls, replay, prompts."""

# Shapes: B sequences, T steps, S = all sequences of the small language
from __future__ import annotations

import itertools
import math
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from tokengym.agents import Policy, Reinforce, SeqGAN, SequenceAgent, load_agent
from tokengym.agents.advantages import group_advantages, mean_advantages
from tokengym.agents.base import Batch
from tokengym.agents.losses import (
    adapted_coefficient,
    augmented_likelihood_loss,
    entropy,
    importance_weights,
    self_imitation_loss,
    token_log_probs,
)
from tokengym.agents.replay import Replay
from tokengym.envs import Sequences, Task, TokenEnv, Vocabulary, make_constraint
from tokengym.rewards import ConvDiscriminator, FunctionObjective, Reward

from .conftest import TokenSum, log_probs

TARGET = "abca"


def likeness(texts: list[str]) -> list[float]:
    """The share of places that are as in the target: optimum 1, random tokens 1/3."""
    return [sum(a == b for a, b in zip(text, TARGET, strict=False)) / len(TARGET) for text in texts]


def task_with(reward: Reward | None = None) -> Task:
    vocabulary = Vocabulary.from_tokens(["a", "b", "c"], "characters", eos=False)
    return Task(
        name="Target",
        vocabulary=vocabulary,
        max_length=len(TARGET),
        reward=reward or FunctionObjective(likeness),
        load_data=lambda: vocabulary.encode(["abca", "abcb", "cbca", "abba"] * 8),
    )


def make(kind: type[SequenceAgent] = Reinforce, **options: Any) -> Any:
    task = task_with(options.pop("reward", None))
    defaults: dict[str, Any] = {
        "batch_size": 8,
        "policy_kwargs": {"hidden": 12, "embedding": 6},
        "seed": 1,
    }
    return kind("GRU", TokenEnv(task), **(defaults | options))


def weights(agent: SequenceAgent) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in agent.policy.parameters()])


# --- the gradient ---------------------------------------------------------------------------


def exact_gradient(policy: Policy, sequences: Sequences, values_S: torch.Tensor) -> torch.Tensor:
    """Of the expected reward, by enumeration."""
    expected = (log_probs(policy, sequences).exp() * values_S).sum()
    return flat(torch.autograd.grad(expected, list(policy.parameters())))


def flat(gradients: Any) -> torch.Tensor:
    return torch.cat([g.flatten() for g in gradients])


def small_agent(policy: Policy, **options: Any) -> Reinforce:
    """An agent in float64, with batches of two, that takes no steps of its own."""
    task = Task(
        name="Small", vocabulary=policy.vocabulary, max_length=4, reward=TokenSum(), load_data=None
    )
    return Reinforce(policy, TokenEnv(task), batch_size=2, learning_rate=1.0, seed=0, **options)


def expected_gradient(
    agent: Reinforce, sequences: Sequences, p_S: torch.Tensor, *, ahead: bool = False
) -> torch.Tensor:
    """Minus that of the agent's loss, over all batches of two with their probabilities."""
    taken: list[torch.Tensor] = []
    parameters = list(agent.policy.parameters())

    def take(loss: torch.Tensor) -> float:
        taken.append(flat(torch.autograd.grad(loss, parameters)))
        return 0.0

    vars(agent)["_update_policy"] = take
    total = torch.zeros_like(flat(parameters))
    for i, j in itertools.combinations_with_replacement(range(len(sequences)), 2):
        pair = sequences[[i, j]]
        batch = Batch(pair, pair.mask_BT, ahead)
        agent._update(batch, agent._value(batch))
        total -= (1 if i == j else 2) * p_S[i] * p_S[j] * taken.pop()  # in either order
    return total


@pytest.mark.parametrize(
    ("baseline", "factor"),
    [("none", 1.0), ("leave_one_out", 1.0), ("learned", 1.0), ("mean", 0.5), ("group", 0.5)],
)
def test_every_baseline_leaves_the_expected_gradient_as_it_is(
    baseline: Any, factor: float, policy: Policy, all_sequences: Sequences
) -> None:
    agent = small_agent(policy, baseline=baseline, group_size=2)
    if agent.value_network is not None:  # a critic that has an opinion
        agent.value_network.network.output.weight.data.normal_()  # type: ignore[union-attr]
    values_S = TokenSum()(all_sequences).values_B.double()
    exact = exact_gradient(policy, all_sequences, values_S)
    p_S = log_probs(policy, all_sequences).exp().detach()
    found = expected_gradient(agent, all_sequences, p_S)
    torch.testing.assert_close(found, factor * exact, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("baseline", ["leave_one_out", "mean", "group"])
def test_a_constant_reward_changes_nothing_at_all(baseline: Any) -> None:
    constant = FunctionObjective(lambda texts: [0.1] * len(texts))
    for scale in {False, baseline == "group"}:
        agent = make(reward=constant, baseline=baseline, scale_by_std=scale, replay_batch_size=4)
        before = weights(agent)
        agent.learn(200)
        assert torch.equal(before, weights(agent))


def test_a_batch_written_ahead_counts_by_its_importance_weights(
    policy: Policy, all_sequences: Sequences
) -> None:
    """Written by a policy one update old, it has the expected gradient of the one that is."""
    agent = small_agent(policy)
    older = deepcopy(policy)
    with torch.no_grad():
        for weight in older.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    q_S = log_probs(older, all_sequences).exp().detach()
    logits_STA = older(all_sequences.tokens_BT)
    then_ST = token_log_probs(logits_STA, all_sequences.tokens_BT, all_sequences.mask_BT).detach()
    written = replace(all_sequences, log_probs_BT=then_ST)
    values_S = TokenSum()(all_sequences).values_B.double()
    exact = exact_gradient(policy, all_sequences, values_S)
    found = expected_gradient(agent, written, q_S, ahead=True)
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-7)
    uncorrected = expected_gradient(agent, written, q_S, ahead=False)
    assert (uncorrected - exact).norm() > 0.05 * exact.norm()


@pytest.mark.parametrize("baseline", ["leave_one_out", "group", "learned", "none"])
def test_it_learns_a_task_with_a_known_optimum(baseline: Any) -> None:
    agent = make(baseline=baseline, batch_size=32, learning_rate=0.02)
    random, optimum = 1 / 3, 1.0
    assert abs(sum(likeness(agent.sample(300, seed=9).texts)) / 300 - random) < 0.1
    agent.learn(6000)
    assert sum(likeness(agent.sample(300, seed=9).texts)) / 300 > 0.85 * optimum


# --- pulls and replay -----------------------------------------------------------------------


def test_losses_worked_out_by_hand() -> None:
    log_probs_B = torch.tensor([-1.0, -2.0])
    assert float(self_imitation_loss(log_probs_B, torch.tensor([0.5, -3.0]))) == 0.25
    # wanted -1.5 + 2 * 0.5 = -0.5 and -4 + 0 = -4: squared distances 0.25 and 4
    augmented = augmented_likelihood_loss(
        log_probs_B, torch.tensor([-1.5, -4.0]), torch.tensor([0.5, 0.0]), sigma=2.0
    )
    assert float(augmented) == pytest.approx((0.25 + 4.0) / 2)
    ratio_B = importance_weights(
        torch.tensor([[math.log(0.5), math.log(0.2)]]), torch.tensor([[math.log(0.25), 0.0]])
    )
    assert float(ratio_B) == pytest.approx(0.4)
    assert adapted_coefficient(2.0, 0.11, 0.1) == pytest.approx(2.0 * 1.01)
    assert adapted_coefficient(2.0, 9.0, 0.1) == pytest.approx(2.0 * 1.02)  # at most a fiftieth
    assert adapted_coefficient(2.0, 0.0, 0.1) == pytest.approx(2.0 * 0.98)
    logits_BTA = torch.tensor([[[0.0, 0.0, -math.inf], [math.log(3.0), 0.0, -math.inf]]])
    mask_BT = torch.tensor([[True, True]])
    second = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert float(entropy(logits_BTA, mask_BT)) == pytest.approx((math.log(2) + second) / 2)


def test_advantages_worked_out_by_hand() -> None:
    q_BT = torch.tensor([[1.0], [3.0], [5.0], [9.0]])
    ones_B, all_BT = torch.ones(4, dtype=torch.int64), torch.ones(4, 1, dtype=torch.bool)
    found, _ = mean_advantages(q_BT, ones_B, all_BT)
    assert found[:, 0].tolist() == [-3.5, -1.5, 0.5, 4.5]
    found, _ = group_advantages(q_BT, ones_B, all_BT, group_size=2)
    assert found[:, 0].tolist() == [-1.0, 1.0, -2.0, 2.0]
    found, _ = group_advantages(q_BT, ones_B, all_BT, group_size=2, scale_by_std=True)
    torch.testing.assert_close(found[:, 0].abs(), torch.full((4,), 0.5**0.5), rtol=1e-3, atol=0)
    failed_BT = torch.tensor([[True], [False], [True], [True]])
    found, real = group_advantages(q_BT, ones_B, failed_BT, group_size=2)
    assert found[:, 0].tolist() == [0.0, 0.0, -2.0, 2.0]
    assert real[:, 0].tolist() == [False, False, True, True]  # alone, there is nothing to compare


def test_the_pull_to_the_prior_is_led_to_its_target() -> None:
    options: dict[str, Any] = {"learning_rate": 0.01, "batch_size": 16, "prior_coefficient": 1.0}
    divergences = []
    for target in (None, 0.1):
        agent = make(prior_target=target, **options).learn(4000)
        divergences.append(agent._train_round().metrics["train/kl_to_prior"])
    assert divergences[0] < 0.03 < 0.06 < divergences[1] < 0.2
    assert 0.1 < agent.prior_weight < 0.5
    with pytest.raises(ValueError, match=r"prior_target is 0\.1 and prior_coefficient 0,"):
        make(prior_target=0.1)


def test_entropy_is_held_by_its_bonus() -> None:
    found = []
    for coefficient in (0.0, 0.3):
        agent = make(entropy_coefficient=coefficient, learning_rate=0.02, batch_size=32)
        found.append(agent.learn(10_000)._train_round().metrics["train/entropy"])
    assert found[0] < 0.3 < 0.7 < found[1] < math.log(3)


def test_the_memory_keeps_the_best_once_each(vocabulary: Vocabulary) -> None:
    replay = Replay(3)
    written = vocabulary.encode(["a", "b", "ab", "ba", "aab"])
    values_B = torch.tensor([1.0, 2.0, 3.0, math.nan, 0.5])
    replay.add(["x", "y", "x", "z", "w"], written, values_B)
    replay.add(["v"], written[:1], torch.tensor([2.0]))
    drawn = sorted((row.value, len(row.tokens_T)) for row in replay.draw(9, seed=0))
    assert drawn == [(2.0, 2), (2.0, 2), (3.0, 3)]
    again = Replay(3)
    again.restore(*replay.state())
    assert again.state()[1] == replay.state()[1]
    for left, right in zip(again.draw(2, seed=1), replay.draw(2, seed=1), strict=True):
        assert left.tokens_T.tolist() == right.tokens_T.tolist()
    replay.expect(torch.tensor([0.1, 0.1, math.nan, 0.1]))
    assert replay.expected == float(torch.tensor(0.1))


def test_experience_is_learnt_from(tmp_path: Path) -> None:
    (tmp_path / "known.csv").write_text("text,valid,score\nabca,1,1.0\nbbbb,1,0.0\ncccc,1,\n")
    flat_reward = FunctionObjective(lambda texts: [0.0] * len(texts))
    options: dict[str, Any] = {
        "replay_batch_size": 2,
        "replay_size": 2,
        "learning_rate": 0.02,
    }
    agent = make(reward=flat_reward, experience=str(tmp_path / "known.csv"), **options)
    assert agent.sample(50, seed=0).texts.count("abca") < 5
    agent.learn(1500)  # once written it is scored by the task itself, and pulls no more
    assert agent.sample(50, seed=0).texts.count("abca") > 20
    unread = tmp_path / "none.csv"
    for text, message in [
        ("text\nabca\n", "expected texts and a column called score or reward"),
        ("text,score\nabca,high\n", "the score 'high' is no finite number"),
        ("text,score\nabxa,1\n", "x"),
    ]:
        unread.write_text(text)
        with pytest.raises(ValueError, match=message):
            make(experience=str(unread), **options).learn(10)
    with pytest.raises(ValueError, match="replay_batch_size 0, so it would not be learnt from"):
        make(experience=str(unread))


def test_what_a_constraint_forbids_is_not_replayed() -> None:
    task = replace(task_with(), constraint=make_constraint("forbidden_tokens(['b'])"))
    agent = Reinforce("GRU", TokenEnv(task), batch_size=4, replay_batch_size=4, seed=0)
    agent.remember(["abca", "acca"], [1.0, 0.5])
    assert agent.replay.state()[1]["keys"] == ["acca"]
    assert agent.learn(40).rounds == 3


def test_what_another_constraint_forbids_is_forgotten(tmp_path: Path) -> None:
    allowed = replace(task_with(), constraint=make_constraint("forbidden_tokens(['b'])"))
    options: dict[str, Any] = {"replay_batch_size": 4, "overlap": True}
    agent = make(**options).learn(40)
    agent.remember(["abca", "acca"], [2.0, 2.0])
    assert "b" in "".join(agent._ahead.sequences.texts)
    agent.save(tmp_path / "a")
    for other in (agent, load_agent(tmp_path / "a", TokenEnv(allowed))):
        other.set_env(TokenEnv(allowed))
        assert "acca" in (keys := other.replay.state()[1]["keys"])
        assert "b" not in "".join(keys)
        assert other._ahead is None
        other.learn(40)
        assert weights(other).isfinite().all()
    shorter = load_agent(tmp_path / "a", TokenEnv(replace(task_with(), max_length=3)))
    assert shorter.replay.state()[1]["keys"] == []


@pytest.mark.parametrize("scores", [[2.0], [[1.0, 2.0]], [1.0, math.inf], [None, 1.0], "ab"])
def test_scores_that_are_not_one_number_each(scores: Any) -> None:
    agent = make(replay_batch_size=2)
    with pytest.raises(ValueError, match=r"the scores .*; expected"):
        agent.remember(["abca", "acca"], scores)
    assert len(agent.replay) == 0
    agent.remember(["abca", "acca"], [1, math.nan])
    assert agent.replay.state()[1]["keys"] == ["abca"]


def test_experience_is_read_once_and_before_anything_is_learnt(tmp_path: Path) -> None:
    known = tmp_path / "known.csv"
    known.write_text("text,score\nabca,1.0\n")
    options: dict[str, Any] = {"replay_batch_size": 2, "learning_rate": 1e-9}
    agent = make(experience=str(known), **options)
    agent.remember(["acca"], [0.5])
    agent.pretrain(epochs=0)
    assert agent.replay.state()[1]["keys"] == ["abca", "acca"]
    agent.learn(1).save(tmp_path / "a")
    known.unlink()
    assert load_agent(tmp_path / "a", TokenEnv(task_with())).learn(1).rounds == 2
    other = load_agent(tmp_path / "a", TokenEnv(task_with()), experience="missing.csv")
    with pytest.raises(FileNotFoundError, match=r"missing\.csv"):
        other.learn(1)
    with pytest.raises(FileNotFoundError, match=r"missing\.csv"):
        make(experience="missing.csv", **options).pretrain(epochs=1)
    with pytest.raises(ValueError, match="'x'"):
        make(prompts=["ax"], group_size=4).pretrain(epochs=1)


# --- learning -------------------------------------------------------------------------------


def test_a_schedule_begins_anew_in_every_call() -> None:
    rates: list[float] = []

    class Watch(BaseCallback):
        def _on_rollout_end(self) -> None:
            rates.append(agent.optimizer.param_groups[0]["lr"])

        def _on_step(self) -> bool:
            return True

    agent = make(learning_rate=lambda left: 0.01 * left)
    for _ in range(2):
        agent.learn(60, callback=Watch())  # two rounds of 32 tokens
    assert rates == pytest.approx([0.01, 0.01 * (1 - 32 / 60)] * 2)
    agent.learn(60, callback=Watch(), reset_num_timesteps=False)
    assert rates[4:] == pytest.approx([0.01 * (1 - 64 / 124), 0.01 * (1 - 96 / 124)])


# --- prompts --------------------------------------------------------------------------------


def test_each_group_continues_its_prompt_and_learns_of_that_alone() -> None:
    agent = make(prompts=["a", "cb", "b"], group_size=4, baseline="group", learning_rate=0.02)
    for round, starts in enumerate([["a", "cb"], ["b", "a"], ["cb", "b"]]):
        batch = agent._write(round)
        texts = batch.sequences.texts
        assert all(text.startswith(starts[0]) for text in texts[:4])
        assert all(text.startswith(starts[1]) for text in texts[4:])
        lengths = [len(start) for start in starts for _ in range(4)]
        assert (~batch.written_BT).sum(dim=1).tolist() == lengths
        assert not batch.sequences.log_probs_BT[~batch.written_BT].any()
    agent.learn(2000)
    assert agent.sample(50, prompt="cb", seed=0).texts.count("cbca") > 35
    with pytest.raises(ValueError, match="batch_size is 8 and group_size 3; expected whole groups"):
        make(prompts=["a"], group_size=3)
    with pytest.raises(ValueError, match=r"prompts is \[\]; expected a list of some"):
        make(prompts=[])
    with pytest.raises(ValueError, match="scale_by_std is of baseline='group'"):
        make(scale_by_std=True)


def test_discriminators_see_what_continues_the_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    judge = ConvDiscriminator(embedding=3, widths=(1,), filters=(2,))
    update = judge.update

    def watched(real: Sequences, generated: Sequences) -> dict[str, float]:
        shown.extend(generated.texts)
        return update(real, generated)

    monkeypatch.setattr(judge, "update", watched)
    agent = make(SeqGAN, reward=judge, prompts=["a", "cb"], group_size=4, completions=1,
                 discriminator_batch_size=6)  # fmt: skip
    agent.pretrain(epochs=0, discriminator_steps=8)
    assert len(shown) == 48
    starts = {"cb" if text.startswith("cb") else text[0] for text in shown}
    assert starts == {"a", "cb"}
