"""Gymnasium wrappers of a single environment: other observations, a condition, dense rewards.

Left out: vector forms. ``gym.make_vec(id, N, vectorization_mode="sync", wrappers=[...])`` and
Stable-Baselines3's ``make_vec_env(..., wrapper_class=...)`` batch them.
"""

# Shapes: T = max_length steps, V = A + 2 ids, C numbers of a condition
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.utils import RecordConstructorArgs

from ..rewards import RewardSpec, make_reward
from .sequences import Sequences
from .task import Task

TokenGym = gym.Env[np.ndarray, np.int64]
Observations = dict[str, np.ndarray]


class LastToken(
    gym.ObservationWrapper[np.int64, np.int64, np.ndarray],
    RecordConstructorArgs,
):
    """Show the last token alone: observation ``Discrete(V)``, ``bos`` before the first.

    For recurrent policies, which remember the rest. What a prompt's earlier tokens were is not
    seen.

    Args:
        env: a ``TokenEnv``.
    """

    def __init__(self, env: TokenGym) -> None:
        RecordConstructorArgs.__init__(self)
        super().__init__(env)
        self._vocabulary = _task_shown_by(env).vocabulary
        self.observation_space = gym.spaces.Discrete(self._vocabulary.num_inputs)

    def observation(self, observation: np.ndarray) -> np.int64:
        """The last token of int64 (T,)."""
        written = int(np.count_nonzero(observation != self._vocabulary.pad))
        return np.int64(observation[written - 1] if written else self._vocabulary.bos)


class WithCondition(
    gym.Wrapper[Any, np.int64, np.ndarray, np.int64],
    RecordConstructorArgs,
):
    """Show a condition beside the tokens: what the sequence should be like.

    The observation is ``Dict(tokens=..., condition=Box(float32, (C,)))``. The condition stays for
    an episode; it is ``reset(options={"condition": ...})`` or else drawn. The reward is not
    changed.

    Args:
        env: a ``TokenEnv``.
        draw: ``draw(env.np_random)`` gives C numbers.
        size: C.
    """

    def __init__(
        self, env: TokenGym, draw: Callable[[np.random.Generator], np.ndarray], size: int
    ) -> None:
        RecordConstructorArgs.__init__(self, draw=draw, size=size)
        super().__init__(env)
        if size < 1:
            raise ValueError(f"size is {size}; expected at least 1")
        _task_of(env)
        self._draw = draw
        self._condition_C = np.zeros(size, np.float32)
        low, high = -np.inf, np.inf
        self.observation_space = gym.spaces.Dict(
            tokens=env.observation_space,
            condition=gym.spaces.Box(low, high, (size,), np.float32),
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin a new sequence; ``options["condition"]`` is C numbers, the rest is the task's.

        Raises:
            ValueError: a condition of another shape, or that is not finite numbers.
        """
        options = dict(options or {})
        C = len(self._condition_C)
        given = options.pop("condition", None)
        given_C = None if given is None else _condition(given, C)
        tokens_T, info = self.env.reset(seed=seed, options=options)  # seeds np_random, too
        self._condition_C = (
            _condition(self._draw(self.np_random), C) if given_C is None else given_C
        )
        return self._observation(tokens_T), info

    def step(self, action: np.int64) -> tuple[Observations, float, bool, bool, dict[str, Any]]:
        """Write one token."""
        tokens_T, reward, terminated, truncated, info = self.env.step(action)
        return self._observation(tokens_T), float(reward), terminated, truncated, info

    def _observation(self, tokens_T: np.ndarray) -> Observations:
        return {"tokens": tokens_T, "condition": self._condition_C.copy()}


class IntermediateReward(
    gym.Wrapper[np.ndarray, np.int64, np.ndarray, np.int64],
    RecordConstructorArgs,
):
    """Add gamma * phi(s') - phi(s) to every reward, phi a score of the prefix, phi(end) = 0.

    Potential-based shaping (Ng, Harada and Russell, 1999, ICML, theorem 1): discounted by the same
    gamma, every sequence's return is less by phi of the start, so what is best stays best.
    ``info["potential"]`` is phi(s'), NaN where the score failed (0 is used: any phi will do).

    Args:
        env: a ``TokenEnv``.
        score: phi: a Reward, its name, or a function of a batch of texts, here one prefix.
        gamma: the discount of the agent that learns.

    Raises:
        ValueError: a gamma outside [0, 1].
    """

    def __init__(self, env: TokenGym, score: RewardSpec, gamma: float = 1.0) -> None:
        RecordConstructorArgs.__init__(self, score=score, gamma=gamma)
        super().__init__(env)
        if not 0 <= gamma <= 1:
            raise ValueError(f"gamma is {gamma}; expected the agent's discount, in [0, 1]")
        task = _task_shown_by(env)
        self._score = make_reward(score)
        self._score.prepare(task.vocabulary, task.max_length, "cpu")
        self._vocabulary, self._gamma, self._potential = task.vocabulary, gamma, 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin a new sequence; ``info["potential"]`` is that of the prompt, or of nothing."""
        tokens_T, info = self.env.reset(seed=seed, options=options)
        self._move(tokens_T, info)
        return tokens_T, info

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Write one token; the reward is the task's and the gain in potential."""
        tokens_T, reward, terminated, truncated, info = self.env.step(action)
        before = self._potential
        if terminated:
            self._potential = info["potential"] = 0.0
        else:
            self._move(tokens_T, info)
        shaped = float(reward) + self._gamma * self._potential - before
        return tokens_T, shaped, terminated, truncated, info

    def _move(self, tokens_T: np.ndarray, info: dict[str, Any]) -> None:
        tokens_1T = torch.from_numpy(tokens_T[None].copy())
        scores = self._score(Sequences.from_tokens(tokens_1T, self._vocabulary))
        info["potential"] = potential = float(scores.values_B[0])
        self._potential = 0.0 if math.isnan(potential) else potential


def _task_of(env: TokenGym) -> Task:
    """The task of the environment within, with an error where there is none."""
    task = env.get_wrapper_attr("task") if env.has_wrapper_attr("task") else None
    if not isinstance(task, Task):
        raise ValueError(
            f"{env} has no task; this wraps tokengym's environments, for example "
            "gym.make('tokengym/Molecules-v0')"
        )
    return task


def _task_shown_by(env: TokenGym) -> Task:
    """The task, with an error where the environment does not show the tokens so far."""
    task = _task_of(env)
    if env.observation_space != task.observation_space:
        raise ValueError(
            f"{env} shows {env.observation_space}, and this wrapper reads the tokens so far, "
            f"{task.observation_space}; put it inside the wrappers that change them"
        )
    return task


def _condition(values: object, size: int) -> np.ndarray:
    try:
        condition_C = np.array(values, np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the condition is {values!r}; expected {size} numbers") from error
    if condition_C.shape != (size,) or not np.isfinite(condition_C).all():
        raise ValueError(
            f"the condition {values!r} has shape {condition_C.shape}; expected ({size},) finite "
            "numbers, as WithCondition(size=...) says"
        )
    return condition_C
