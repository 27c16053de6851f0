"""Loading an agent of any kind: the checkpoint says which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from stable_baselines3.common.type_aliases import GymEnv

from .base import SequenceAgent
from .checkpoint import CheckpointError, load_checkpoint
from .hill_climb import AugmentedHillClimb
from .organ import ORGAN
from .ppo import PPO
from .reinforce import Reinforce
from .reinvent import Reinvent
from .seqgan import SeqGAN
from .stored import checkpoint_path

AGENTS: dict[str, type[SequenceAgent]] = {
    kind.__name__: kind for kind in (AugmentedHillClimb, ORGAN, PPO, Reinforce, Reinvent, SeqGAN)
}


def load_agent(path: str | Path, env: GymEnv | str | None = None, **kwargs: Any) -> SequenceAgent:
    """The agent in a checkpoint; arguments as for ``SequenceAgent.load``.

    A class of your own is found once it is defined: import it first.

    Raises:
        CheckpointError: as ``SequenceAgent.load``, or an agent of an unknown class.
    """
    _, state = load_checkpoint(checkpoint_path(path))
    name = state.get("agent") if isinstance(state, dict) else None
    known = {kind.__name__: kind for kind in _subclasses(SequenceAgent)} | AGENTS
    if not isinstance(name, str) or name not in known:
        raise CheckpointError(
            f"{path} holds the agent {name!r}, which is none of {', '.join(AGENTS)}; import its "
            "class first, or load it with the load method of its own class"
        )
    return known[name].load(path, env, **kwargs)


def _subclasses(kind: type) -> Iterator[type[SequenceAgent]]:
    found: Iterable[type[SequenceAgent]] = kind.__subclasses__()
    for below in found:
        yield below
        yield from _subclasses(below)
