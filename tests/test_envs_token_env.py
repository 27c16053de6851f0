"""The environments: Gymnasium's and Stable-Baselines3's checkers, and one core for all forms."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tokengym
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as check_env_sb3
from tokengym.envs import Sequences, Task, TokenEnv, TokenVectorEnv, Vocabulary
from tokengym.rewards import FunctionObjective, Scores

from .conftest import TokenSum

IDS = ["tokengym/Molecules-v0", "tokengym/Oracle-v0"]


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("render_mode", [None, "ansi", "rgb_array"])
def test_checkers_accept_every_id(id: str, render_mode: str | None) -> None:
    env = gym.make(id, render_mode=render_mode)
    check_env(env.unwrapped, skip_render_check=render_mode is None)
    check_env_sb3(env.unwrapped)


@pytest.mark.parametrize("id", IDS)
def test_vector_entry_point(id: str) -> None:
    envs = gym.make_vec(id, num_envs=3)
    assert isinstance(envs.unwrapped, TokenVectorEnv)
    observations, _ = envs.reset(seed=0)
    assert observations.shape == envs.observation_space.shape
    assert envs.observation_space.contains(observations)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


def play(env: TokenEnv, tokens: list[int], **reset: Any) -> tuple[list[Any], dict[str, Any]]:
    env.reset(**reset)
    steps = [env.step(token) for token in tokens]
    return steps, steps[-1][4]


def test_an_episode(small_task: Task) -> None:
    steps, info = play(TokenEnv(small_task), [0, 1, 2])
    assert [step[0].tolist() for step in steps] == [[0, 4, 4, 4], [0, 1, 4, 4], [0, 1, 2, 4]]
    assert [step[1] for step in steps] == [0.0, 0.0, 0.5 * 1 - 1.0 * 2 + 0.25 * 3]
    assert [step[2] for step in steps] == [False, False, True]
    assert not any(step[3] for step in steps)
    assert info["text"] == "ab"
    assert info["tokens"].tolist() == [0, 1, 2, 4]
    assert info["reward_parts"] == {"token_sum": -0.75}
    assert info["reward_failed"] is False


def test_the_limit_ends_an_episode_as_terminated(small_task: Task) -> None:
    steps, info = play(TokenEnv(small_task), [0, 0, 0, 0])
    assert steps[-1][2:4] == (True, False)
    assert info["text"] == "aaaa"


def test_reward_and_flags_are_plain_python(small_task: Task) -> None:
    steps, _ = play(TokenEnv(small_task), [2])
    assert type(steps[0][1]) is float
    assert type(steps[0][2]) is bool


def test_observations_are_fresh_objects(small_task: Task) -> None:
    env = TokenEnv(small_task)
    first, _ = env.reset()
    second = env.step(0)[0]
    assert first.tolist() == [4, 4, 4, 4]
    assert not np.shares_memory(first, second)


def test_prompts(small_task: Task) -> None:
    env = TokenEnv(small_task)
    observation, _ = env.reset(options={"prompt": "ba"})
    assert observation.tolist() == [1, 0, 4, 4]
    env.step(1)
    assert env.step(1)[4]["text"] == "babb"
    for prompt, error in [("abab", "leaves? no room|shorten"), ("x", "not among")]:
        with pytest.raises(ValueError, match=error):
            env.reset(options={"prompt": prompt})
    with pytest.raises(TypeError, match="expected a text"):
        env.reset(options={"prompt": 3})
    with pytest.raises(ValueError, match=r"unknown reset option \['promt'\]"):
        env.reset(options={"promt": "a"})


def test_mistakes_are_named(small_task: Task) -> None:
    env = TokenEnv(small_task)
    with pytest.raises(gym.error.ResetNeeded, match="call reset"):
        env.step(0)
    env.reset()
    with pytest.raises(ValueError, match=r"action 3 is outside the 3 actions \(0\.\.2\)"):
        env.step(3)
    env.step(2)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(0)
    with pytest.raises(ValueError, match="render_mode is 'movie'"):
        TokenEnv(small_task, "movie")


def test_a_failed_reward_is_zero_and_says_so(vocabulary: Vocabulary) -> None:
    reward = FunctionObjective(lambda texts: [None if t == "a" else 1.0 for t in texts])
    task = Task(name="Failing", vocabulary=vocabulary, max_length=3, reward=reward)
    _, info = play(TokenEnv(task), [0, 2])
    assert info["reward_failed"] is True
    assert np.isnan(info["reward_parts"]["<lambda>"])
    envs = TokenVectorEnv(task, 2)
    envs.reset()
    envs.step(np.array([0, 1]))
    _, rewards, _, _, infos = envs.step(np.array([2, 2]))
    assert rewards.tolist() == [0.0, 1.0]
    assert infos["final_info"]["reward_failed"].tolist() == [True, False]


class CountingReward(TokenSum):
    """Remembers how many sequences each call brought."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, sequences: Sequences) -> Scores:
        self.calls.append(len(sequences))
        return super().__call__(sequences)


def test_one_reward_call_for_all_that_end_in_a_step(vocabulary: Vocabulary) -> None:
    reward = CountingReward()
    task = Task(name="Counted", vocabulary=vocabulary, max_length=3, reward=reward)
    envs = TokenVectorEnv(task, 4)
    envs.reset()
    envs.step(np.array([2, 0, 2, 0]))
    envs.step(np.array([0, 0, 0, 0]))
    envs.step(np.array([2, 0, 2, 0]))
    assert reward.calls == [2, 4]  # rows 0 and 2, then all: 1 and 3 at the limit


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_vector_form_equals_the_single_one_step_for_step(
    mode: AutoresetMode, small_task: Task
) -> None:
    B, rng = 5, np.random.default_rng(0)
    envs = TokenVectorEnv(small_task, B, autoreset_mode=mode)
    singles = [TokenEnv(small_task) for _ in range(B)]
    observations, _ = envs.reset()
    expected = [single.reset()[0] for single in singles]
    ended = np.zeros(B, bool)
    for _ in range(60):
        np.testing.assert_array_equal(observations, np.stack(expected))
        if mode is AutoresetMode.DISABLED and ended.any():
            observations, _ = envs.reset(options={"reset_mask": ended})
            for b in np.flatnonzero(ended).tolist():
                expected[b] = singles[b].reset()[0]
            np.testing.assert_array_equal(observations, np.stack(expected))
        actions = rng.integers(0, 3, B)
        observations, rewards, terminated, truncated, infos = envs.step(actions)
        assert not truncated.any()
        reward: float
        info: dict[str, Any]
        for b, single in enumerate(singles):
            if mode is AutoresetMode.NEXT_STEP and ended[b]:
                expected[b], (reward, end, info) = single.reset()[0], (0.0, False, {})
            else:
                expected[b], reward, end, _, info = single.step(actions[b])
            assert (rewards[b], terminated[b]) == (reward, end)
            if end:
                final = infos["final_info"] if mode is AutoresetMode.SAME_STEP else infos
                assert final["text"][b] == info["text"]
                assert final["_text"][b]
                np.testing.assert_array_equal(final["tokens"][b], info["tokens"])
                assert final["reward_parts"]["token_sum"][b] == info["reward_parts"]["token_sum"]
            if end and mode is AutoresetMode.SAME_STEP:
                np.testing.assert_array_equal(infos["final_obs"][b], expected[b])
                expected[b] = single.reset()[0]
        ended = terminated


def test_vector_mistakes_are_named(small_task: Task) -> None:
    envs = TokenVectorEnv(small_task, 2, autoreset_mode="Disabled")
    with pytest.raises(gym.error.ResetNeeded):
        envs.step(np.array([0, 0]))
    envs.reset(options={"prompt": ["a", "b"]})
    for actions, error in [([0], "shape"), ([0, 3], "action 3"), ([0.0, 1.0], "float")]:
        with pytest.raises(ValueError, match=error):
            envs.step(np.array(actions))
    envs.step(np.array([2, 0]))
    with pytest.raises(gym.error.ResetNeeded, match=r"environments \[0\] have ended"):
        envs.step(np.array([0, 0]))
    with pytest.raises(ValueError, match="reset_mask"):
        envs.reset(options={"reset_mask": [True, False]})
    with pytest.raises(ValueError, match="1 prompts for 2 environments"):
        envs.reset(options={"prompt": ["a"]})
    with pytest.raises(ValueError, match="num_envs is 0"):
        TokenVectorEnv(small_task, 0)


def test_options_and_ids_that_do_not_exist_name_the_nearest() -> None:
    with pytest.raises(ValueError, match="no option 'rewrad'; did you mean reward"):
        gym.make("tokengym/Molecules-v0", rewrad="qed")
    with pytest.raises(ValueError, match="did you mean tokengym/Molecules-v0"):
        tokengym.make_task("tokengym/Molecule-v0")
    with pytest.raises(ValueError, match="unknown reward 'qde'; did you mean qed"):
        gym.make("tokengym/Molecules-v0", reward="qde")


def test_a_task_of_ones_own() -> None:
    def haiku(*, lines: int = 3) -> Task:
        vocabulary = Vocabulary.from_tokens(["frog", "pond"], "words")
        reward = tokengym.make_reward(lambda texts: [float(t.count("frog")) for t in texts])
        return Task(name="Haiku", vocabulary=vocabulary, max_length=lines, reward=reward)

    tokengym.register_task("mine/Haiku-v0", haiku)
    env = gym.make("mine/Haiku-v0", lines=2)
    env.reset()
    env.step(0)
    assert env.step(0)[1] == 2.0
    assert gym.make_vec("mine/Haiku-v0", num_envs=2).num_envs == 2
    del gym.registry["mine/Haiku-v0"]


class Closed(TokenSum):
    """Raises until it is opened."""

    def __init__(self) -> None:
        self.open = False

    def __call__(self, sequences: Sequences) -> Scores:
        if not self.open:
            raise RuntimeError("the lab is closed")
        return super().__call__(sequences)


def test_after_a_reward_that_raised_there_is_no_episode_to_step(vocabulary: Vocabulary) -> None:
    task = Task(name="Closed", vocabulary=vocabulary, max_length=2, reward=Closed())
    env = TokenEnv(task)
    env.reset()
    env.step(0)
    with pytest.raises(RuntimeError, match="the lab is closed"):
        env.step(1)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(1)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_after_a_reward_that_raised_all_rows_begin_anew(
    mode: AutoresetMode, vocabulary: Vocabulary
) -> None:
    reward = Closed()
    task = Task(name="Closed", vocabulary=vocabulary, max_length=2, reward=reward)
    envs = TokenVectorEnv(task, 2, autoreset_mode=mode)
    envs.reset(options={"prompt": ["a", None]})
    with pytest.raises(RuntimeError, match="the lab is closed"):
        envs.step(np.array([1, 0]))
    with pytest.raises(gym.error.ResetNeeded):
        envs.step(np.array([1, 0]))
    reward.open = True
    observations, _ = envs.reset(options={"reset_mask": np.array([False, True])})
    assert (observations == vocabulary.pad).all()
    envs.step(np.array([0, 0]))
    assert envs.step(np.array([1, 1]))[2].all()
