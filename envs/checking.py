"""A checker for vector environments, which Gymnasium lacks.

A vector form is right when each of its rows is the single environment: the same observations,
rewards, ends, infos and action masks for the same actions, begun anew as its autoreset mode says,
and every array a fresh one. The vector form is run first, with random actions; then the single
environment is led through each row's episodes and everything is compared.
"""

# Shapes: B = num_envs
from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate

from .comparing import arrays, compare, compare_infos, equal, expect, info_of_row

AnyEnv = gym.Env[Any, Any]
AnyVectorEnv = VectorEnv[Any, Any, Any]


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


@dataclass(frozen=True)
class _Call:
    """What a call of the vector form gave, and what it was called with."""

    name: str
    observations: Any
    infos: dict[str, Any]
    masks: np.ndarray | None
    actions: Any = None
    rewards: Any = None
    terminated: Any = None
    truncated: Any = None
    reset_mask: np.ndarray | None = None

    @property
    def ended_B(self) -> np.ndarray:
        ended_B: np.ndarray = self.terminated | self.truncated
        return ended_B

    def arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        yield from arrays("the observations", self.observations)
        for what in ("rewards", "terminated", "truncated"):
            yield from arrays(what, getattr(self, what))
        yield from arrays("action_masks()", self.masks)
        yield from arrays("infos", self.infos)


def _check(
    vector_env: AnyVectorEnv, env: AnyEnv, steps: int, seed: int, options: dict[str, Any] | None
) -> None:
    mode = vector_env.metadata.get("autoreset_mode")
    if not isinstance(mode, AutoresetMode):
        raise AssertionError(
            f"metadata['autoreset_mode'] is {mode!r}; expected a member of AutoresetMode"
        )
    _check_spaces(vector_env, env)
    calls = list(_run(vector_env, mode, steps, seed, options))
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
    ours, theirs = _masks_of(vector_env) is not None, _masks_of(env) is not None
    expect(
        ours == theirs,
        f"action_masks: the vector form {'has' if ours else 'lacks'} it, the single environment "
        f"{'has' if theirs else 'lacks'} it",
    )


# --- the vector form ------------------------------------------------------------------------------


def _run(
    vector_env: AnyVectorEnv,
    mode: AutoresetMode,
    steps: int,
    seed: int,
    options: dict[str, Any] | None,
) -> Iterator[_Call]:
    """Run the vector form; what it gives is checked by itself and yielded as copies."""
    vector_env.single_action_space.seed(seed)
    shelf = _Shelf(vector_env)
    result = vector_env.reset(seed=seed, options=None if options is None else dict(options))
    yield (call := shelf.put("reset", result))
    for step in range(1, steps + 1):
        actions = _actions(vector_env, call)
        yield (call := shelf.put(f"step {step}", vector_env.step(actions), actions=actions))
        if mode is AutoresetMode.DISABLED and call.ended_B.any():
            mask = call.ended_B.copy()
            result = vector_env.reset(options={"reset_mask": mask.copy()})
            yield (call := shelf.put(f"reset after step {step}", result, reset_mask=mask))


class _Shelf:
    """Keeps what the vector form gave: the arrays to see that they stay, copies to compare."""

    def __init__(self, vector_env: AnyVectorEnv) -> None:
        self._env = vector_env
        self._given: _Call | None = None
        self._copy: _Call | None = None

    def put(self, name: str, result: tuple[Any, ...], **called_with: Any) -> _Call:
        masks = _masks_of(self._env)
        if len(result) == 2:
            observations, infos = result
            given = _Call(name, observations, infos, masks, **called_with)
        else:
            expect(len(result) == 5, f"{name} gave {len(result)} values; expected 5")
            observations, rewards, terminated, truncated, infos = result
            given = _Call(
                name,
                observations,
                infos,
                masks,
                rewards=rewards,
                terminated=terminated,
                truncated=truncated,
                **called_with,
            )
        self._check_types(given)
        self._check_fresh(given)
        self._given, self._copy = given, deepcopy(given)
        return self._copy

    def _check_types(self, call: _Call) -> None:
        space, B = self._env.observation_space, self._env.num_envs
        expect(call.observations in space, f"{call.name}: the observations are not in {space}")
        expected = {"rewards": "f", "terminated": "b", "truncated": "b"}
        for what, kind in expected.items():
            value = getattr(call, what)
            if value is None:
                continue
            fits = isinstance(value, np.ndarray) and value.shape == (B,)
            expect(
                fits and value.dtype.kind == kind,
                f"{call.name}: {what} is {value!r}; expected an array of shape ({B},), of "
                f"{'floats' if kind == 'f' else 'bools'}",
            )
        if (masks := call.masks) is not None:
            expect(
                masks.dtype == np.bool_ and masks.shape[:1] == (B,),
                f"{call.name}: action_masks() has shape {masks.shape} and dtype {masks.dtype}; "
                f"expected ({B}, A) bool",
            )

    def _check_fresh(self, call: _Call) -> None:
        if self._given is None or self._copy is None:
            return
        given = list(self._given.arrays())
        for what, array in call.arrays():
            for before, old in given:
                expect(
                    not np.may_share_memory(array, old),
                    f"{call.name}: {what} shares memory with {before} of {self._given.name}; give "
                    "a copy every time",
                )
        for (what, now), (_, then) in zip(given, self._copy.arrays(), strict=True):
            expect(
                equal(now, then),
                f"{call.name} changed {what} that {self._given.name} had given; give a copy",
            )


def _actions(vector_env: AnyVectorEnv, last: _Call) -> Any:
    """Random actions, allowed ones where a mask says which."""
    space = vector_env.single_action_space
    masks = last.infos.get("action_mask", last.masks)
    if masks is None or not isinstance(space, gym.spaces.Discrete):
        rows: list[Any] = [space.sample() for _ in range(vector_env.num_envs)]
    else:
        rows = [space.sample(mask=mask.astype(np.int8)) for mask in masks]
    empty: Any = create_empty_array(space, vector_env.num_envs)
    return concatenate(space, rows, empty)


# --- the single environment -----------------------------------------------------------------------


def _compare_row(
    calls: list[_Call],
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
            compare(f"{where}: action_masks()", call.masks[row], _masks_of(env))


_FINAL = ("final_obs", "final_info")


def _compare_step(call: _Call, row: int, where: str, expected: tuple[float, bool, bool]) -> None:
    names = ("rewards", "terminated", "truncated")
    for name, value in zip(names, expected, strict=True):
        compare(f"{where}: {name}", getattr(call, name)[row], value)


def _compare_final(
    call: _Call, row: int, where: str, observation: Any, info: dict[str, Any]
) -> None:
    for key in _FINAL:
        expect(key in call.infos, f"{where}: the episode ended and infos has no {key!r}")
    found = info_of_row(call.infos, row, where)
    compare(f"{where}: final_obs", found.get("final_obs"), observation)
    compare_infos(f"{where}: final_info", found.get("final_info", {}), info)


def _row(batch: Any, row: int, space: gym.Space[Any]) -> Any:
    """One row of a batch of observations or actions, whose batched space is ``space``."""
    return next(islice(iterate(space, batch), row, None))


def _masks_of(env: AnyEnv | AnyVectorEnv) -> np.ndarray | None:
    """What ``action_masks()`` says now; None where there is no such method."""
    try:
        if not isinstance(env, VectorEnv):
            method = env.get_wrapper_attr("action_masks")
        elif isinstance(env, SyncVectorEnv):
            return np.stack(env.call("action_masks"))
        else:
            method = env.action_masks  # type: ignore[attr-defined] # asked whether it is there
    except AttributeError:
        return None
    masks: np.ndarray = method()
    return masks
