"""What an agent is made of: a task, a policy, an optimiser, the rewards that learn, a seed.

A Stable-Baselines3 algorithm up to the point where it would begin to learn. Everything random is a
function of (seed, purpose, counters), so nothing but counters has to be kept to go on.
"""

# Shapes: B sequences, T steps
from __future__ import annotations

import difflib
import inspect
import secrets
import warnings
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar

import gymnasium as gym
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper, VecMonitor

from ..envs import Constraint, Sequences, Task, Vocabulary
from ..rewards import TrainableReward
from ..rewards.checks import check_whole
from .checks import check_device, check_positive
from .counter_rng import fold_in
from .policies import GRUPolicy, LSTMPolicy, Policy, TransformerPolicy
from .pretraining import seeded
from .replay import Replay

POLICIES: dict[str, type[Policy]] = {
    policy.name: policy for policy in (GRUPolicy, LSTMPolicy, TransformerPolicy)
}

_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

# Wrappers that change nothing, of Gymnasium's ``make`` and of Stable-Baselines3.
_WATCHERS = (
    gym.wrappers.OrderEnforcing,
    gym.wrappers.PassiveEnvChecker,
    gym.wrappers.RecordEpisodeStatistics,
    Monitor,
    VecMonitor,
)


class Purpose(IntEnum):
    """What a random stream is for; the first thing folded into the seed."""

    INITIAL_WEIGHTS = 0
    TEACHER_FORCING = 1
    TRAINING_SEQUENCES = 2
    COMPLETIONS = 3
    DISCRIMINATOR = 4
    PREDICTION = 5
    SAMPLE = 6
    MINIBATCHES = 7
    REPLAY = 8


@dataclass
class Pretraining:
    """How far the supervised beginning has come."""

    step: int = 0
    steps: int = 0
    discriminator_step: int = 0


class AssembledAgent(BaseAlgorithm):
    """The parts of an agent, put together.

    The options that all agents have are here and nowhere else: a subclass names its own, and hands
    the others on as ``**options``.

    Args:
        policy: ``"GRU"``, ``"LSTM"``, ``"Transformer"``, or a Policy (a pretrained one).
        env: a ``TokenEnv``, its registered id, or None to sample from a loaded agent.
        learning_rate: of Adam, or a schedule of the remaining progress.
        batch_size: B, training sequences a round.
        max_grad_norm: the gradient's norm is clipped to it.
        discriminator_steps: updates of each reward that learns, a discriminator, a round.
        discriminator_batch_size: real sequences an update, and as many generated ones.
        replay_batch_size: of the best sequences so far, how many are learnt from again at every
            update; 0: none.
        replay_size: how many of them are remembered.
        experience: a CSV file of sequences with scores, to remember the best of before the first
            round; see ``remember``.
        overlap: score a batch in a thread of its own, while what does not need the scores goes on;
            it saves time where objectives wait for worker processes, other programs or a network.
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
        policy: str | Policy | type[Policy] = "GRU",
        env: GymEnv | str | None = None,
        *,
        learning_rate: float | Schedule = 1e-3,
        batch_size: int = 64,
        max_grad_norm: float = 1.0,
        discriminator_steps: int = 5,
        discriminator_batch_size: int = 64,
        replay_batch_size: int = 0,
        replay_size: int = 100,
        experience: str | None = None,
        overlap: bool = False,
        policy_kwargs: dict[str, Any] | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        check_whole(1, batch_size=batch_size, discriminator_batch_size=discriminator_batch_size)
        check_whole(1, replay_size=replay_size)
        check_whole(0, discriminator_steps=discriminator_steps, replay_batch_size=replay_batch_size)
        if experience is not None and not replay_batch_size:
            raise ValueError(
                f"experience is {experience!r} and replay_batch_size 0, so it would not be learnt "
                "from; say how many sequences an update, such as replay_batch_size=16"
            )
        check_positive(max_grad_norm=max_grad_norm)
        if not callable(learning_rate):
            check_positive(learning_rate=learning_rate)
        check_policy_options(policy, policy_kwargs)
        check_device(device)
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
        self.discriminator_steps = discriminator_steps
        self.discriminator_batch_size = discriminator_batch_size
        self.replay_batch_size, self.replay_size = replay_batch_size, replay_size
        self.replay = Replay(replay_size)
        self.experience = experience
        self.experience_read: str | None = None  # the file that is remembered from
        self.overlap = overlap
        self.stats_window_size = stats_window_size
        self.rounds = 0
        self.sampled = 0
        self.pretraining = Pretraining()
        self.companions: dict[str, Policy] = {}  # frozen relatives of the policy, by their part
        self._given_policy = given
        self._pretraining_optimizer: torch.optim.Optimizer | None = None
        self.notes: dict[str, Any] = {}  # JSON that a checkpoint keeps for whoever runs the agent
        self._pending_rewards: dict[str, Any] = {}
        self._predictions = 0
        self.stopped: str | None = None  # why learning ended before its last timestep, if it did
        self.task: Task | None = None
        self.constraint: Constraint | None = None  # which tokens may come next, wherever it writes
        if self.env is not None:
            self.task = task_of(self.env)
            self.constraint = self.task.constraint
        if _init_setup_model:
            self._setup_model()

    @classmethod
    def keywords(cls) -> list[str]:
        """The constructor's parameters, all of them."""
        return keywords_of(cls)

    # --- setting up -------------------------------------------------------------------------

    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        if self.task is None:
            raise ValueError(
                "an agent needs an environment to learn; give env, or load a saved one"
            )
        self._make_policy(self.task.vocabulary)
        self.max_length = self.task.max_length
        self._forget_rewards()
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

    def _forget_rewards(self) -> None:
        """Take what the task's rewards learnt before for nothing: one seed gives one result."""
        for name, reward in self._trainable_rewards().items():
            if reward.updates:
                warnings.warn(
                    f"{name} has learnt already, by {reward.updates} updates, and begins anew with "
                    "this agent; to go on with it, load the agent that it learnt with",
                    stacklevel=4,
                )
                reward.updates = 0

    def _get_policy_from_name(self, policy_name: str) -> Any:
        return policy_of_name(policy_name)

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
        self.task, self.constraint = task, task.constraint
        self.max_length = task.max_length
        self._adopt_rewards()

    def _seed_of(self, purpose: Purpose, *numbers: int) -> int:
        assert self.seed is not None
        return fold_in(self.seed, purpose, *numbers)

    def _trainable_rewards(self) -> dict[str, TrainableReward]:
        """The rewards that learn, by name."""
        named = self.task.reward.named() if self.task else {}
        return {name: each for name, each in named.items() if isinstance(each, TrainableReward)}

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

    def _keep_companion(self, part: str) -> Policy:
        """A copy of the policy as it is now, without gradients, unless there is one already."""
        if part not in self.companions:
            self.companions[part] = deepcopy(self.policy).eval().requires_grad_(False)
        return self.companions[part]


def check_policy_options(policy: object, options: Mapping[str, object] | None) -> None:
    """Check that a policy made by name takes options of these names.

    Raises:
        ValueError: it does not; the message has the nearest names.
    """
    if not isinstance(policy, str) or policy not in POLICIES:
        return  # made already, or to be refused by its name
    known = [
        name for name in inspect.signature(POLICIES[policy]).parameters if name != "vocabulary"
    ]
    for name in options or {}:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
            raise ValueError(f"the policy {policy} has no option {name!r}; {hint}")


def keywords_of(kind: type) -> list[str]:
    """A constructor's parameters; with ``**options`` also those that it hands on upwards."""
    names: dict[str, None] = {}
    for each in kind.__mro__:
        parameters = inspect.signature(each).parameters.values()
        names |= dict.fromkeys(p.name for p in parameters if p.kind not in _VARIABLE)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return list(names)


def policy_of_name(name: str) -> type[Policy]:
    """The class of a policy.

    Raises:
        ValueError: there is none of this name; the message has the nearest.
    """
    if name not in POLICIES:
        near = difflib.get_close_matches(name.upper(), POLICIES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(POLICIES)}"
        raise ValueError(f"unknown policy {name!r}; {hint}")
    return POLICIES[name]


def task_of(env: VecEnv) -> Task:
    """The task that an environment of ours is made of.

    Raises:
        ValueError: it is none of ours, or its task stays in another process.
    """
    try:
        task = env.get_attr("task")[0]
    except AttributeError:
        task = None
    except (EOFError, ConnectionError) as error:  # the process ended over it
        raise ValueError(
            f"{env} cannot hand over its task, which is none of tokengym's, or holds something "
            "that cannot be pickled, such as a lambda; give the environment itself, or make_sb3's"
        ) from error
    if not isinstance(task, Task):
        raise ValueError(
            f"{env} has no task; these agents learn on tokengym's environments, for example "
            "gym.make('tokengym/Molecules-v0')"
        )
    if ignored := _wrappers(env):
        warnings.warn(
            f"agents write whole sequences of the task and do not see its wrappers {ignored}; "
            "what they do to rewards belongs into the task's reward",
            stacklevel=4,
        )
    return task


def _wrappers(env: VecEnv) -> list[str]:
    """The wrappers that may change what an episode is, from outside in, as far as can be seen."""
    found: list[object] = []
    while isinstance(env, VecEnvWrapper):
        found.append(env)
        env = env.venv
    if isinstance(env, DummyVecEnv):
        single: gym.Env[Any, Any] = env.envs[0]
        while isinstance(single, gym.Wrapper):
            found.append(single)
            single = single.env
    return [type(each).__name__ for each in found if not isinstance(each, _WATCHERS)]
