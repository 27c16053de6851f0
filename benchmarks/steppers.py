"""B environments behind one pair of calls, and what a step of them costs."""

# Shapes: B = num_envs, A actions, S steps
from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv


class Stepper(Protocol):
    """B environments behind the two calls that are measured."""

    shape: tuple[int, int]
    """B and A."""

    def reset(self) -> np.ndarray | None:
        """Begin; the mask of the first actions, (B, A), None where there are no masks."""
        ...

    def step(self, actions_B: np.ndarray) -> np.ndarray | None:
        """Step; the mask of the next actions."""
        ...


class GymnasiumStepper:
    """A Gymnasium vector environment."""

    def __init__(self, id: str, num_envs: int, **how: Any) -> None:
        self._env = gym.make_vec(id, num_envs, **how)
        action_space: Any = self._env.single_action_space
        self.shape = num_envs, int(action_space.n)

    def reset(self) -> np.ndarray | None:
        """Begin."""
        return self._env.reset(seed=0)[1].get("action_mask")

    def step(self, actions_B: np.ndarray) -> np.ndarray | None:
        """Step."""
        return self._env.step(actions_B)[4].get("action_mask")


class StableBaselinesStepper:
    """A vector environment of Stable-Baselines3; masks are asked for as MaskablePPO does."""

    def __init__(self, id: str, num_envs: int, make: Callable[[str, int], VecEnv]) -> None:
        self._env = make(id, num_envs)
        self._masked = self._env.has_attr("action_masks")
        action_space: Any = self._env.action_space
        self.shape = num_envs, int(action_space.n)

    def reset(self) -> np.ndarray | None:
        """Begin."""
        self._env.reset()
        return self._masks()

    def step(self, actions_B: np.ndarray) -> np.ndarray | None:
        """Step, and ask for the masks."""
        self._env.step(actions_B)
        return self._masks()

    def _masks(self) -> np.ndarray | None:
        return np.stack(self._env.env_method("action_masks")) if self._masked else None


class Player:
    """Steps environments with random actions, and tells what a step costs."""

    def __init__(self, stepper: Stepper) -> None:
        self._stepper, self._mask_BA = stepper, stepper.reset()
        self._rng = np.random.default_rng(0)

    def seconds_a_step(self, steps: int) -> float:
        """CPU seconds that one of so many steps takes, without the drawing of actions."""
        if self._mask_BA is None:
            B, A = self._stepper.shape
            return self._seconds(self._rng.integers(A, size=(steps, B))) / steps
        total = 0.0
        for _ in range(steps):
            actions_B = (self._rng.random(self._mask_BA.shape) * self._mask_BA).argmax(axis=1)
            total += self._seconds(actions_B[None])
        return total / steps

    def _seconds(self, actions_SB: np.ndarray) -> float:
        start = time.process_time()
        for actions_B in actions_SB:
            self._mask_BA = self._stepper.step(actions_B)
        return time.process_time() - start
