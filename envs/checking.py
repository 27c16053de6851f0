"""A checker for vector environments, which Gymnasium lacks.

A vector form is right when each of its rows is the single environment: the same observations,
rewards, ends, infos and action masks for the same actions, begun anew as its autoreset mode says,
and every array a fresh one. The vector form is run first, with random actions; then the single
environment is led through each row's episodes and everything is compared.
"""

# Shapes: B = num_envs
from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, iterate

from .comparing import compare, compare_infos, expect, info_of_row
from .recording import AnyEnv, AnyVectorEnv, Call, masks_of, run


def check_vector_env(
    vector_env: AnyVectorEnv | Callable[[AutoresetMode], AnyVectorEnv],
    env: AnyEnv,
    *,
    steps: int = 200,
    seed: int = 0,
    options: dict[str, Any] | None = None,
) -> None:
    """Check a vector environment against the single one, step for step.

    Row i is compared with the single environment after ``reset(seed=seed + i)``, Gymnasium's own
    convention. Actions obey ``info["action_mask"]`` where there is one.

    Args:
        vector_env: what is checked, in the autoreset mode that its metadata name; or a function
            that makes one in a given mode, and all three modes are checked.
        env: the single environment, the yardstick.
        steps: how many steps each mode is run for; some episode has to end in them.
        seed: of the environments and the actions.
        options: for the first ``reset`` of both.

    Raises:
        AssertionError: something differs; the message says what, where, and both values.
        ValueError: no episode ended, so the check would say little; give more steps.
    """
    if isinstance(vector_env, VectorEnv):
        return _check(vector_env, env, steps, seed, options)
    for mode in AutoresetMode:
        made = vector_env(mode)
        found = made.metadata.get("autoreset_mode")
        expect(found == mode, f"asked for {mode}, the environment's metadata say {found!r}")
        _check(made, env, steps, seed, options)
        made.close()


def _check(
    vector_env: AnyVectorEnv, env: AnyEnv, steps: int, seed: int, options: dict[str, Any] | None
) -> None:
    mode = vector_env.metadata.get("autoreset_mode")
    if not isinstance(mode, AutoresetMode):
        raise AssertionError(
            f"metadata['autoreset_mode'] is {mode!r}; expected a member of AutoresetMode"
        )
    _check_spaces(vector_env, env)
    calls = list(run(vector_env, mode, steps, seed, options))
    for row in range(vector_env.num_envs):
        _compare_row(calls, row, vector_env, env, seed + row, options)
    if not any(call.ended_B.any() for call in calls if call.terminated is not None):
        raise ValueError(f"no episode ended in {steps} steps; give more steps")


def _check_spaces(vector_env: AnyVectorEnv, env: AnyEnv) -> None:
    B = vector_env.num_envs
    expect(isinstance(B, int) and B >= 1, f"num_envs is {B!r}; expected an int, at least 1")
    for name in ("observation_space", "action_space"):
        single, expected = getattr(vector_env, f"single_{name}"), getattr(env, name)
        expect(single == expected, f"single_{name} is {single}; the single one's is {expected}")
        batched, expected = getattr(vector_env, name), batch_space(expected, B)
        expect(batched == expected, f"{name} is {batched}; expected {expected}")
    ours, theirs = masks_of(vector_env) is not None, masks_of(env) is not None
    expect(
        ours == theirs,
        f"action_masks: the vector form {'has' if ours else 'lacks'} it, the single environment "
        f"{'has' if theirs else 'lacks'} it",
    )


def _compare_row(
    calls: list[Call],
    row: int,
    vector_env: AnyVectorEnv,
    env: AnyEnv,
    seed: int,
    options: dict[str, Any] | None,
) -> None:
    """Lead the single environment through one row's episodes."""
    ended, mode = False, vector_env.metadata["autoreset_mode"]
    for call in calls:
        where = f"{mode}, {call.name}, row {row}"
        if call.terminated is None and call.reset_mask is None:
            observation, info = env.reset(
                seed=seed, options=None if options is None else dict(options)
            )
        elif call.reset_mask is not None:
            if call.reset_mask[row]:
                observation, info = env.reset()
            else:  # a row that goes on: its observation and masks stay
                info = None
        elif mode is AutoresetMode.NEXT_STEP and ended:
            observation, info = env.reset()
            _compare_step(call, row, where, (0.0, False, False))
            ended = False
        else:
            action = _row(call.actions, row, vector_env.action_space)
            observation, reward, terminated, truncated, info = env.step(action)
            _compare_step(call, row, where, (float(reward), terminated, truncated))
            ended = terminated or truncated
            if ended and mode is AutoresetMode.SAME_STEP:
                _compare_final(call, row, where, observation, info)
                observation, info = env.reset()
        found = _row(call.observations, row, vector_env.observation_space)
        compare(f"{where}: the observation", found, observation)
        if info is not None:
            found_info = info_of_row(call.infos, row, where)
            if mode is AutoresetMode.SAME_STEP:
                found_info = {k: v for k, v in found_info.items() if k not in _FINAL}
            compare_infos(f"{where}: info", found_info, info)
        if call.masks is not None:
            compare(f"{where}: action_masks()", call.masks[row], masks_of(env))


_FINAL = ("final_obs", "final_info")


def _compare_step(call: Call, row: int, where: str, expected: tuple[float, bool, bool]) -> None:
    names = ("rewards", "terminated", "truncated")
    for name, value in zip(names, expected, strict=True):
        compare(f"{where}: {name}", getattr(call, name)[row], value)


def _compare_final(
    call: Call, row: int, where: str, observation: Any, info: dict[str, Any]
) -> None:
    for key in _FINAL:
        expect(key in call.infos, f"{where}: the episode ended and infos has no {key!r}")
    found = info_of_row(call.infos, row, where)
    compare(f"{where}: final_obs", found.get("final_obs"), observation)
    compare_infos(f"{where}: final_info", found.get("final_info", {}), info)


def _row(batch: Any, row: int, space: gym.Space[Any]) -> Any:
    """One row of a batch of observations or actions, whose batched space is ``space``."""
    return next(islice(iterate(space, batch), row, None))
