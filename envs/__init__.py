"""Environments: what an episode is."""

from .data import DataError, read_lines
from .registration import (
    make_task,
    register_built_in_tasks,
    register_task,
    registered_tasks,
    task_factory,
    unknown_task,
)
from .sequences import Sequences
from .sources import (
    CopySource,
    DyckSource,
    Entropy,
    GRUOracle,
    HMMSource,
    LSTMOracle,
    MarkovMixtureSource,
    MarkovSource,
    SourceLogProb,
    StepSource,
    TransformerOracle,
)
from .task import Task
from .token_env import TokenEnv
from .vector import TokenVectorEnv
from .vocabulary import UnknownTokenError, Vocabulary

__all__ = [
    "CopySource",
    "DataError",
    "DyckSource",
    "Entropy",
    "GRUOracle",
    "HMMSource",
    "LSTMOracle",
    "MarkovMixtureSource",
    "MarkovSource",
    "Sequences",
    "SourceLogProb",
    "StepSource",
    "Task",
    "TokenEnv",
    "TokenVectorEnv",
    "TransformerOracle",
    "UnknownTokenError",
    "Vocabulary",
    "make_task",
    "read_lines",
    "register_built_in_tasks",
    "register_task",
    "registered_tasks",
    "task_factory",
    "unknown_task",
]
