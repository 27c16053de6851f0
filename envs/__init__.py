"""Environments: what an episode is."""

from .checking import check_vector_env
from .constraints import (
    SELFIES,
    AllowedTokens,
    BalancedBrackets,
    Constraint,
    EmptyMaskError,
    ForbiddenTokens,
    IncrementalConstraint,
    MinimumLength,
    NoRepeat,
    SMILESSyntax,
    Template,
)
from .data import DataError, read_lines
from .oracle import LSTMOracle, OracleLogProb
from .registration import (
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
from .vector import TokenVectorEnv
from .vocabulary import UnknownTokenError, Vocabulary

__all__ = [
    "SELFIES",
    "AllowedTokens",
    "BalancedBrackets",
    "Constraint",
    "DataError",
    "EmptyMaskError",
    "ForbiddenTokens",
    "IncrementalConstraint",
    "LSTMOracle",
    "MinimumLength",
    "NoRepeat",
    "OracleLogProb",
    "SMILESSyntax",
    "Sequences",
    "Task",
    "Template",
    "TokenEnv",
    "TokenVectorEnv",
    "UnknownTokenError",
    "Vocabulary",
    "check_vector_env",
    "make_task",
    "read_lines",
    "register_built_in_tasks",
    "register_task",
    "registered_tasks",
    "task_factory",
    "unknown_task",
]
