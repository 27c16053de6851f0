"""Saving an agent and loading it: one file from which it goes on as if never stopped.

Tensors and JSON (see checkpoint.py); loading runs no code from the file.
"""

from __future__ import annotations

import json
import warnings
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from stable_baselines3.common.type_aliases import GymEnv

from ..envs import Constraint, UnknownConstraintError, Vocabulary, make_constraint
from ..envs.constraints import ConstraintSpec, constraint_from_json, constraint_to_json
from ..rewards import Reward, TrainableReward
from ..rewards.state import check_shapes, flatten_optimizer, restore_optimizer, with_prefix
from .assembled import POLICIES, Pretraining
from .checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from .policies import Policy
from .writing import WritingAgent

# Constructor parameters that are no hyperparameters of the algorithm.
_NOT_SAVED = {
    "policy", "env", "policy_kwargs", "tensorboard_log", "verbose", "seed", "device",
    "_init_setup_model",
}  # fmt: skip


class StoredAgent(WritingAgent):
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
        for part, policy in self.companions.items():
            tensors |= {f"{part}.{k}": v for k, v in policy.state_dict().items()}
        optimizer_tensors, groups = flatten_optimizer("optimizer", self.optimizer)
        tensors |= optimizer_tensors
        state: dict[str, Any] = {
            "agent": type(self).__name__,
            "options": (options := self._options()),
            "not_saved": [name for name in self._hyperparameters() if name not in options],
            "policy": {"name": policy_name(self.policy), "config": self.policy.config()},
            "vocabulary": self.policy.vocabulary.to_json(),
            "max_length": self.max_length,
            "constraint": None if self.constraint is None else constraint_to_json(self.constraint),
            "seed": self.seed,
            "num_timesteps": self.num_timesteps,
            "rounds": self.rounds,
            "sampled": self.sampled,
            "predictions": self._predictions,
            "experience_read": self.experience_read,
            "updates": self._n_updates,
            "progress_remaining": self._current_progress_remaining,
            "episodes": list(self.ep_info_buffer or []),
            "companions": list(self.companions),
            "optimizer": groups,
            "pretraining": vars(self.pretraining),
            "notes": self.notes,
            "rewards": {},
        }
        more, state["replay"] = self.replay.state()
        tensors |= {f"replay.{k}": v for k, v in more.items()}
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
        for name in self._hyperparameters():
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
    def _hyperparameters(cls) -> list[str]:
        return [name for name in cls.keywords() if name not in _NOT_SAVED]

    @classmethod
    def load(  # type: ignore[override] # nothing is unpickled, so there is nothing to customise
        cls,
        path: str | Path,
        env: GymEnv | str | None = None,
        device: torch.device | str = "auto",
        *,
        policy: Policy | type[Policy] | None = None,
        constraint: ConstraintSpec | None = None,
        **kwargs: Any,
    ) -> Self:
        """Read a checkpoint; no code from the file is run.

        Args:
            path: what ``save`` wrote.
            env: to learn on; without it the agent can only write.
            device: where to put it.
            policy: the class of the policy, or one of its kind to take the weights, where it is
                none of this project's.
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
        given = None if constraint is None else make_constraint(constraint)
        path = checkpoint_path(path)
        tensors, state = load_checkpoint(path)
        try:
            if state["agent"] != cls.__name__:
                raise CheckpointError(
                    f"{path} holds a {state['agent']}, not a {cls.__name__}; load it with "
                    f"{state['agent']}.load"
                )
            if missing := [name for name in state["not_saved"] if name not in kwargs]:
                raise CheckpointError(
                    f"{path} could not hold {missing[0]}; give it again: "
                    f"load(path, {missing[0]}=...)"
                )
            known = cls._hyperparameters()
            options = {name: v for name, v in state["options"].items() if name in known} | kwargs
            agent = cls(
                saved_policy(path, state["policy"]["name"]) if policy is None else policy,
                env,
                **{
                    "policy_kwargs": state["policy"]["config"],
                    "seed": state["seed"],
                    "device": device,
                    **options,
                },
                _init_setup_model=False,
            )
            agent._setup_loaded(tensors, state)
            if given is None and agent.task is None and state["constraint"] is not None:
                given = saved_constraint(path, state["constraint"])
            if given is not None:
                agent.constraint = given.bound(agent.policy.vocabulary, agent.max_length)
        except CheckpointError:
            raise
        except Exception as error:  # a file may hold anything
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
        self._check_weights(vocabulary, with_prefix("policy", tensors))
        self._make_policy(vocabulary)
        self.policy.load_state_dict(with_prefix("policy", tensors))
        for part in map(str, state["companions"]):
            self._keep_companion(part).load_state_dict(with_prefix(part, tensors))
        restore_optimizer("optimizer", self.optimizer, tensors, state["optimizer"])
        self.max_length = int(state["max_length"])
        if not 1 <= self.max_length < 2**31:
            raise ValueError(f"max_length is {self.max_length}; expected at least 1, below 2**31")
        self.replay.restore(with_prefix("replay", tensors), state["replay"])
        self.num_timesteps = int(state["num_timesteps"])
        self.rounds, self.sampled = int(state["rounds"]), int(state["sampled"])
        self._predictions = int(state["predictions"])
        read = state["experience_read"]
        self.experience_read = None if read is None else str(read)
        self._n_updates = int(state["updates"])
        self._current_progress_remaining = float(state["progress_remaining"])
        self.pretraining = Pretraining(**{k: int(v) for k, v in state["pretraining"].items()})
        if "pretraining_optimizer" in state:
            self._pretraining_optimizer = torch.optim.Adam(self.policy.parameters())
            restore_optimizer(
                "pretraining", self._pretraining_optimizer, tensors, state["pretraining_optimizer"]
            )
        self.notes = dict(state.get("notes", {}))
        episodes = [{"r": float(e["r"]), "l": int(e["l"])} for e in state["episodes"]]
        self.ep_info_buffer = deque(episodes, maxlen=self.stats_window_size)
        self.ep_success_buffer = deque(maxlen=self.stats_window_size)
        rewards = {k: v for k, v in tensors.items() if k.startswith("rewards.")}
        self._pending_rewards = {"tensors": rewards, "state": dict(state["rewards"])}
        if self.task is not None:
            self.max_length = self.task.max_length
            self._adopt_rewards()
            self._restore_rewards()

    def _check_weights(self, vocabulary: Vocabulary, saved: Mapping[str, torch.Tensor]) -> None:
        """Compare shapes before anything is made of the sizes that a file claims."""
        made = self._given_policy
        chosen: object = self.policy_class
        known = next((kind for kind in POLICIES.values() if kind is chosen), None)
        if made is None and known is None:
            return  # a class of a user's own may not know the meta device
        if made is None and known is not None:
            with torch.device("meta"):  # shapes without memory
                made = known(vocabulary, **self.policy_kwargs)
        assert made is not None
        check_shapes("the policy's", made.state_dict(), saved)

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
                saved = with_prefix(f"rewards.{name}", tensors)
                _say_what_is_lost(name, reward, with_prefix("network", saved))
                reward.restore(saved, states[name])
        self._pending_rewards = {}


def _say_what_is_lost(name: str, reward: Reward, saved: dict[str, torch.Tensor]) -> None:
    """Warn where weights that learnt are about to be overwritten by others."""
    if not isinstance(reward, TrainableReward) or not reward.updates:
        return
    here = {key: tensor.cpu() for key, tensor in reward.network.state_dict().items()}
    if here.keys() != saved.keys() or not all(torch.equal(here[key], saved[key]) for key in here):
        warnings.warn(
            f"{name} had {reward.updates} updates, maybe of an agent that goes on learning; they "
            "are overwritten by the checkpoint. Give the loaded agent an environment of its own",
            stacklevel=5,
        )


def policy_name(policy: Policy) -> str:
    """The name that it is made by; of a class of a user's own, the class."""
    kind = type(policy)
    own = f"{kind.__module__}:{kind.__qualname__}"
    return next((name for name, known in POLICIES.items() if known is kind), own)


def saved_policy(path: Path, name: str) -> str:
    """The name of a policy that a checkpoint holds; raises where it is none of this project's."""
    if name in POLICIES:
        return name
    raise CheckpointError(
        f"{path} was written by a policy of the class {name!r}, which is none of "
        f"{', '.join(POLICIES)}; give it: load(path, policy=...)"
    )


def saved_constraint(path: Path, value: dict[str, Any]) -> Constraint:
    """The constraint that a checkpoint holds; raises where it holds its name alone."""
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
