"""Stable-Baselines3's PPO on molecules, or with --masks sb3-contrib's MaskablePPO.

python examples/ppo_stable_baselines3.py --total-timesteps 100000 --masks
"""

import argparse

import tokengym
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO
from tokengym.agents import GRUExtractor

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--total-timesteps", type=int, default=100_000)
parser.add_argument("--masks", action="store_true", help="write nothing that SMILES forbids")
options = parser.parse_args()

algorithm = MaskablePPO if options.masks else PPO
constraint = "smiles_syntax" if options.masks else None
env = tokengym.make_sb3("tokengym/Molecules-v0", num_envs=64, constraint=constraint)
agent = algorithm(
    "MlpPolicy",
    env,
    n_steps=16,
    batch_size=256,
    n_epochs=4,
    gamma=1.0,  # the reward comes at the end, and is worth as much there
    learning_rate=1e-3,
    policy_kwargs={"features_extractor_class": GRUExtractor, "net_arch": []},
    verbose=1,
)
agent.learn(options.total_timesteps)
