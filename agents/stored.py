"""Saving an agent and loading it: one file from which it goes on as if never stopped.

Tensors and JSON (see checkpoint.py); loading runs no code from the file.
"""

from __future__ import annotations

import inspect
import json
import warnings
from pathlib import Path
from typing import Any, Self

import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import GymEnv

from ..envs import Constraint, UnknownConstraintError, Vocabulary, make_constraint
from ..envs.constraints import ConstraintSpec, constraint_from_json, constraint_to_json
from ..rewards.state import flatten_optimizer, restore_optimizer, with_prefix
from .assembled import AssembledAgent, Pretraining
from .checkpoint import CheckpointError, load_checkpoint, save_checkpoint

# Constructor parameters that are no hyperparameters of the algorithm.
_NOT_SAVED = {
    "policy", "env", "policy_kwargs", "tensorboard_log", "verbose", "seed", "device",
    "_init_setup_model",
}  # fmt: skip


class StoredAgent(AssembledAgent):
    """An agent that can be written to a file and read from it."""

    def save(self, path: str | Path, *_: Any, **__: Any) -> None:  # type: ignore[override]
        """Write a checkpoint: everything needed to sample, and to learn on as if never stopped.

        Args:
            path: ``.safetensors`` is added where there is no suffix (or Stable-Baselines3's .zip).
        """
        tensors, state = self._checkpoint()
        save_checkpoint(checkpoint_path(path), tensors, state)

    def _checkpoint(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        tensors = {f"policy.{k}": v for k, v in self.policy.state_dict().items()}
        optimizer_tensors, groups = flatten_optimizer("optimizer", self.optimizer)
        tensors |= optimizer_tensors
        state: dict[str, Any] = {
            "agent": type(self).__name__,
            "options": self._options(),
            "policy": {"name": self.policy.name, "config": self.policy.config()},
            "vocabulary": self.policy.vocabulary.to_json(),
            "max_length": self.max_length,
            "constraint": None if self.constraint is None else constraint_to_json(self.constraint),
            "seed": self.seed,
            "num_timesteps": self.num_timesteps,
            "rounds": self.rounds,
            "sampled": self.sampled,
            "updates": self._n_updates,
            "progress_remaining": self._current_progress_remaining,
            "episodes": list(self.ep_info_buffer or []),
            "optimizer": groups,
            "pretraining": vars(self.pretraining),
            "rewards": {},
        }
        if self._pretraining_optimizer is not None:
            more, groups = flatten_optimizer("pretraining", self._pretraining_optimizer)
            tensors |= more
            state["pretraining_optimizer"] = groups
        for name, reward in (self.task.reward.named() if self.task else {}).items():
            more, kept = reward.state()
            tensors |= {f"rewards.{name}.{k}": v for k, v in more.items()}
            if more or kept:
                state["rewards"][name] = kept
        if self.task is None and self._pending_rewards:  # loaded without an environment
            tensors |= self._pending_rewards["tensors"]
            state["rewards"] = self._pending_rewards["state"]
        return tensors, state

    def _options(self) -> dict[str, Any]:
        options = {}
        for name in inspect.signature(type(self).__init__).parameters:
            if name in _NOT_SAVED or name == "self":
                continue
            value = getattr(self, name)
            try:
                json.dumps(value)
            except TypeError:
                warnings.warn(
                    f"{name}={value!r} cannot be saved; give it again to load(path, {name}=...)",
                    stacklevel=4,
                )
                continue
            options[name] = value
        return options

    @classmethod
    def load(  # type: ignore[override] # nothing is unpickled, so there is nothing to customise
        cls,
        path: str | Path,
        env: GymEnv | str | None = None,
        device: torch.device | str = "auto",
        *,
        constraint: ConstraintSpec | None = None,
        **kwargs: Any,
    ) -> Self:
        """Read a checkpoint; no code from the file is run.

        Args:
            path: what ``save`` wrote.
            env: to learn on; without it the agent can only write.
            device: where to put it.
            constraint: which tokens may come next, without an environment, which has its own; by
                default what was saved.
            **kwargs: constructor keywords that differ from the saved ones.

        Raises:
            CheckpointError: the file is missing, damaged, or holds another kind of agent; or a
                constraint of a user's own, of which it holds the name alone.
            ValueError: both an environment and a constraint.
        """
        if env is not None and constraint is not None:
            raise ValueError(
                f"both an environment and the constraint {constraint!r} were given; make the "
                "environment with this constraint, and give that alone"
            )
        path = checkpoint_path(path)
        tensors, state = load_checkpoint(path)
        try:
            if state["agent"] != cls.__name__:
                raise CheckpointError(
                    f"{path} holds a {state['agent']}, not a {cls.__name__}; load it with "
                    f"{state['agent']}.load"
                )
            agent = cls(
                state["policy"]["name"],
                env,
                **{
                    "policy_kwargs": state["policy"]["config"],
                    "seed": state["seed"],
                    "device": device,
                    **state["options"],
                    **kwargs,
                },
                _init_setup_model=False,
            )
            agent._setup_loaded(tensors, state)
            if constraint is None and agent.task is None and state["constraint"] is not None:
                constraint = _saved_constraint(path, state["constraint"])
            if constraint is not None:
                made = make_constraint(constraint)
                agent.constraint = made.bound(agent.policy.vocabulary, agent.max_length)
        except CheckpointError:
            raise
        except (KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise CheckpointError(
                f"{path} does not fit this version or environment: {type(error).__name__}: {error}"
            ) from error
        return agent

    def _setup_loaded(self, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
        vocabulary = Vocabulary.from_json(state["vocabulary"])
        if self.task is not None and self.task.vocabulary != vocabulary:
            raise ValueError(
                f"the saved agent writes {vocabulary} and the environment {self.task.vocabulary}; "
                "make the environment from the same data, or with vocabulary=..."
            )
        self._setup_lr_schedule()
        self._make_policy(vocabulary)
        self.policy.load_state_dict(with_prefix("policy", tensors))
        restore_optimizer("optimizer", self.optimizer, tensors, state["optimizer"])
        self.max_length = int(state["max_length"])
        self.num_timesteps = int(state["num_timesteps"])
        self.rounds, self.sampled = int(state["rounds"]), int(state["sampled"])
        self._n_updates = int(state["updates"])
        self._current_progress_remaining = float(state["progress_remaining"])
        self.pretraining = Pretraining(**state["pretraining"])
        if "pretraining_optimizer" in state:
            self._pretraining_optimizer = torch.optim.Adam(self.policy.parameters())
            restore_optimizer(
                "pretraining", self._pretraining_optimizer, tensors, state["pretraining_optimizer"]
            )
        self._loaded_episodes = state["episodes"]
        rewards = {k: v for k, v in tensors.items() if k.startswith("rewards.")}
        self._pending_rewards = {"tensors": rewards, "state": state["rewards"]}
        if self.task is not None:
            self.max_length = self.task.max_length
            self._adopt_rewards()
            self._restore_rewards()

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """Use another environment with the same vocabulary."""
        super().set_env(env, force_reset)
        self._restore_rewards()

    def _restore_rewards(self) -> None:
        """Give the environment's rewards what was saved under their names."""
        if not self._pending_rewards or self.task is None:
            return
        tensors, states = self._pending_rewards["tensors"], self._pending_rewards["state"]
        for name, reward in self.task.reward.named().items():
            if name in states:
                reward.restore(with_prefix(f"rewards.{name}", tensors), states[name])
        self._pending_rewards = {}

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        result = super()._setup_learn(*args, **kwargs)
        if episodes := getattr(self, "_loaded_episodes", None):
            assert self.ep_info_buffer is not None
            self.ep_info_buffer.extend(episodes)
            self._loaded_episodes = None
        return result


def _saved_constraint(path: Path, value: dict[str, Any]) -> Constraint:
    try:
        return constraint_from_json(value)
    except UnknownConstraintError as error:
        raise CheckpointError(
            f"{path} was written under a constraint of which it holds the name alone: {error}; "
            "give it again, load(path, constraint=...), or an environment that has it"
        ) from error


def checkpoint_path(path: str | Path) -> Path:
    """The file that a checkpoint named ``path`` is in."""
    path = Path(path)
    return path.with_suffix(".safetensors") if path.suffix in ("", ".zip") else path
