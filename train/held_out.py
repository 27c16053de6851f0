"""The sequences of a task's data that nobody learns from: every fiftieth."""

from __future__ import annotations

import torch

from ..envs import Sequences, Task
from .run_folder import RunError

_EVERY = 50


def split(task: Task) -> tuple[Sequences, Sequences | None]:
    """The real sequences without, and with only, those that are held out.

    Raises:
        RunError: the task has no data.
    """
    if task.data is None:
        raise RunError(f"the task {task.name} has no data to pretrain on; name some with --data")
    held_out = torch.arange(len(task.data)) % _EVERY == _EVERY - 1
    if not held_out.any():
        return task.data, None
    return task.data[~held_out], task.data[held_out]
