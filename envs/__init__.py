"""Environments: what an episode is."""

from .data import DataError, read_lines
from .oracle import LSTMOracle, OracleLogProb
from .registration import (
    UnknownOptionError,
    make_sb3,
    make_task,
    register_built_in_tasks,
    register_task,
    registered_tasks,
    task_factory,
    unknown_task,
)
from .sequences import Sequences
from .task import Task
from .token_env import TokenEnv
from .vec_env import TokenVecEnv
from .vector import TokenVectorEnv
from .vocabulary import UnknownTokenError, Vocabulary
from .wrappers import IntermediateReward, LastToken, WithCondition

__all__ = [
    "DataError",
    "IntermediateReward",
    "LSTMOracle",
    "LastToken",
    "OracleLogProb",
    "Sequences",
    "Task",
    "TokenEnv",
    "TokenVecEnv",
    "TokenVectorEnv",
    "UnknownOptionError",
    "UnknownTokenError",
    "Vocabulary",
    "WithCondition",
    "make_sb3",
    "make_task",
    "read_lines",
    "register_built_in_tasks",
    "register_task",
    "registered_tasks",
    "task_factory",
    "unknown_task",
]
