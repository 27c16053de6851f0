"""What a training run is told, and what of it may be another when the run is resumed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..agents.checks import check_least, check_positive
from .run_folder import RunError


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """The supervised beginning."""

    epochs: int = 10
    """Passes over the real sequences by teacher forcing."""
    batch_size: int = 64
    """Sequences a step."""
    learning_rate: float = 2e-3
    """Of Adam at the first step; it falls linearly to a hundredth."""
    discriminator_steps: int = 100
    """Updates of each discriminator after that."""

    def __post_init__(self) -> None:
        check_least(0, epochs=self.epochs, discriminator_steps=self.discriminator_steps)
        check_least(1, batch_size=self.batch_size)
        check_positive(learning_rate=self.learning_rate)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What a training run is told."""

    task: str = "tokengym/Molecules-v0"
    """The registered id of the task; `tokengym tasks` lists them. 'module:id' imports one's own."""
    data: str | None = None
    """The real sequences: a built-in set's name or a file; the task's own by default."""
    reward: str | None = None
    """A name, 'module:attribute', or an expression of these; `tokengym rewards` lists the names."""
    constraint: str | None = None
    """Which tokens may come next: a name or an expression; `tokengym tasks` lists the names."""
    task_options: dict[str, Any] = field(default_factory=dict)
    """More options of the task, such as max_length."""
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    """The supervised beginning."""
    total_timesteps: int = 200_000
    """Tokens of training sequences to write while learning from the reward, up to whole rounds."""
    samples: int = 2000
    """How many sequences the figures of the table are computed from."""
    seed: int = 0
    """Of everything random: one seed, one result."""
    policy: str | None = None
    """A run of `tokengym fit` or its checkpoint: the agent begins with this policy, which it would
    else make and pretrain."""
    run: str = "runs/latest"
    """The folder of the results."""
    save_every: float = 60.0
    """Seconds between checkpoints; 0 saves after every batch of pretraining and every round."""
    threads: int = 1
    """CPU threads of torch; more pay off for large models on an idle machine alone."""

    def __post_init__(self) -> None:
        check_least(0, total_timesteps=self.total_timesteps, seed=self.seed)
        check_least(0, save_every=self.save_every)
        check_least(1, samples=self.samples, threads=self.threads)


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """What a supervised fit is told."""

    task: str = "tokengym/Molecules-v0"
    """The registered id of the task; `tokengym tasks` lists them. 'module:id' imports one's own."""
    data: str | None = None
    """The real sequences: a built-in set's name or a file; the task's own by default."""
    constraint: str | None = None
    """Which tokens may come next when it samples: a name or an expression."""
    task_options: dict[str, Any] = field(default_factory=dict)
    """More options of the task, such as max_length."""
    max_epochs: int = 20
    """Passes over the real sequences, of which every fiftieth is held out."""
    max_seconds: float | None = None
    """A limit of wall time, summed over sittings; the schedule follows the clock then."""
    samples: int = 2000
    """How many sequences the figures of the table are computed from."""
    seed: int = 0
    """Of everything random: one seed, one result."""
    run: str = "runs/latest"
    """The folder of the results."""
    save_every: float = 60.0
    """Seconds between checkpoints; 0 saves after every batch of pretraining and every round."""
    threads: int = 1
    """CPU threads of torch; more pay off for large models on an idle machine alone."""

    def __post_init__(self) -> None:
        check_least(0, max_epochs=self.max_epochs, seed=self.seed, save_every=self.save_every)
        check_least(1, samples=self.samples, threads=self.threads)
        if self.max_seconds is not None:
            check_positive(max_seconds=self.max_seconds)


# What a run is from its first step; with another it would be another run.
FIXED = (
    *("task", "task_options", "seed", "policy"),
    *("agent.class_path", "agent.init_args.policy", "agent.init_args.policy_kwargs"),
)
FIXED_FIT = ("task", "task_options", "seed", "learner")
Changes = Mapping[str, tuple[object, object]]


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Changes:
    """The options by dotted name that differ between two configurations, with both values.

    Where the results are is no difference.
    """
    old, new = _flat(before), _flat(after)
    names = [name for name in {**old, **new} if name != "run"]
    return {k: (old.get(k), new.get(k)) for k in names if old.get(k) != new.get(k)}


def refuse_changes(changed: Changes, names: Iterable[str], run: str | Path) -> None:
    """Check that none of the options with these names, and of what is in them, has changed.

    Raises:
        RunError: one has.
    """
    for name, (old, new) in changed.items():
        if any(name == fixed or name.startswith(f"{fixed}.") for fixed in names):
            raise RunError(
                f"{run} was run with {name}={old!r} and cannot go on with {new!r}; leave it as it "
                "was, or begin another --run"
            )


def with_absolute_paths(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with the place of every file of the user's in full: it is found from any folder.

    A file is what exists by that name, a folder only where the name is written like a path.
    """
    return {name: _absolute(value) for name, value in options.items()}


def _absolute(value: object) -> object:
    if not isinstance(value, str) or not value:
        return value
    path = Path(value)
    is_place = path.is_file() or ((path.suffix or os.sep in value) and path.exists())
    return str(path.resolve()) if is_place else value


def task_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The task's options in a configuration."""
    options = {str(name): value for name, value in (config.get("task_options") or {}).items()}
    for name in ("data", "reward", "constraint", "skip_invalid"):
        if config.get(name):
            options[name] = config[name]
    return options


def _flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """``{"a": {"b": 1}}`` as ``{"a.b": 1}``."""
    flat: dict[str, object] = {}
    for name, value in options.items():
        nested = isinstance(value, Mapping)
        flat |= _flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return flat
