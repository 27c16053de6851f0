"""What all agents share: a Stable-Baselines3 algorithm that works on whole sequences.

A round samples a batch of sequences, values them, and updates the policy. One timestep is one token
of a training sequence; the tokens of Monte Carlo completions are logged apart. Everything random in
a round is a function of (seed, number of the round), so a saved agent goes on as if it had never
been stopped.
"""

# Shapes: B sequences, T steps
from __future__ import annotations

import difflib
import inspect
import json
import secrets
import time
import warnings
from abc import abstractmethod
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.utils import configure_logger
from stable_baselines3.common.vec_env import VecEnv
from tqdm import tqdm

from ..envs import Constraint, Sequences, Task, Vocabulary
from ..rewards import Scores, TrainableReward
from .checkpoint import (
    CheckpointError,
    flatten_optimizer,
    load_checkpoint,
    restore_optimizer,
    save_checkpoint,
    with_prefix,
)
from .counter_rng import fold_in
from .policies import GRUPolicy, LSTMPolicy, Policy
from .pretraining import (
    log_likelihoods,
    seeded,
    steps_per_epoch,
    teacher_forcing_step,
    training_batch,
)
from .sampling import sample

POLICIES: dict[str, type[Policy]] = {"GRU": GRUPolicy, "LSTM": LSTMPolicy}

# Constructor parameters that are no hyperparameters of the algorithm.
_NOT_SAVED = {
    "policy", "env", "policy_kwargs", "tensorboard_log", "verbose", "seed", "device",
    "_init_setup_model",
}  # fmt: skip


class Purpose(IntEnum):
    """What a random stream is for; the first thing folded into the seed."""

    INITIAL_WEIGHTS = 0
    TEACHER_FORCING = 1
    TRAINING_SEQUENCES = 2
    COMPLETIONS = 3
    DISCRIMINATOR = 4
    PREDICTION = 5
    SAMPLE = 6


@dataclass
class Pretraining:
    """How far the supervised beginning has come."""

    step: int = 0
    steps: int = 0
    discriminator_step: int = 0


@dataclass(frozen=True, eq=False)
class Round:
    """What one round made: the training sequences, their scores, and metrics for the log."""

    sequences: Sequences
    scores: Scores
    metrics: dict[str, float] = field(default_factory=dict)


class SequenceAgent(BaseAlgorithm):
    """The base of all agents; subclasses define ``_train_round``.

    Args:
        policy: ``"GRU"``, ``"LSTM"``, or a Policy, a pretrained one for instance.
        env: a ``TokenEnv``, its registered id, or None to sample from a loaded agent.
        learning_rate: of Adam, or a schedule of the remaining progress.
        batch_size: B, training sequences a round.
        max_grad_norm: the gradient's norm is clipped to it.
        policy_kwargs: keywords of the policy, where it is made by name.
        stats_window_size: episodes that ``rollout/ep_rew_mean`` is the mean of.
        tensorboard_log: a folder for TensorBoard curves.
        verbose: 1 prints the log.
        seed: of everything random; None draws one.
        device: ``"auto"`` takes a GPU where there is one.
    """

    policy_aliases: ClassVar[dict[str, Any]] = POLICIES
    policy: Policy  # type: ignore[assignment] # ours are no BasePolicy: they write sequences

    def __init__(
        self,
        policy: str | Policy,
        env: GymEnv | str | None,
        learning_rate: float | Schedule = 1e-3,
        batch_size: int = 64,
        max_grad_norm: float = 1.0,
        policy_kwargs: dict[str, Any] | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        given = policy if isinstance(policy, Policy) else None
        super().__init__(
            type(policy) if isinstance(policy, Policy) else policy,  # type: ignore[arg-type]
            env,
            learning_rate,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            support_multi_env=True,
            seed=secrets.randbits(31) if seed is None else seed,
        )
        self.batch_size = batch_size
        self.max_grad_norm = max_grad_norm
        self.stats_window_size = stats_window_size
        self.rounds = 0
        self.sampled = 0
        self.pretraining = Pretraining()
        self._given_policy = given
        self._pretraining_optimizer: torch.optim.Optimizer | None = None
        self._pending_rewards: dict[str, Any] = {}
        self._predictions = 0
        self.task: Task | None = None
        if self.env is not None:
            self.task = task_of(self.env)
        if _init_setup_model:
            self._setup_model()

    # --- what a subclass defines ------------------------------------------------------------

    @abstractmethod
    def _train_round(self) -> Round:
        """Sample, value, update; everything random from ``self._seed_of(purpose, ...)``."""

    # --- setting up -------------------------------------------------------------------------

    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        if self.task is None:
            raise ValueError(
                "an agent needs an environment to learn; give env, or load a saved one"
            )
        self._make_policy(self.task.vocabulary)
        self.max_length = self.task.max_length
        self._adopt_rewards()

    def _make_policy(self, vocabulary: Vocabulary) -> None:
        if self._given_policy is not None:
            if self._given_policy.vocabulary != vocabulary:
                raise ValueError(
                    f"the policy writes {self._given_policy.vocabulary} and the task "
                    f"{vocabulary}; make the task with vocabulary=policy.vocabulary"
                )
            self.policy = self._given_policy
        else:
            with seeded(self._seed_of(Purpose.INITIAL_WEIGHTS)):
                self.policy = self.policy_class(vocabulary, **self.policy_kwargs)  # type: ignore
        self.policy.to(self.device).eval()
        rate = self.lr_schedule(1.0)
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=rate)

    def _adopt_rewards(self) -> None:
        """Bring the task's trainable rewards here; untrained ones begin as the seed says."""
        assert self.task is not None
        self.task.reward.prepare(self.task.vocabulary, self.max_length, self.device)
        for index, reward in enumerate(self._trainable_rewards().values()):
            if reward.updates == 0:
                reward.initialise(self._seed_of(Purpose.INITIAL_WEIGHTS, 1 + index))

    def _get_policy_from_name(self, policy_name: str) -> Any:
        if policy_name not in POLICIES:
            near = difflib.get_close_matches(policy_name.upper(), POLICIES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(POLICIES)}"
            raise ValueError(f"unknown policy {policy_name!r}; {hint}")
        return POLICIES[policy_name]

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """Use another environment with the same vocabulary."""
        if not hasattr(self, "n_envs"):  # loaded without an environment
            env = self._wrap_env(env, self.verbose)
            self.observation_space, self.action_space = env.observation_space, env.action_space
            self.n_envs = env.num_envs
        super().set_env(env, force_reset)
        assert self.env is not None
        task = task_of(self.env)
        if task.vocabulary != self.policy.vocabulary:
            raise ValueError(
                f"the agent writes {self.policy.vocabulary} and the environment {task.vocabulary}; "
                "make the environment with vocabulary=agent.policy.vocabulary"
            )
        self.task = task
        self.max_length = task.max_length
        self._adopt_rewards()
        self._restore_rewards()

    def _seed_of(self, purpose: Purpose, *numbers: int) -> int:
        assert self.seed is not None
        return fold_in(self.seed, purpose, *numbers)

    def _trainable_rewards(self) -> dict[str, TrainableReward]:
        """The rewards that learn, by name, numbered where a name stands twice."""
        found: dict[str, TrainableReward] = {}
        for reward in self.task.reward.components() if self.task else ():
            if isinstance(reward, TrainableReward):
                number = sum(name.split("#")[0] == reward.name for name in found)
                found[reward.name + (f"#{number + 1}" if number else "")] = reward
        return found

    # --- the supervised beginning -----------------------------------------------------------

    def pretrain(
        self,
        sequences: Sequences | list[str] | None = None,
        *,
        epochs: int = 10,
        batch_size: int = 64,
        learning_rate: float = 2e-3,
        validation: Sequences | None = None,
        callback: Callable[[Self], bool] | None = None,
        log_interval: int = 50,
        reset: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Teach the policy to write what real sequences look like, by teacher forcing.

        The learning rate falls linearly to a hundredth of where it began.

        Args:
            sequences: what to imitate; by default the task's data.
            epochs: passes over it.
            batch_size: sequences a step.
            learning_rate: of Adam, at the first step.
            validation: sequences to report the likelihood of, after each epoch.
            callback: called with the agent after each step; False stops, to go on later.
            log_interval: steps between two entries of the log.
            reset: False goes on where a stopped pretraining (of a loaded agent, too) stood.
            progress_bar: show one.
        """
        data = self._real_sequences(sequences)
        self._ensure_logger("pretrain")
        if reset:
            self.pretraining = Pretraining()
            self._pretraining_optimizer = None
        state = self.pretraining
        per_epoch = steps_per_epoch(data, batch_size)
        state.steps = epochs * per_epoch
        if state.step < state.steps and self._pretraining_optimizer is None:
            self._pretraining_optimizer = torch.optim.Adam(self.policy.parameters())
        losses: list[float] = []
        bar = _bar("teacher forcing", state.step, state.steps, "batch", progress_bar)
        while state.step < state.steps:
            assert self._pretraining_optimizer is not None
            for group in self._pretraining_optimizer.param_groups:
                group["lr"] = learning_rate * max(1 - state.step / state.steps, 0.01)
            seed = self._seed_of(Purpose.TEACHER_FORCING)
            batch = training_batch(data, state.step, batch_size, seed)
            with seeded(fold_in(seed, state.step)):
                losses.append(teacher_forcing_step(self.policy, self._pretraining_optimizer, batch))
            state.step += 1
            bar.update()
            if state.step % log_interval == 0 or state.step == state.steps:
                mean = sum(losses[-log_interval:]) / len(losses[-log_interval:])
                bar.set_postfix(nats_a_token=f"{mean:.3f}")
                self.logger.record("pretrain/nll", mean)
                if validation is not None and state.step % per_epoch < log_interval:
                    log_probs_BT = log_likelihoods(self.policy, validation)
                    held_out = -float(log_probs_BT.sum()) / validation.num_tokens
                    self.logger.record("pretrain/validation_nll", held_out)
                self.logger.dump(state.step)
            if callback is not None and not callback(self):
                bar.close()
                return self
        bar.close()
        self._pretraining_optimizer = None
        return self

    def _real_sequences(self, sequences: Sequences | list[str] | None) -> Sequences:
        if isinstance(sequences, list):
            sequences = self.policy.vocabulary.encode(sequences)
        elif sequences is None:
            sequences = None if self.task is None else self.task.data
        if sequences is None or not len(sequences):
            raise ValueError(
                "there are no real sequences to learn from; give some, or a task with data"
            )
        if sequences.vocabulary != self.policy.vocabulary:
            raise ValueError(
                f"the sequences are of {sequences.vocabulary}, the policy writes "
                f"{self.policy.vocabulary}; encode them with agent.policy.vocabulary"
            )
        return sequences.padded(self.max_length)

    def _ensure_logger(self, name: str) -> None:
        if not hasattr(self, "_logger"):
            self._logger = configure_logger(self.verbose, self.tensorboard_log, name, True)

    # --- learning ---------------------------------------------------------------------------

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "run",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Learn from the reward until ``total_timesteps`` tokens of training sequences are written.

        Callbacks see ``on_step`` once a token step, all of a round's after its update, so that
        what they save is a whole number of rounds.

        Args:
            total_timesteps: tokens; the last round is finished.
            callback: as in Stable-Baselines3.
            log_interval: rounds between two entries of the log.
            tb_log_name: the name of the TensorBoard run.
            reset_num_timesteps: count from 0.
            progress_bar: show one.
        """
        if self.task is None:
            raise ValueError("there is no environment to learn from; call set_env first")
        total_timesteps, hooks = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        self._before_learning()
        hooks.on_training_start(locals(), globals())
        going_on = True
        while self.num_timesteps < total_timesteps and going_on:
            hooks.on_rollout_start()
            self._update_learning_rate(self.optimizer)
            made = self._train_round()
            self.rounds += 1
            self.num_timesteps += made.sequences.num_tokens
            self._update_current_progress_remaining(self.num_timesteps, total_timesteps)
            self._record(made)
            hooks.update_locals(locals())
            hooks.on_rollout_end()
            if self.rounds % log_interval == 0:
                self.logger.dump(self.num_timesteps)
            for _ in range(int(made.sequences.lengths_B.max())):
                going_on = hooks.on_step() and going_on
        hooks.on_training_end()
        return self

    def _before_learning(self) -> None:
        """What has to be there before the first round."""

    def _update_policy(self, loss: torch.Tensor) -> float:
        """One step of the optimiser; returns the gradient's norm before it was clipped."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
        self.optimizer.step()
        self._n_updates += 1
        return float(norm)

    def _record(self, made: Round) -> None:
        sequences, scores = made.sequences, made.scores
        assert self.ep_info_buffer is not None
        lengths = sequences.lengths_B.tolist()
        for value, length, ok in zip(
            scores.values_B.tolist(), lengths, scores.ok_B.tolist(), strict=True
        ):
            if ok:
                self.ep_info_buffer.append({"r": value, "l": length})
        if self.ep_info_buffer:
            self.logger.record(
                "rollout/ep_rew_mean", float(np.mean([e["r"] for e in self.ep_info_buffer]))
            )
            self.logger.record(
                "rollout/ep_len_mean", float(np.mean([e["l"] for e in self.ep_info_buffer]))
            )
        for name, part_B in scores.parts.items():
            self.logger.record(f"reward/{name}", float(part_B.nanmean()))
        self.logger.record("reward/failed", int((~scores.ok_B).sum()))
        if self.constraint is not None:
            self.logger.record("rollout/constraint_fallbacks", self.constraint.fallbacks)
        for name, value in made.metrics.items():
            self.logger.record(name, value)
        seconds = max((time.time_ns() - self.start_time) / 1e9, 1e-9)
        done = self.num_timesteps - self._num_timesteps_at_start
        self.logger.record("time/iterations", self.rounds, exclude="tensorboard")
        self.logger.record("time/fps", int(done / seconds))
        self.logger.record("time/time_elapsed", int(seconds), exclude="tensorboard")
        self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        made = super()._init_callback(callback, progress_bar=False)
        if not progress_bar:
            return made
        bar = CallbackList([made, ProgressBar(type(self).__name__)])
        bar.init_callback(self)
        return bar

    # --- writing ----------------------------------------------------------------------------

    @property
    def constraint(self) -> Constraint | None:
        """Which tokens may come next, as the environment's task says; saved with neither."""
        return None if self.task is None else self.task.constraint

    def sample(
        self,
        n: int,
        *,
        seed: int | None = None,
        prompt: str | None = None,
        temperature: float = 1.0,
    ) -> Sequences:
        """Write ``n`` sequences.

        Args:
            n: how many.
            seed: one seed, one result; None gives other sequences at every call.
            prompt: what all of them begin with.
            temperature: below 1 is sharper.
        """
        if seed is None:
            seed = self._seed_of(Purpose.SAMPLE, self.sampled)
            self.sampled += 1
        return sample(
            self.policy,
            n,
            max_length=self.max_length,
            seed=seed,
            prompt=prompt,
            temperature=temperature,
            constraint=self.constraint,
        )

    @torch.no_grad()
    def predict(  # type: ignore[override] # observations here are arrays of tokens
        self,
        observation: np.ndarray,
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, None]:
        """The next token for an observation (T,) or a batch (B, T); there is no state to carry.

        Args:
            observation: the tokens so far, then padding.
            state: ignored; the observation holds the whole prefix.
            episode_start: ignored.
            deterministic: the most probable token instead of a drawn one.
        """
        single = np.ndim(observation) == 1
        tokens_BT = torch.as_tensor(np.atleast_2d(observation), device=self.device)
        length_B = (tokens_BT != self.policy.vocabulary.pad).sum(dim=1)
        length_B = length_B.clamp(max=tokens_BT.shape[1] - 1)
        logits_BTA = self.policy(tokens_BT[:, : int(length_B.max()) + 1])
        logits_BA = logits_BTA[torch.arange(len(tokens_BT)), length_B]
        if self.constraint is not None:
            bound = self.constraint.bound(self.policy.vocabulary, self.max_length, self.device)
            written = bound.after(tokens_BT[:, : int(length_B.max())])
            eos = self.policy.vocabulary.eos
            ended_B = (tokens_BT == (-1 if eos is None else eos)).any(dim=1)
            logits_BA = logits_BA.masked_fill(~bound.actions(written, ended_B), -torch.inf)
        if deterministic:
            action_B = logits_BA.argmax(dim=1)
        else:
            with seeded(self._seed_of(Purpose.PREDICTION, self._predictions)):
                action_B = torch.distributions.Categorical(logits=logits_BA).sample()
            self._predictions += 1
        actions: np.ndarray = action_B.cpu().numpy()
        return (actions[0] if single else actions), None

    # --- saving and loading -----------------------------------------------------------------

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
        for name, reward in self._trainable_rewards().items():
            network = reward.network.state_dict()
            tensors |= {f"rewards.{name}.network.{k}": v for k, v in network.items()}
            more, groups = flatten_optimizer(f"rewards.{name}.optimizer", reward.optimizer)
            tensors |= more
            state["rewards"][name] = {"optimizer": groups, "updates": reward.updates}
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
        **kwargs: Any,
    ) -> Self:
        """Read a checkpoint; no code from the file is run.

        Args:
            path: what ``save`` wrote.
            env: to learn on; without it the agent can only write.
            device: where to put it.
            **kwargs: constructor keywords that differ from the saved ones.

        Raises:
            CheckpointError: the file is missing, damaged, or holds another kind of agent.
        """
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

    def _restore_rewards(self) -> None:
        """Give the environment's trainable rewards the weights saved under their names."""
        if not self._pending_rewards:
            return
        tensors, states = self._pending_rewards["tensors"], self._pending_rewards["state"]
        for name, reward in self._trainable_rewards().items():
            if name in states:
                reward.network.load_state_dict(with_prefix(f"rewards.{name}.network", tensors))
                restore_optimizer(
                    f"rewards.{name}.optimizer",
                    reward.optimizer,
                    tensors,
                    states[name]["optimizer"],
                )
                reward.updates = int(states[name]["updates"])
        self._pending_rewards = {}

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        result = super()._setup_learn(*args, **kwargs)
        if episodes := getattr(self, "_loaded_episodes", None):
            assert self.ep_info_buffer is not None
            self.ep_info_buffer.extend(episodes)
            self._loaded_episodes = None
        return result

    def _copy_of_policy(self) -> Policy:
        copy = deepcopy(self.policy).eval()
        for parameter in copy.parameters():
            parameter.requires_grad_(False)
        return copy


class ProgressBar(BaseCallback):
    """A progress bar over the tokens of training sequences."""

    def __init__(self, label: str) -> None:
        super().__init__()
        self._label = label

    def _on_training_start(self) -> None:
        done, total = self.model.num_timesteps, self.locals["total_timesteps"]
        self._bar = _bar(self._label, done, total, "token", shown=True)

    def _on_step(self) -> bool:
        if (new := self.model.num_timesteps - self._bar.n) > 0:
            self._bar.update(new)
            buffer = self.model.ep_info_buffer
            if buffer:
                self._bar.set_postfix(reward=f"{np.mean([e['r'] for e in buffer]):.3f}")
        return True

    def _on_training_end(self) -> None:
        self._bar.close()


def task_of(env: VecEnv) -> Task:
    """The task that an environment of ours is made of.

    Raises:
        ValueError: it is none of ours.
    """
    try:
        task = env.get_attr("task")[0]
    except AttributeError:
        task = None
    if not isinstance(task, Task):
        raise ValueError(
            f"{env} has no task; these agents learn on tokengym's environments, for example "
            "gym.make('tokengym/Molecules-v0')"
        )
    return task


def checkpoint_path(path: str | Path) -> Path:
    """The file that a checkpoint named ``path`` is in."""
    path = Path(path)
    return path.with_suffix(".safetensors") if path.suffix in ("", ".zip") else path


def _bar(label: str, done: int, total: int, unit: str, shown: bool) -> tqdm[Any]:
    return tqdm(
        desc=label,
        initial=done,
        total=total,
        unit=unit,
        unit_scale=unit == "token",
        disable=not shown,
        dynamic_ncols=True,
        mininterval=0.5,
    )
