"""Saving a learner and loading it: one file from which a fit goes on as if never stopped.

Tensors and JSON, as agents are saved (agents/checkpoint.py); loading runs no code from the file.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from ...agents.assembled import keywords_of
from ...agents.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from ...agents.policies import Policy
from ...agents.stored import checkpoint_path, policy_name, saved_constraint, saved_policy
from ...envs import Vocabulary
from ...envs.constraints import constraint_to_json
from ...rewards.state import flatten_optimizer, restore_optimizer, with_prefix
from .assembled import AssembledLearner, Progress

# Constructor keywords that are no hyperparameters.
_NOT_SAVED = {"self", "policy", "policy_kwargs", "vocabulary", "device"}


class StoredLearner(AssembledLearner):
    """A learner that can be written to a file and read from it."""

    def save(self, path: str | Path) -> None:
        """Write a checkpoint: everything needed to sample, and to fit on as if never stopped.

        Args:
            path: ``.safetensors`` is added where there is no suffix.
        """
        weights = self._weights() if self._in_training is None else self._in_training
        tensors = {f"weights.{name}": tensor for name, tensor in weights.items()}
        for kind, kept in (("average", self._average), ("best", self._best)):
            tensors |= {f"{kind}.{name}": tensor for name, tensor in (kept or {}).items()}
        state: dict[str, Any] = {
            "learner": type(self).__name__,
            "options": {name: getattr(self, name) for name in self._hyperparameters()},
            "policy": {"name": policy_name(self.policy), "config": self.policy.config()},
            "vocabulary": self.policy.vocabulary.to_json(),
            "constraint": None if self.constraint is None else constraint_to_json(self.constraint),
            "progress": asdict(self.progress),
            "sampled": self.sampled,
            "optimizers": {},
        }
        for name, optimizer in (self._optimizers or {}).items():
            more, state["optimizers"][name] = flatten_optimizer(f"optimizers.{name}", optimizer)
            tensors |= more
        save_checkpoint(checkpoint_path(path), tensors, state)

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: torch.device | str = "auto",
        *,
        policy: type[Policy] | None = None,
        **options: Any,
    ) -> Self:
        """Read a checkpoint; no code from the file is run.

        Args:
            path: what ``save`` wrote.
            device: where to put it.
            policy: the class of the policy, where it is none of this project's.
            **options: constructor keywords that differ from the saved ones.

        Raises:
            CheckpointError: the file is missing, damaged, or holds another kind of learner.
        """
        path = checkpoint_path(path)
        tensors, state = load_checkpoint(path)
        try:
            if state["learner"] != cls.__name__:
                raise CheckpointError(
                    f"{path} holds a {state['learner']}, not a {cls.__name__}; load it with "
                    f"{state['learner']}.load"
                )
            known = cls._hyperparameters()
            saved = {name: v for name, v in state["options"].items() if name in known}
            name, config = state["policy"]["name"], state["policy"]["config"]
            vocabulary = Vocabulary.from_json(state["vocabulary"])
            made = policy(vocabulary, **config) if policy else saved_policy(path, name)
            more = {} if policy else {"vocabulary": vocabulary, "policy_kwargs": config}
            learner = cls(made, device=device, **more, **(saved | options))
            learner._setup_loaded(path, tensors, state)
        except CheckpointError:
            raise
        except Exception as error:  # a file may hold anything
            raise CheckpointError(
                f"{path} does not fit this version: {type(error).__name__}: {error}"
            ) from error
        return learner

    def _setup_loaded(self, path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        self._load_weights(with_prefix("weights", tensors))
        for name, groups in state["optimizers"].items():
            restore_optimizer(f"optimizers.{name}", self.optimizers[name], tensors, groups)
        on_device = {name: tensor.to(self.device) for name, tensor in tensors.items()}
        self._average = with_prefix("average", on_device) or None
        self._best = with_prefix("best", on_device) or None
        self.progress = Progress(**state["progress"])
        self.sampled = int(state["sampled"])
        if state["constraint"] is not None:
            self.constraint = saved_constraint(path, state["constraint"])
        self._show(self._best or self._average)

    @classmethod
    def _hyperparameters(cls) -> list[str]:
        return [name for name in keywords_of(cls) if name not in _NOT_SAVED]
