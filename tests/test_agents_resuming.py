"""Every agent: one seed one result, resumed equals never stopped, and rounds that overlap."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokengym.agents import (
    ORGAN,
    AugmentedHillClimb,
    Reinforce,
    Reinvent,
    SequenceAgent,
    load_agent,
)
from tokengym.envs import TokenEnv
from tokengym.rewards import (
    BudgetExhausted,
    ConvDiscriminator,
    FunctionObjective,
    ObjectiveError,
    Reward,
)

from .test_agents_reinforce import likeness, make, task_with, weights

Options = dict[str, Any]
AGENTS: dict[str, tuple[type[SequenceAgent], Options]] = {
    "reinforce": (Reinforce, {"replay_batch_size": 4, "entropy_coefficient": 0.01}),
    "grpo": (Reinforce, {"baseline": "group", "prompts": ["a", "cb", "b"], "group_size": 4}),
    "critic": (Reinforce, {"baseline": "learned"}),
    "adaptive": (Reinforce, {"prior_coefficient": 0.1, "prior_target": 0.01}),
    "overlapped": (Reinforce, {"overlap": True, "prompts": ["a", "b"]}),
    "reinvent": (Reinvent, {"overlap": True}),
    "hill_climb": (AugmentedHillClimb, {"replay_batch_size": 0}),
}


def reward() -> Reward:
    """With a part that learns, which every agent teaches."""
    small = ConvDiscriminator(embedding=4, widths=(1, 2), filters=(4, 4), learning_rate=1e-3)
    return 0.5 * small + 0.5 * FunctionObjective(likeness, name="likeness")


@pytest.mark.parametrize("name", AGENTS)
def test_saved_and_resumed_equals_never_stopped(name: str, tmp_path: Path) -> None:
    kind, options = AGENTS[name]
    options = {**options, "discriminator_steps": 1, "learning_rate": 0.01}
    runs = []
    for parts in ([320], [160, 320]):
        agent = make(kind, reward=reward(), **options)
        agent.pretrain(epochs=1, discriminator_steps=2)
        for until in parts:
            if agent.rounds:
                agent.save(tmp_path / "half")
                agent = load_agent(tmp_path / "half", TokenEnv(task_with(reward())))
            agent.learn(until - agent.num_timesteps, reset_num_timesteps=False)
        runs.append(agent)
    whole, resumed = runs
    assert whole.rounds == resumed.rounds == 10
    assert torch.equal(weights(whole), weights(resumed))
    assert vars(whole).get("prior_weight") == vars(resumed).get("prior_weight")
    other = make(kind, reward=reward(), **{**options, "seed": 2})
    other.pretrain(epochs=1, discriminator_steps=2).learn(320)
    assert not torch.equal(weights(whole), weights(other))
    whole.save(tmp_path / "whole")
    resumed.save(tmp_path / "resumed")
    files = [(tmp_path / f"{part}.safetensors").read_bytes() for part in ("whole", "resumed")]
    assert files[0] == files[1]


def test_the_next_batch_is_written_while_one_is_scored() -> None:
    written = threading.Event()

    def waits(texts: list[str]) -> list[float]:
        assert written.wait(timeout=60), "the next batch was not written meanwhile"
        written.clear()
        return likeness(texts)

    agent = make(reward=FunctionObjective(waits, memo=False), overlap=True)
    write = agent._write

    def announce(round: int) -> Any:
        batch = write(round)
        if round > agent.rounds:
            written.set()
        return batch

    agent._write = announce
    agent.learn(200)
    assert agent.rounds == 7
    assert agent._ahead.ahead


def test_overlapped_rounds_learn_from_the_batches_that_were_written_ahead() -> None:
    agent = make(overlap=True, learning_rate=0.02)
    policy_then = agent.sample(8, seed=agent._seed_of(2, 1)).texts  # 2: training sequences
    agent.learn(1)
    assert agent._ahead.sequences.texts == policy_then  # by the policy before its first update
    assert agent._train_round().sequences.texts == policy_then


def test_an_objective_that_fails_leaves_a_round_that_is_begun_again(tmp_path: Path) -> None:
    calls: list[int] = []

    def breaks(texts: list[str]) -> list[float]:
        calls.append(1)
        if len(calls) == 4:
            raise RuntimeError("the lab is closed")
        return likeness(texts)

    agent = make(reward=FunctionObjective(breaks, name="likeness", memo=False), overlap=True)
    with pytest.raises(ObjectiveError, match="the lab is closed"):
        agent.learn(320)
    assert agent.rounds == 3
    assert not agent.within_update
    agent.save(tmp_path / "failed")
    mended = FunctionObjective(likeness, name="likeness", memo=False)
    resumed = load_agent(tmp_path / "failed", TokenEnv(task_with(mended)))
    for each in (agent, resumed):
        each.learn(320 - each.num_timesteps, reset_num_timesteps=False)
    whole = make(reward=FunctionObjective(likeness, memo=False), overlap=True).learn(320)
    assert torch.equal(weights(agent), weights(whole))
    assert torch.equal(weights(resumed), weights(whole))


def test_a_spent_budget_ends_overlapped_rounds_with_a_whole_one(tmp_path: Path) -> None:
    agent = make(reward=FunctionObjective(likeness, name="likeness", budget=20), overlap=True)
    agent.learn(5000)
    assert "has scored its budget of 20 sequences" in str(agent.stopped)
    agent.save(tmp_path / "spent")
    more = FunctionObjective(likeness, name="likeness", budget=30)
    resumed = load_agent(tmp_path / "spent", TokenEnv(task_with(more)))
    resumed.learn(5000, reset_num_timesteps=False)
    assert resumed.rounds > agent.rounds
    with pytest.raises(BudgetExhausted):
        resumed.task.reward.ensure_usable()  # type: ignore[union-attr]


def test_another_task_is_not_given_what_was_written_for_the_last_one(tmp_path: Path) -> None:
    make(overlap=True).learn(1).save(tmp_path / "a")
    assert load_agent(tmp_path / "a", TokenEnv(task_with()))._ahead is not None
    longer = load_agent(tmp_path / "a", TokenEnv(replace(task_with(), max_length=5)))
    assert longer._ahead is None
    assert longer.learn(1).rounds == 2


def test_overlap_does_no_harm_where_rounds_have_completions() -> None:
    agents = [make(ORGAN, overlap=overlap, completions=2).learn(100) for overlap in (False, True)]
    assert torch.equal(weights(agents[0]), weights(agents[1]))
    assert agents[1]._ahead is None
