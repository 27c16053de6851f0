"""PPO in one file, on the plain Gymnasium vector loop: no agent library, nothing hidden.

    python examples/ppo_gymnasium.py --total-timesteps 100000

Schulman et al. (2017, arXiv 1707.06347): clipped surrogate, generalised advantages (Schulman et
al., 2016, arXiv 1506.02438). Left out: clipping of the value loss, annealing, early stopping. From
nothing it takes long until a molecule is valid at all; a generator that was taught on real ones
first (``GeneratorPolicy``, or this project's own agents) is where to begin in earnest.
"""

# Shapes: S steps of a rollout, B = num_envs, N = S * B, T = max_length, L <= T, A actions, H hidden
from __future__ import annotations

import argparse

import gymnasium as gym
import numpy as np
import tokengym  # noqa: F401 - registers the ids
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Categorical

EPOCHS, MINIBATCHES = 4, 4
CLIP, ENTROPY, VALUE, MAX_GRAD_NORM = 0.2, 0.01, 0.5, 0.5
GAMMA, LAMBDA = 1.0, 0.95  # the reward comes at the end, and is worth as much there


class ActorCritic(nn.Module):
    """Embedding and GRU over the tokens so far, then logits and a value."""

    def __init__(self, num_inputs: int, num_actions: int, hidden: int) -> None:
        super().__init__()
        self.pad, self.bos = num_inputs - 1, num_inputs - 2
        self.embedding = nn.Embedding(num_inputs, hidden // 2)
        self.network = nn.GRU(hidden // 2, hidden, batch_first=True)
        self.actor, self.critic = nn.Linear(hidden, num_actions), nn.Linear(hidden, 1)

    def forward(self, tokens_BT: Tensor) -> tuple[Categorical, Tensor]:
        """The distribution of the next token, and the values (B,) of the prefixes."""
        lengths_B = (tokens_BT != self.pad).sum(dim=1)
        tokens_BL = F.pad(tokens_BT[:, : int(lengths_B.max())], (1, 0), value=self.bos)
        hidden_BLH, _ = self.network(self.embedding(tokens_BL))
        hidden_BH = hidden_BLH[torch.arange(len(lengths_B)), lengths_B]
        return Categorical(logits=self.actor(hidden_BH)), self.critic(hidden_BH)[:, 0]


def advantages(rewards_SB: Tensor, values_SB: Tensor, ends_SB: Tensor, next_B: Tensor) -> Tensor:
    """Generalised advantages (S, B); nothing follows an end (it is ``terminated``)."""
    found_SB, carried_B = torch.empty_like(rewards_SB), torch.zeros_like(next_B)
    for step in reversed(range(len(rewards_SB))):
        going_on_B = 1.0 - ends_SB[step]
        error_B = rewards_SB[step] + GAMMA * next_B * going_on_B - values_SB[step]
        carried_B = error_B + GAMMA * LAMBDA * going_on_B * carried_B
        found_SB[step], next_B = carried_B, values_SB[step]
    return found_SB


def update(
    agent: ActorCritic, optimizer: torch.optim.Optimizer, rollout: dict[str, Tensor]
) -> None:
    """A few epochs of clipped steps over one rollout; every tensor has N rows."""
    N = len(rollout["actions"])
    for _ in range(EPOCHS):
        for rows in torch.randperm(N).chunk(MINIBATCHES):
            batch = {name: values[rows] for name, values in rollout.items()}
            policy, values = agent(batch["tokens"])
            ratio = (policy.log_prob(batch["actions"]) - batch["log_probs"]).exp()
            advantage = batch["advantages"]
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
            clipped = ratio.clamp(1 - CLIP, 1 + CLIP)
            policy_loss = -torch.minimum(ratio * advantage, clipped * advantage).mean()
            value_loss = F.mse_loss(values, batch["returns"])
            loss = policy_loss + VALUE * value_loss - ENTROPY * policy.entropy().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), MAX_GRAD_NORM)
            optimizer.step()


def train(
    env: gym.vector.VectorEnv, total: int, steps: int, seed: int, hidden: int, rate: float
) -> list[float]:
    """Learn; the mean return of the sequences that ended in each rollout."""
    torch.manual_seed(seed)
    space, actions = env.single_observation_space, env.single_action_space
    assert isinstance(space, gym.spaces.Box)
    assert isinstance(actions, gym.spaces.Discrete)
    agent = ActorCritic(int(space.high.max()) + 1, int(actions.n), hidden)
    optimizer = torch.optim.Adam(agent.parameters(), lr=rate, eps=1e-5)
    observations, _ = env.reset(seed=seed)
    curve: list[float] = []
    for written in range(steps * env.num_envs, total + 1, steps * env.num_envs):
        kept: dict[str, list[Tensor]] = {
            name: [] for name in ("tokens", "actions", "log_probs", "values", "rewards", "ends")
        }
        texts: list[str] = []
        for _ in range(steps):
            tokens_BT = torch.from_numpy(observations)
            with torch.no_grad():
                policy, values_B = agent(tokens_BT)
            actions_B = policy.sample()
            observations, rewards, terminated, _, infos = env.step(actions_B.numpy())
            now = (tokens_BT, actions_B, policy.log_prob(actions_B), values_B)
            after = (torch.from_numpy(rewards).float(), torch.from_numpy(terminated).float())
            for values, value in zip(kept.values(), (*now, *after), strict=True):
                values.append(value)
            if "final_info" in infos:  # SAME_STEP: what ended is told beside what began anew
                texts += infos["final_info"]["text"][terminated].tolist()
        rollout = {name: torch.stack(values) for name, values in kept.items()}
        with torch.no_grad():
            _, next_B = agent(torch.from_numpy(observations))
        rewards_SB, values_SB, ends_SB = (rollout.pop(n) for n in ("rewards", "values", "ends"))
        rollout["advantages"] = advantages(rewards_SB, values_SB, ends_SB, next_B)
        rollout["returns"] = rollout["advantages"] + values_SB
        update(agent, optimizer, {name: values.flatten(0, 1) for name, values in rollout.items()})
        curve.append(float(rewards_SB.sum() / ends_SB.sum()) if texts else np.nan)
        print(f"{written:>9,} tokens  return {curve[-1]:.3f}  {texts[-1] if texts else ''!r:.60}")
    return curve


def main(arguments: list[str] | None = None) -> list[float]:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--id", default="tokengym/Molecules-v0", help="a registered task")
    parser.add_argument("--total-timesteps", type=int, default=100_000, help="tokens to write")
    parser.add_argument("--num-envs", type=int, default=64, help="sequences written at once")
    parser.add_argument("--num-steps", type=int, default=64, help="tokens of each in a rollout")
    parser.add_argument("--hidden", type=int, default=128, help="units of the network")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    env = gym.make_vec(options.id, num_envs=options.num_envs)
    curve = train(
        env,
        options.total_timesteps,
        options.num_steps,
        options.seed,
        options.hidden,
        options.learning_rate,
    )
    env.close()
    return curve


if __name__ == "__main__":
    main()
