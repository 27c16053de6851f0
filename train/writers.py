"""Who writes in a run's folder or a checkpoint: an agent, or a supervised learner."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ..agents import load_agent
from ..agents.checkpoint import load_checkpoint
from ..agents.policies import Policy
from ..agents.stored import checkpoint_path
from ..envs import Constraint, Sequences, Task, TokenEnv, make_constraint
from .run_folder import RunFolder
from .supervised import load_learner


class Writer(Protocol):
    """Writes sequences of at most ``max_length`` tokens, under a constraint where it has one."""

    max_length: int
    constraint: Constraint | None

    @property
    def policy(self) -> Policy:
        """Whose they are."""
        ...

    def sample(
        self,
        n: int,
        *,
        seed: int | None = None,
        prompt: str | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> Sequences:
        """Write ``n`` sequences."""
        ...


def load_writer(
    path: Path, task: Task | None = None, constraint: Constraint | str | None = None
) -> Writer:
    """The agent or the learner in a run's folder or a checkpoint.

    Args:
        path: a folder, or the file.
        task: what it writes, under the task's own constraint.
        constraint: which tokens may come next, without a task; by default what was saved.
    """
    path = RunFolder(path).newest_checkpoint() if path.is_dir() else checkpoint_path(path)
    _, state = load_checkpoint(path)
    if not isinstance(state, dict) or "learner" not in state:
        if task is not None:
            return load_agent(path, TokenEnv(task))
        return load_agent(path, constraint=constraint)
    learner = load_learner(path)
    if task is not None:
        learner.use_task(task)
    elif constraint is not None:
        bound = make_constraint(constraint)
        learner.constraint = bound.bound(learner.policy.vocabulary, max(learner.max_length, 1))
    return learner
