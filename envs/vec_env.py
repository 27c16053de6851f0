"""The vector environment as Stable-Baselines3's ``VecEnv``, so that its agents train on it as is.

Stable-Baselines3 refuses a Gymnasium vector environment; this presents ``TokenVectorEnv`` in the
form it wants. The episode's return and length are counted here, so no ``Monitor`` is needed, and
the answer to "is it wrapped in one" is yes.
"""

# Shapes: B = num_envs sequences, E of them ending in this step, T = max_length steps, A actions
from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import compress
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from .vector import TokenVectorEnv

_SPACES = {
    "observation_space": "single_observation_space",
    "action_space": "single_action_space",
}
_BATCHED_METHODS = ("action_masks", "render")  # methods that answer for all rows at once


class TokenVecEnv(VecEnv):
    """B environments of one task in the form of Stable-Baselines3.

    ``step`` gives observations int64 (B, T), rewards float32 (B,), dones bool (B,) and one info a
    row: what ``TokenEnv`` says, and at the end ``terminal_observation`` and ``episode``, the
    return, the number of steps and the seconds since the start as ``{"r", "l", "t"}``.
    ``env_method("action_masks")`` gives bool (A,) for each row where the task has a constraint;
    ``has_attr("action_masks")`` is False where it has none.

    Args:
        env: what it presents.

    Raises:
        ValueError: the environment does not begin anew in the step that ends a sequence.
    """

    def __init__(self, env: TokenVectorEnv) -> None:
        if env.autoreset_mode is not AutoresetMode.SAME_STEP:
            raise ValueError(
                f"autoreset_mode is {env.autoreset_mode.value}; Stable-Baselines3 means SAME_STEP, "
                "make the environment with it"
            )
        self.env = env
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self.metadata = env.metadata
        self._rows_B = np.arange(self.num_envs)
        self._started = time.time()
        self._step = 0
        self._begun_B = np.zeros(self.num_envs, np.int64)  # the step before each row's first

    def reset(self) -> np.ndarray:
        """Begin new sequences; seeds and options are those of ``seed`` and ``set_options``."""
        names = {name for options in self._options for name in options}
        options = {name: [each.get(name) for each in self._options] for name in names}
        observations_BT, infos = self.env.reset(seed=self._seeds, options=options)
        self.reset_infos = _row_infos(infos, self._rows_B)
        self._reset_seeds()
        self._reset_options()
        self._begun_B.fill(self._step)
        return observations_BT

    def step_async(self, actions: np.ndarray) -> None:
        """Take the actions of the next ``step_wait``, integers (B,)."""
        self._actions_B = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Write one token in each row."""
        observations_BT, rewards_B, ended_B, _, infos = self.env.step(self._actions_B)
        self._step += 1
        if not infos:  # most steps of a task without a constraint
            row_infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
            return observations_BT, rewards_B.astype(np.float32), ended_B, row_infos
        final_obs = infos.pop("final_obs", None)
        final_infos = infos.pop("final_info", {})
        row_infos = _row_infos(infos, self._rows_B)
        if final_obs is not None:
            rows_E = np.flatnonzero(ended_B)
            # Nothing is given before the end, so the last reward is the return.
            ends = self._ends(rows_E, rewards_B[rows_E], final_obs[rows_E], final_infos)
            for row, info in zip(rows_E.tolist(), ends, strict=True):
                self.reset_infos[row], row_infos[row] = row_infos[row], info
        return observations_BT, rewards_B.astype(np.float32), ended_B, row_infos

    def _ends(
        self, rows_E: np.ndarray, returns_E: np.ndarray, final_E: np.ndarray, infos: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """The last infos of sequences, for each of the rows that end."""
        seconds = round(time.time() - self._started, 6)
        lengths = (self._step - self._begun_B[rows_E]).tolist()
        self._begun_B[rows_E] = self._step
        ends = _row_infos(infos, rows_E)
        returns = returns_E.round(6).tolist()
        return [
            {
                **info,
                "terminal_observation": final_T,
                "episode": {"r": total, "l": length, "t": seconds},
                "TimeLimit.truncated": False,
            }
            for info, final_T, total, length in zip(ends, final_E, returns, lengths, strict=True)
        ]

    def close(self) -> None:
        """Close the vector environment."""
        self.env.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """One picture a row, uint8 (height, width, 3); None without ``rgb_array``."""
        if self.render_mode != "rgb_array":
            return [None] * self.num_envs
        return list(self.env.render() or ())

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute as a single environment would have it, once for each row.

        Raises:
            AttributeError: there is none.
        """
        value = getattr(self.env, _SPACES.get(attr_name, attr_name))
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of all rows.

        Raises:
            ValueError: for some rows alone; they are one object.
        """
        if set(self._get_indices(indices)) != set(range(self.num_envs)):
            raise ValueError(
                f"cannot set {attr_name!r} for the rows {indices} alone: the {self.num_envs} rows "
                "are one object; leave indices out"
            )
        setattr(self.env, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """Call ``action_masks`` or ``render``; one answer for each row.

        Raises:
            AttributeError: the environment has no such method, or none that answers row by row.
        """
        if method_name not in _BATCHED_METHODS:
            raise AttributeError(
                f"{method_name!r} cannot be called for single rows; those that can: "
                f"{', '.join(_BATCHED_METHODS)}. The vector environment itself is .env"
            )
        answers = getattr(self.env, method_name)(*method_args, **kwargs)
        if answers is None:
            answers = [None] * self.num_envs
        return [answers[row] for row in self._get_indices(indices)]

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """True for ``Monitor``, whose work is done here; False for anything else."""
        return [wrapper_class is Monitor for _ in self._get_indices(indices)]


def _row_infos(infos: dict[str, Any], rows_E: np.ndarray) -> list[dict[str, Any]]:
    """Gymnasium's infos of arrays and masks as one dictionary of plain values a row."""
    found: list[dict[str, Any]] = [{} for _ in range(len(rows_E))]
    for key, values in infos.items():
        if key.startswith("_"):
            continue
        if isinstance(values, dict):
            column = _row_infos(values, rows_E)
        else:
            column = values[rows_E].tolist() if values.ndim == 1 else list(values[rows_E])
        here_E = infos[f"_{key}"][rows_E].tolist()
        for info, value in compress(zip(found, column, strict=True), here_E):
            info[key] = value
    return found
