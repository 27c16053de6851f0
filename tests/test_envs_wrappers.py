# Shapes: T steps, A actions
from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tokengym
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3
from tokengym import IntermediateReward, LastToken, Task, TokenEnv, Vocabulary, WithCondition

VOCABULARY = Vocabulary.from_tokens("ab", "characters")
EOS, BOS, PAD = 2, 3, 4
T = 4


def table(seed: int) -> dict[str, float]:
    """A number for every text of at most T letters."""
    texts = [
        "".join(letters) for n in range(T + 1) for letters in itertools.product("ab", repeat=n)
    ]
    values = np.random.default_rng(seed).normal(size=len(texts))
    return dict(zip(texts, values.tolist(), strict=True))


REWARDS, POTENTIALS = table(0), table(1)


def rewards(texts: list[str]) -> list[float | None]:
    return [REWARDS[text] for text in texts]


def potentials(texts: list[str]) -> list[float | None]:
    return [POTENTIALS[text] for text in texts]


def make_env() -> TokenEnv:
    reward = tokengym.make_reward(rewards)
    return TokenEnv(Task(name="letters", vocabulary=VOCABULARY, max_length=T, reward=reward))


def draw(np_random: np.random.Generator) -> np.ndarray:
    return np_random.normal(size=3)


WRAPPED: dict[str, Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]]] = {
    "last token": lambda env: LastToken(env),
    "condition": lambda env: WithCondition(env, draw, 3),
    "intermediate reward": lambda env: IntermediateReward(env, potentials, 0.9),
}


@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version")
@pytest.mark.filterwarnings("ignore:.*Box observation space (minimum|maximum) value is")
@pytest.mark.parametrize("name", WRAPPED)
def test_the_checkers_pass(name: str) -> None:
    check_env(WRAPPED[name](make_env()), skip_render_check=True)
    check_env_sb3(WRAPPED[name](make_env()))


@pytest.mark.parametrize("name", WRAPPED)
def test_a_registered_id_keeps_its_spec(name: str) -> None:
    plain = gym.make("tokengym/Oracle-v0")
    if name == "intermediate reward":  # a prefix of the oracle's is no text of ``potentials``
        env: gym.Env[Any, Any] = IntermediateReward(plain, "repetition_penalty")
    else:
        env = WRAPPED[name](plain)
    assert env.spec is not None
    assert env.spec.additional_wrappers[-1].name == type(env).__name__
    again = gym.make(env.spec)
    assert again.observation_space == env.observation_space
    again.reset(seed=0)
    again.step(0)


@pytest.mark.parametrize("name", WRAPPED)
def test_wraps_only_environments_with_a_task(name: str) -> None:
    with pytest.raises(ValueError, match="has no task"):
        WRAPPED[name](gym.make("CartPole-v1"))


def test_last_token_shows_the_last_token() -> None:
    env = LastToken(make_env())
    assert env.reset()[0] == BOS
    seen = [env.step(np.int64(action))[0] for action in (1, 0, EOS)]
    assert seen == [1, 0, EOS]
    assert env.reset(options={"prompt": "ab"})[0] == 1
    assert env.observation_space == gym.spaces.Discrete(5)


def test_a_condition_stays_for_the_episode() -> None:
    env = WithCondition(make_env(), draw, 3)
    observation, _ = env.reset(seed=5)
    condition_C = observation["condition"].copy()
    assert condition_C.dtype == np.float32
    observation["condition"][:] = 7.0  # a copy: writing into it changes nothing
    observation, *_ = env.step(np.int64(1))
    assert np.array_equal(observation["condition"], condition_C)
    assert observation["tokens"].tolist() == [1, PAD, PAD, PAD]
    assert np.array_equal(env.reset(seed=5)[0]["condition"], condition_C)
    assert not np.array_equal(env.reset()[0]["condition"], condition_C)


def test_a_condition_and_a_prompt_can_be_given() -> None:
    env = WithCondition(make_env(), draw, 2)  # draw gives 3 numbers, and is not asked
    observation, _ = env.reset(options={"condition": [1, 2.5], "prompt": "ba"})
    assert observation["condition"].tolist() == [1.0, 2.5]
    assert observation["tokens"].tolist() == [1, 0, PAD, PAD]


@pytest.mark.parametrize(
    "condition",
    [1.0, [1.0, 2.0], [[1.0, 2.0, 3.0]], ["x", "y", "z"], [1.0, [2.0], 3.0], [0, np.nan, 0]],
)
def test_a_wrong_condition_is_an_error(condition: Any) -> None:
    env = WithCondition(make_env(), draw, 3)
    with pytest.raises(ValueError, match=r"the condition .* expected .*3"):
        env.reset(options={"condition": condition})


def test_a_wrong_draw_or_size_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"shape \(3,\); expected \(2,\)"):
        WithCondition(make_env(), draw, 2).reset()
    with pytest.raises(ValueError, match="at least 1"):
        WithCondition(make_env(), draw, 0)
    with pytest.raises(ValueError, match="unknown reset option"):
        WithCondition(make_env(), draw, 3).reset(options={"conditions": [1, 2, 3]})


def best_values(env: gym.Env[np.ndarray, np.int64], prefix: str, gamma: float) -> np.ndarray:
    """Q*(prefix, a), float64 (A,), by trying everything."""
    values = []
    for action in range(3):
        env.reset(options={"prompt": prefix} if prefix else None)
        _, reward, terminated, _, _ = env.step(np.int64(action))
        rest = 0.0 if terminated else best_values(env, prefix + "ab"[action], gamma).max()
        values.append(float(reward) + gamma * rest)
    return np.array(values)


@pytest.mark.parametrize("gamma", [1.0, 0.8])
def test_intermediate_rewards_keep_the_optimal_policy(gamma: float) -> None:
    shaped = IntermediateReward(make_env(), potentials, gamma)
    prefixes = [text for text in POTENTIALS if len(text) < T]
    assert len(prefixes) == 15
    for prefix in prefixes:
        plain_A = best_values(make_env(), prefix, gamma)
        shaped_A = best_values(shaped, prefix, gamma)
        assert shaped_A.argmax() == plain_A.argmax()
        assert shaped_A == pytest.approx(plain_A - POTENTIALS[prefix], abs=1e-5)  # float32 scores


def test_intermediate_rewards_are_the_gains_in_potential() -> None:
    env = IntermediateReward(make_env(), potentials, 0.5)
    _, info = env.reset()
    assert info["potential"] == pytest.approx(POTENTIALS[""])
    _, first, _, _, info = env.step(np.int64(0))
    assert first == pytest.approx(0.5 * POTENTIALS["a"] - POTENTIALS[""], abs=1e-6)
    assert info["potential"] == pytest.approx(POTENTIALS["a"])
    _, last, terminated, _, info = env.step(np.int64(EOS))
    assert terminated
    assert last == pytest.approx(REWARDS["a"] - POTENTIALS["a"], abs=1e-6)
    assert info["potential"] == 0.0


def test_a_potential_that_fails_is_said_and_is_no_nan_in_the_reward() -> None:
    def fails_on_a(texts: list[str]) -> list[float | None]:
        return [None if text == "a" else 1.0 for text in texts]

    env = IntermediateReward(make_env(), fails_on_a)
    env.reset()
    _, reward, _, _, info = env.step(np.int64(0))
    assert np.isnan(info["potential"])
    assert reward == -1.0
    _, reward, _, _, info = env.step(np.int64(0))
    assert reward == 1.0


def test_gamma_is_a_discount() -> None:
    with pytest.raises(ValueError, match=r"gamma is 1\.5"):
        IntermediateReward(make_env(), potentials, 1.5)


def test_an_order_in_which_the_tokens_are_not_seen_is_refused() -> None:
    for name in ("last token", "intermediate reward"):
        for first in (LastToken(make_env()), WithCondition(make_env(), draw, 3)):
            with pytest.raises(ValueError, match=r"reads the tokens so far.*put it inside"):
                WRAPPED[name](first)
    last: Any = LastToken(IntermediateReward(make_env(), potentials, 0.9))
    env = WithCondition(last, draw, 3)
    assert env.reset()[0]["tokens"] == BOS
