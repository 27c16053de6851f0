"""sb3-contrib's RecurrentPPO on this project's tasks, as fast as it goes there."""

# Shapes: B = num_envs, T steps
from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import tokengym
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.vec_env import VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn


class LastTokens(VecEnvWrapper):
    """Show the last token alone, ``bos`` before the first, of all rows at once."""

    def __init__(self, venv: tokengym.TokenVecEnv) -> None:
        space: Any = venv.observation_space
        self._pad = int(space.high.max())
        super().__init__(venv, observation_space=gym.spaces.Discrete(self._pad + 1))

    def reset(self) -> np.ndarray:
        """Begin."""
        return self._last(self.venv.reset())

    def step_wait(self) -> VecEnvStepReturn:
        """Step."""
        tokens, rewards_B, dones_B, infos = self.venv.step_wait()
        return self._last(tokens), rewards_B, dones_B, infos

    def _last(self, tokens: Any) -> np.ndarray:
        lengths_B = (tokens != self._pad).sum(axis=1)
        last_B: np.ndarray = tokens[np.arange(len(tokens)), lengths_B - 1]
        return np.where(lengths_B > 0, last_B, self._pad - 1)


def make_recurrent_ppo(
    id: str,
    task_options: dict[str, Any],
    *,
    num_envs: int,
    minibatch_size: int,
    hidden: int,
    shared: bool,
    seed: int,
    **options: Any,
) -> RecurrentPPO:
    """RecurrentPPO with rollouts of T steps, so that updates hold as many tokens as ours."""
    venv = tokengym.make_sb3(id, num_envs, **task_options)
    T = venv.observation_space.shape[0]  # type: ignore[index]
    sharing = dict(shared_lstm=True, enable_critic_lstm=False) if shared else {}
    return RecurrentPPO(
        "MlpLstmPolicy",
        LastTokens(venv),
        n_steps=T,
        batch_size=minibatch_size * T,
        seed=seed,
        device="cpu",
        policy_kwargs=dict(lstm_hidden_size=hidden, net_arch=[], **sharing),
        **options,
    )


def sampled_return(agent: RecurrentPPO, episodes: int, seed: int) -> float:
    """The mean return of whole episodes, each as probable as the agent writes it.

    As many from each row, so that short ones do not count for more.
    """
    env: Any = agent.get_env()
    agent.set_random_seed(seed)
    B = env.num_envs
    observation_B, states, first_B = env.reset(), None, np.ones(B, dtype=bool)
    returns: list[list[float]] = [[] for _ in range(B)]
    while min(map(len, returns)) < -(-episodes // B):
        actions_B, states = agent.predict(observation_B, states, first_B)
        observation_B, rewards_B, first_B, _ = env.step(actions_B)
        for row in np.flatnonzero(first_B):
            returns[row].append(float(rewards_B[row]))
    return float(np.mean([row[: -(-episodes // B)] for row in returns]))
