"""The registered ids, and how a task of one's own gets one.

Entry points are strings and options are plain values, so that a spec can be written as JSON. What
every task has is an option here and of no factory: ``constraint``, which tokens may come next.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium as gym

from .constraints import make_constraint
from .task import Task
from .token_env import TokenEnv
from .vec_env import TokenVecEnv
from .vector import TokenVectorEnv

_ENTRY_POINT = "tokengym.envs.registration:make_env"
BUILT_IN_TASKS = {
    "tokengym/Molecules-v0": "tokengym.envs.molecules:molecules",
    "tokengym/Melodies-v0": "tokengym.envs.melodies:melodies",
    "tokengym/Text-v0": "tokengym.envs.text:text",
    "tokengym/Oracle-v0": "tokengym.envs.sources.oracle:oracle",
    "tokengym/Markov-v0": "tokengym.envs.sources.markov:markov",
    "tokengym/HMM-v0": "tokengym.envs.sources.hmm:hmm",
    "tokengym/MarkovMixture-v0": "tokengym.envs.sources.mixture:markov_mixture",
    "tokengym/Dyck-v0": "tokengym.envs.sources.dyck:dyck",
    "tokengym/Copy-v0": "tokengym.envs.sources.copy:copy",
}


class UnknownOptionError(TypeError, ValueError):
    """A task has no option of this name; the message has the nearest names.

    A TypeError, as for any function, because libraries try keywords of their own and take them back
    on it (TorchRL's ``GymEnv``); a ValueError, as other wrong options are.
    """


def register_task(id: str, factory: str | Callable[..., Task], **options: Any) -> None:
    """Register a task with Gymnasium, in the single and the vector form.

    The same once more does nothing; something else under the same id takes its place, and
    Gymnasium warns.

    Args:
        id: such as ``"mine/Haiku-v0"``.
        factory: a function that makes the ``Task``, or ``"module:function"``.
        **options: keywords for the factory, and ``constraint``, as for every task: a Constraint, a
            name or an expression. ``gym.make(id, **more)`` overrides them.
    """
    kwargs = {"task": factory, **options}
    if id in registered_tasks() and gym.registry[id].kwargs == kwargs:
        return
    gym.register(
        id=id,
        entry_point=_ENTRY_POINT,
        vector_entry_point="tokengym.envs.registration:make_vector_env",
        kwargs=kwargs,
    )


def register_built_in_tasks() -> None:
    """Register this project's ids; once is enough, twice does nothing."""
    for id, factory in BUILT_IN_TASKS.items():
        register_task(id, factory)


def registered_tasks() -> dict[str, gym.envs.registration.EnvSpec]:
    """The specs of all ids made by ``register_task``."""
    return {id: spec for id, spec in gym.registry.items() if spec.entry_point == _ENTRY_POINT}


def make_task(id: str, /, **options: Any) -> Task:
    """The task behind a registered id, with its options overridden.

    ``"module:id"`` imports the module first, where a task of one's own is registered, as
    ``gym.make`` does.

    Raises:
        ValueError: no such id, or no such option; the message has the nearest names.
    """
    if "task" in options:  # what is run is the registration's to say; options may be a file's
        raise UnknownOptionError(f"{id} has no option 'task'; register one of your own instead")
    return _build({**_spec(id).kwargs, **options})


def task_factory(id: str) -> Callable[..., Task]:
    """The function that makes the task behind a registered id."""
    return _load_factory(_spec(id).kwargs["task"])


def options_of(factory: Callable[..., Task]) -> dict[str, Any]:
    """The options that its task has, with their defaults: its keywords, and ``constraint``."""
    parameters = inspect.signature(factory).parameters.values()
    named = {p.name: p.default for p in parameters if p.kind is not p.VAR_KEYWORD}
    return {**named, "constraint": None}


def _spec(id: str) -> gym.envs.registration.EnvSpec:
    """What is registered, by the module before a colon or before."""
    module, _, name = id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise  # the module is there, what it imports is not
            raise ValueError(
                f"no module {module!r} for the task {id!r}; is it spelt right, and in the current "
                "folder or installed?"
            ) from error
    specs = registered_tasks()
    if name not in specs:
        raise unknown_task(name)
    return specs[name]


def unknown_task(id: str) -> ValueError:
    """The error for an id that is not registered, with the nearest ones."""
    specs = registered_tasks()
    near = difflib.get_close_matches(id, specs, n=2, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(specs)}"
    return ValueError(
        f"unknown task {id!r}; {hint} (one of your own is written 'module:{id}', after the module "
        "that registers it)"
    )


def make_env(
    task: str | Callable[..., Task], render_mode: str | None = None, **options: Any
) -> TokenEnv:
    """The entry point of every registered id."""
    return TokenEnv(_build({"task": task, **options}), render_mode)


def make_vector_env(
    task: str | Callable[..., Task],
    num_envs: int = 1,
    autoreset_mode: gym.vector.AutoresetMode | str = gym.vector.AutoresetMode.SAME_STEP,
    render_mode: str | None = None,
    **options: Any,
) -> TokenVectorEnv:
    """The vector entry point of every registered id."""
    return TokenVectorEnv(
        _build({"task": task, **options}),
        num_envs,
        autoreset_mode=autoreset_mode,
        render_mode=render_mode,
    )


def make_sb3(
    id: str, num_envs: int = 1, *, render_mode: str | None = None, **options: Any
) -> TokenVecEnv:
    """A registered task in the form of Stable-Baselines3, natively batched.

        PPO("MlpPolicy", tokengym.make_sb3("tokengym/Molecules-v0", 64, reward="qed"))

    Args:
        id: a registered id.
        num_envs: B, how many sequences are written at once.
        render_mode: as for ``TokenVectorEnv``.
        **options: the task's, as for ``gym.make``.

    Raises:
        ValueError: no such id; the message has the nearest names.
        UnknownOptionError: no such option.
    """
    _spec(id)
    env = gym.make_vec(id, num_envs=num_envs, render_mode=render_mode, **options)
    assert isinstance(env, TokenVectorEnv)
    return TokenVecEnv(env)


def _build(options: dict[str, Any]) -> Task:
    factory = _load_factory(options.pop("task"))
    constraint = options.pop("constraint", None)
    task = _checked_call(factory, options)
    if constraint is None:  # the factory's own stays, where it sets one
        return task
    return replace(task, constraint=make_constraint(constraint))


def _load_factory(factory: str | Callable[..., Task]) -> Callable[..., Task]:
    if not isinstance(factory, str):
        return factory
    module, _, name = factory.partition(":")
    found: Callable[..., Task] = getattr(importlib.import_module(module), name)
    return found


def _checked_call(factory: Callable[..., Task], options: dict[str, Any]) -> Task:
    """Call a factory, with an error that names the nearest option for one that does not exist."""
    known = options_of(factory)
    parameters = inspect.signature(factory).parameters.values()
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    for name in options:
        if not takes_any and name not in known:
            near = difflib.get_close_matches(name, known, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
            task = getattr(factory, "__name__", factory)  # a partial has none
            raise UnknownOptionError(
                f"{task} has no option {name!r}; {hint} (unexpected keyword argument {name!r})"
            )
    return factory(**options)
