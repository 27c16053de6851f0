"""Agents: who writes, and how they learn."""

from .base import SequenceAgent
from .beam_search import beam_search
from .checkpoint import CheckpointError
from .hill_climb import AugmentedHillClimb
from .loading import AGENTS, load_agent
from .organ import ORGAN
from .policies import GRUPolicy, LSTMPolicy, Policy, TransformerPolicy
from .ppo import PPO
from .reinforce import Reinforce
from .reinvent import Reinvent
from .rollouts import Rollouts, action_values
from .sampling import sample
from .sb3 import GeneratorPolicy, GRUExtractor, TransformerExtractor
from .seqgan import SeqGAN

__all__ = [
    "AGENTS",
    "ORGAN",
    "PPO",
    "AugmentedHillClimb",
    "CheckpointError",
    "GRUExtractor",
    "GRUPolicy",
    "GeneratorPolicy",
    "LSTMPolicy",
    "Policy",
    "Reinforce",
    "Reinvent",
    "Rollouts",
    "SeqGAN",
    "SequenceAgent",
    "TransformerExtractor",
    "TransformerPolicy",
    "action_values",
    "beam_search",
    "load_agent",
    "sample",
]
