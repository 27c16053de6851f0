"""The settings that rollouts are measured at, the sizes that the literature has.

- ``S1``: SeqGAN's oracle task: 5,000 tokens, LSTM with embedding and state of 32, T = 20, N = 16.
- ``S2``: MOSES' ORGAN: 30 tokens, two LSTM layers of 512, T = 100, N = 16.
- ``S3``: GRU of 256, 64 tokens, T = 64, N = 8.
- ``molecules``: the policy of S2, taught for a minute or two on the built-in molecules and kept in
  the folder of temporary files: peaked, and most of its sequences end before T, after some 38.

B is 64. The policies of S1 to S3 have random weights, and no end token. All have the discriminator
of SeqGAN's paper, with 1,720 filters.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import torch
from safetensors.torch import load_file, save_file
from tokengym.agents import ORGAN, GRUPolicy, LSTMPolicy, Policy
from tokengym.envs import Vocabulary


@dataclass(frozen=True)
class Setting:
    """What is rolled out.

    Args:
        name: as on the command line.
        make: the policy.
        max_length: T.
        completions: N.
        every: of how many prefixes the engine completes one, evenly spaced.
        batch: B.
    """

    name: str
    make: Callable[[], Policy]
    max_length: int
    completions: int
    every: int
    batch: int = 64

    def policy(self, seed: int, device: str) -> Policy:
        """The policy; its random weights are a function of the seed."""
        torch.manual_seed(seed)
        return self.make().to(device).eval()


def words(tokens: int) -> Vocabulary:
    """So many tokens, none of them an end."""
    return Vocabulary.from_tokens(map(str, range(tokens)), "words", eos=False)


def organ_of_molecules(reward: str = "conv_discriminator", **options: object) -> ORGAN:
    """MOSES' ORGAN, its policy taught on the built-in molecules; that is kept for later runs."""
    env = gym.make("tokengym/Molecules-v0", max_length=100, reward=reward)
    path = Path(tempfile.gettempdir()) / "tokengym_benchmark_molecules.safetensors"
    policy_kwargs = {"embedding": 256, "hidden": 512, "layers": 2}
    agent = ORGAN("LSTM", env, policy_kwargs=policy_kwargs, seed=0, device="cpu", **options)  # type: ignore[arg-type]
    if path.exists():
        agent.policy.load_state_dict(load_file(path))
    else:
        agent.pretrain(epochs=1, discriminator_steps=0, progress_bar=True)
        save_file(agent.policy.state_dict(), path)
    return agent


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("S1", lambda: LSTMPolicy(words(5000), 32, 32), 20, 16, every=1),
        Setting("S2", lambda: LSTMPolicy(words(30), 256, 512, 2), 100, 16, every=20),
        Setting("S3", lambda: GRUPolicy(words(64), 128, 256), 64, 8, every=4),
        Setting("molecules", lambda: organ_of_molecules().policy, 100, 16, every=5),
    )
}
