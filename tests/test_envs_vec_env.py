# Shapes: B sequences, T steps, A actions
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tokengym
import torch
from gymnasium.vector import AutoresetMode
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor
from tokengym import ORGAN, Constraint, Task, TokenEnv, TokenVecEnv, TokenVectorEnv, Vocabulary
from tokengym.envs import MinimumLength, NoRepetition

VOCABULARY = Vocabulary.from_tokens("abc", "characters")


@tokengym.objective
def share_of_a(texts: list[str]) -> list[float | None]:
    # A text that holds "cc" cannot be scored: the failed case goes through every form, too.
    return [None if "cc" in text else text.count("a") / 6 for text in texts]


def make_task(constraint: Constraint | None = None) -> Task:
    real = VOCABULARY.encode(["aab", "abaab", "aaa"])
    return Task(
        name="letters",
        vocabulary=VOCABULARY,
        max_length=6,
        reward=tokengym.make_reward(share_of_a),
        load_data=lambda: real,
        constraint=constraint,
    )


def make_vec_env(num_envs: int = 5, **options: Any) -> TokenVecEnv:
    return TokenVecEnv(TokenVectorEnv(make_task(), num_envs, **options))


def same(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        assert isinstance(one, np.ndarray)
        assert isinstance(other, np.ndarray)
        return one.dtype == other.dtype and np.array_equal(one, other)
    return type(one) is type(other) and (one == other or (one != one and other != other))


def test_is_what_dummy_vec_env_makes_of_monitored_environments() -> None:
    B = 5
    ours = make_vec_env(B)
    theirs = DummyVecEnv([lambda: Monitor(TokenEnv(make_task()))] * B)
    assert np.array_equal(ours.reset(), theirs.reset())  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    ends, failures = 0, 0
    for _ in range(200):
        actions_B = rng.integers(VOCABULARY.num_actions, size=B)
        observations, rewards, dones, infos = ours.step(actions_B)
        expected = theirs.step(actions_B)
        assert same(observations, expected[0])
        assert same(rewards, expected[1])
        assert same(dones, expected[2])
        for info, expected_info in zip(infos, expected[3], strict=True):
            if "episode" in info:
                ends += 1
                failures += info["reward_failed"]
                assert info["episode"].pop("t") >= 0.0
                expected_info["episode"].pop("t")
            else:  # ours says it at the end only
                assert expected_info.pop("TimeLimit.truncated") is False
            assert same(info, expected_info), (info, expected_info)
        assert ours.reset_infos == theirs.reset_infos
    assert ends > 100  # of 1,000 steps, at most 6 to a sequence
    assert failures > 0


def test_arrays_are_fresh_at_every_step() -> None:
    env = make_vec_env(2)
    first = env.reset()
    kept = first.copy()
    second, _, _, infos = env.step(np.array([VOCABULARY.eos, 0]))
    assert isinstance(second, np.ndarray)
    assert np.array_equal(first, kept)
    assert not np.shares_memory(first, second)
    final_T = infos[0]["terminal_observation"]
    assert final_T.tolist() == [VOCABULARY.eos] + [VOCABULARY.pad] * 5
    env.step(np.array([1, 1]))
    assert final_T.tolist() == [VOCABULARY.eos] + [VOCABULARY.pad] * 5


def test_refuses_other_ways_to_begin_anew() -> None:
    with pytest.raises(ValueError, match="SAME_STEP"):
        make_vec_env(2, autoreset_mode=AutoresetMode.NEXT_STEP)
    with pytest.raises(ValueError, match="SAME_STEP"):
        tokengym.make_sb3("tokengym/Oracle-v0", 2, autoreset_mode=AutoresetMode.DISABLED)


def test_answers_as_single_environments_would() -> None:
    env = make_vec_env(3, render_mode="ansi")
    assert env.render_mode == "ansi"
    assert env.get_attr("render_mode") == ["ansi"] * 3
    assert env.get_attr("task", indices=[0, 2]) == [env.env.task] * 2
    assert env.get_attr("action_space", indices=1) == [env.action_space]
    assert env.get_attr("observation_space") == [env.observation_space] * 3
    assert env.observation_space.shape == (6,)
    assert env.env_is_wrapped(Monitor) == [True] * 3
    assert env.env_is_wrapped(VecMonitor) == [False] * 3  # type: ignore[arg-type]
    assert not env.has_attr("no_such_thing")
    with pytest.raises(AttributeError):
        env.get_attr("no_such_thing")
    with pytest.raises(AttributeError, match="action_masks, render"):
        env.env_method("reset")


def test_an_attribute_is_set_for_all_rows_or_not_at_all() -> None:
    env = make_vec_env(3)
    env.set_attr("render_mode", "ansi")
    assert env.get_attr("render_mode") == ["ansi"] * 3
    with pytest.raises(ValueError, match="leave indices out"):
        env.set_attr("render_mode", None, indices=[0, 1])


def test_masks_reach_maskable_agents() -> None:
    env = TokenVecEnv(TokenVectorEnv(make_task(MinimumLength(1) & NoRepetition(1)), 3))
    env.reset()
    assert is_masking_supported(env)
    assert get_action_masks(env).tolist() == [[True, True, True, False]] * 3
    env.step(np.array([0, 1, 2]))
    *_, infos = env.step(np.array([1, 0, VOCABULARY.eos]))
    assert [info["action_mask"].tolist() for info in infos] == [
        [1, 0, 1, 1],
        [0, 1, 1, 1],
        [1, 1, 1, 1],  # of the sequence that ended; that of the one that began stands here:
    ]
    assert env.reset_infos[2]["action_mask"].tolist() == [1, 1, 1, 0]
    assert get_action_masks(env)[2].tolist() == [True, True, True, False]
    assert len(env.env_method("action_masks", indices=[1])) == 1


def test_without_a_constraint_there_are_no_masks() -> None:
    assert not is_masking_supported(make_vec_env())


def test_prompts_come_through_set_options_once() -> None:
    env = make_vec_env(2)
    env.set_options([{"prompt": "ab"}, {}])
    observations_BT = env.reset()
    assert VOCABULARY.decode(observations_BT) == ["ab", ""]
    *_, infos = env.step(np.array([VOCABULARY.eos, VOCABULARY.eos]))
    assert [info["text"] for info in infos] == ["ab", ""]
    assert [info["episode"]["l"] for info in infos] == [1, 1]  # steps, not the prompt's tokens
    assert VOCABULARY.decode(env.reset()) == ["", ""]
    env.set_options({"prompt": "ba"})
    assert VOCABULARY.decode(env.reset()) == ["ba", "ba"]
    env.set_options({"prompts": "ba"})
    with pytest.raises(ValueError, match="unknown reset option"):
        env.reset()


def test_prompts_and_constraints_hold_together() -> None:
    env = TokenVecEnv(TokenVectorEnv(make_task(MinimumLength(2) & NoRepetition(1)), 2))
    env.set_options([{"prompt": "ab"}, {"prompt": "c"}])
    assert VOCABULARY.decode(np.asarray(env.reset())) == ["ab", "c"]
    assert get_action_masks(env).tolist() == [[True, False, True, True], [True, True, False, False]]
    for options in ({"prompt": "abb"}, [{"prompt": "ab"}, {"prompt": "abb"}]):
        env.set_options(options)
        with pytest.raises(
            ValueError, match=r"the prompt 'abb' contradicts the constraint Min.*'b' at position 3"
        ):
            env.reset()


def test_pictures_and_texts() -> None:
    env = make_vec_env(4, render_mode="rgb_array")
    env.reset()
    assert [image.shape for image in env.get_images() if image is not None] == [(240, 480, 3)] * 4
    tiled = env.render()
    assert tiled is not None
    assert tiled.shape == (480, 960, 3)
    texts = make_vec_env(2, render_mode="ansi")
    texts.reset()
    texts.step(np.array([0, 1]))
    assert texts.env_method("render") == ["a", "b"]
    assert texts.get_images() == [None, None]


def test_evaluate_policy_and_the_log_count_whole_episodes() -> None:
    env = make_vec_env(4)
    agent = PPO("MlpPolicy", env, n_steps=16, batch_size=32, n_epochs=1, seed=0, device="cpu")
    agent.learn(64)
    assert agent.ep_info_buffer
    assert all(set(episode) == {"r", "l", "t"} for episode in agent.ep_info_buffer)
    returns, lengths = evaluate_policy(
        agent, env, n_eval_episodes=10, return_episode_rewards=True, deterministic=False
    )
    assert isinstance(returns, list)
    assert isinstance(lengths, list)
    assert len(returns) == len(lengths) == 10
    assert max(lengths) <= 6


def test_our_own_agents_learn_on_it() -> None:
    torch.set_num_threads(1)
    env = make_vec_env(2)
    agent = ORGAN("GRU", env, batch_size=8, policy_kwargs={"hidden": 8}, seed=0, device="cpu")
    agent.pretrain(epochs=1)
    agent.learn(16)
    assert agent.task is env.env.task
    assert agent.num_timesteps >= 16


def test_make_sb3_takes_the_options_of_the_task() -> None:
    env = tokengym.make_sb3("tokengym/Molecules-v0", 3, max_length=100, render_mode="ansi")
    assert env.num_envs == 3
    assert env.observation_space.shape == (100,)
    assert env.get_attr("spec")[0].id == "tokengym/Molecules-v0"
    with pytest.raises(ValueError, match="tokengym/Molecules-v0"):
        tokengym.make_sb3("tokengym/Molecule-v0")
    with pytest.raises(ValueError, match="max_length"):
        tokengym.make_sb3("tokengym/Molecules-v0", 2, maxlength=3)
