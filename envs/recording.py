"""Running a vector environment with random actions, and keeping what it gives.

What can be seen of it alone is checked on the way: the types and shapes, and that every array is a
fresh one, which nobody changes afterwards.
"""

# Shapes: B = num_envs
from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array

from .comparing import arrays, equal, expect

AnyEnv = gym.Env[Any, Any]
AnyVectorEnv = VectorEnv[Any, Any, Any]


@dataclass(frozen=True)
class Call:
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
        """Which episodes a step ended, bool (B,)."""
        ended_B: np.ndarray = self.terminated | self.truncated
        return ended_B

    def arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        """All that it gave, with its place."""
        yield from arrays("the observations", self.observations)
        for what in ("rewards", "terminated", "truncated"):
            yield from arrays(what, getattr(self, what))
        yield from arrays("action_masks()", self.masks)
        yield from arrays("infos", self.infos)


def run(
    vector_env: AnyVectorEnv,
    mode: AutoresetMode,
    steps: int,
    seed: int,
    options: dict[str, Any] | None,
) -> Iterator[Call]:
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
        self._given: Call | None = None
        self._copy: Call | None = None

    def put(self, name: str, result: tuple[Any, ...], **called_with: Any) -> Call:
        masks = masks_of(self._env)
        if len(result) == 2:
            observations, infos = result
            given = Call(name, observations, infos, masks, **called_with)
        else:
            expect(len(result) == 5, f"{name} gave {len(result)} values; expected 5")
            observations, rewards, terminated, truncated, infos = result
            given = Call(
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

    def _check_types(self, call: Call) -> None:
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

    def _check_fresh(self, call: Call) -> None:
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


def _actions(vector_env: AnyVectorEnv, last: Call) -> Any:
    """Random actions, allowed ones where a mask says which."""
    space = vector_env.single_action_space
    masks = last.infos.get("action_mask", last.masks)
    if masks is None or not isinstance(space, gym.spaces.Discrete):
        rows: list[Any] = [space.sample() for _ in range(vector_env.num_envs)]
    else:
        rows = [space.sample(mask=mask.astype(np.int8)) for mask in masks]
    empty: Any = create_empty_array(space, vector_env.num_envs)
    return concatenate(space, rows, empty)


def masks_of(env: AnyEnv | AnyVectorEnv) -> np.ndarray | None:
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
