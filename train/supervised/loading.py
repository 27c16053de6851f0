"""Loading a learner of any kind: the checkpoint says which."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from ...agents.checkpoint import CheckpointError, load_checkpoint
from ...agents.stored import checkpoint_path
from .learner import Learner


def load_learner(path: str | Path, device: torch.device | str = "auto") -> Learner:
    """The learner in a checkpoint, of any kind that was imported.

    Raises:
        CheckpointError: as ``Learner.load``, or a learner of an unknown class.
    """
    _, state = load_checkpoint(checkpoint_path(path))
    name = state.get("learner") if isinstance(state, dict) else None
    known = known_learners()
    if not isinstance(name, str) or name not in known:
        raise CheckpointError(
            f"{path} holds the learner {name!r}, which is none of {', '.join(sorted(known))}; "
            "import its class first"
        )
    return known[name].load(path, device)


def known_learners() -> dict[str, type[Learner]]:
    """The learners that were imported, by name."""
    return {kind.__name__: kind for kind in _subclasses(Learner)}  # type: ignore[type-abstract]


def _subclasses(kind: type[Learner]) -> Iterator[type[Learner]]:
    for below in kind.__subclasses__():
        yield below
        yield from _subclasses(below)
