"""Loading an agent of any kind: the checkpoint says which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stable_baselines3.common.type_aliases import GymEnv

from .base import SequenceAgent
from .checkpoint import CheckpointError, load_checkpoint
from .organ import ORGAN
from .seqgan import SeqGAN
from .stored import checkpoint_path

AGENTS: dict[str, type[SequenceAgent]] = {"ORGAN": ORGAN, "SeqGAN": SeqGAN}


def load_agent(path: str | Path, env: GymEnv | str | None = None, **kwargs: Any) -> SequenceAgent:
    """The agent in a checkpoint; arguments as for ``SequenceAgent.load``.

    Raises:
        CheckpointError: as ``SequenceAgent.load``, or an agent that is none of this project's.
    """
    _, state = load_checkpoint(checkpoint_path(path))
    name = state.get("agent") if isinstance(state, dict) else None
    if name not in AGENTS:
        raise CheckpointError(
            f"{path} holds the agent {name!r}, which is none of {', '.join(AGENTS)}; load it with "
            "the load method of its own class"
        )
    return AGENTS[name].load(path, env, **kwargs)
