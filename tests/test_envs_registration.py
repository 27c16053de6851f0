"""Ids and what is behind them: registering again, options that a file may not set, pickling."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch
from stable_baselines3.common.vec_env import SubprocVecEnv
from tokengym.agents import ORGAN
from tokengym.envs import (
    Task,
    TokenEnv,
    UnknownOptionError,
    Vocabulary,
    make_task,
    register_task,
)
from tokengym.envs.registration import BUILT_IN_TASKS
from tokengym.rewards import make_reward
from tokengym.train.config import TrainConfig
from tokengym.train.training import make_env


def haiku(*, lines: int = 3, **options: Any) -> Task:
    vocabulary = Vocabulary.from_tokens(["frog", "pond"], "words")
    reward = make_reward(lambda texts: [float(text.count("frog")) for text in texts])
    return Task(name="Haiku", vocabulary=vocabulary, max_length=lines, reward=reward)


@pytest.fixture
def id() -> Iterator[str]:
    yield "mine/Haiku-v0"
    del gym.registry["mine/Haiku-v0"]


def test_registering_something_else_replaces_and_says_so(id: str) -> None:
    register_task(id, haiku, lines=4)
    register_task(id, haiku, lines=4)  # the same: nothing to say
    assert make_task(id).max_length == 4
    with pytest.warns(UserWarning, match="mine/Haiku-v0"):
        register_task(id, haiku, lines=5)
    assert make_task(id).max_length == 5
    longer = partial(haiku, lines=6)
    with pytest.warns(UserWarning, match="mine/Haiku-v0"):
        register_task(id, longer)
    assert make_task(id).max_length == 6


@pytest.mark.parametrize("name", ["task", "render_mode", "num_envs", "id", 3])
def test_a_configuration_cannot_say_what_is_run(name: str | int, tmp_path: Path) -> None:
    value = "subprocess:Popen" if name == "task" else 1
    ran = {"args": f"touch {tmp_path / 'ran'}", "shell": True} if name == "task" else {}
    config = TrainConfig(task="tokengym/Dyck-v0", task_options={name: value, **ran})  # type: ignore[dict-item]
    with pytest.raises(UnknownOptionError, match=f"no option '{name}'"):
        make_env(config, False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("id", BUILT_IN_TASKS)
def test_every_task_can_be_sent_to_another_process(id: str) -> None:
    task = make_task(id)
    again = pickle.loads(pickle.dumps(task))
    assert task.data is not None
    assert again.vocabulary == task.vocabulary
    assert torch.equal(again.data.tokens_BT[:50], task.data.tokens_BT[:50])
    ours_B, theirs_B = (each.reward(task.data[:3]).values_B for each in (task, again))
    assert torch.equal(ours_B, theirs_B)


def picklable() -> TokenEnv:
    return TokenEnv(make_task("tokengym/Copy-v0"))


def unpicklable() -> TokenEnv:
    return TokenEnv(haiku())  # its reward is a lambda


@pytest.mark.slow
def test_agents_learn_on_environments_in_other_processes() -> None:
    env = SubprocVecEnv([picklable, picklable])
    agent = ORGAN("GRU", env, batch_size=4, policy_kwargs={"hidden": 4, "embedding": 4}, seed=0)
    agent.learn(1)
    assert agent.rounds == 1
    env.close()


@pytest.mark.slow
def test_a_task_that_cannot_be_pickled_is_named() -> None:
    env = SubprocVecEnv([unpicklable])
    with pytest.raises(ValueError, match=r"cannot hand over its task.*cannot be pickled"):
        ORGAN("GRU", env)
