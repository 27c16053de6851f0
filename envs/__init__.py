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
from .vec_env import TokenVecEnv
from .vector import TokenVectorEnv
from .vocabulary import UnknownTokenError, Vocabulary
from .wrappers import IntermediateReward, LastToken, WithCondition

__all__ = [
    "SELFIES",
    "AllowedTokens",
    "BalancedBrackets",
    "Constraint",
    "CopySource",
    "DataError",
    "DyckSource",
    "EmptyMaskError",
    "Entropy",
    "ForbiddenTokens",
    "GRUOracle",
    "HMMSource",
    "IncrementalConstraint",
    "IntermediateReward",
    "LSTMOracle",
    "LastToken",
    "MarkovMixtureSource",
    "MarkovSource",
    "MinimumLength",
    "NoRepeat",
    "SMILESSyntax",
    "Sequences",
    "SourceLogProb",
    "StepSource",
    "Task",
    "Template",
    "TokenEnv",
    "TokenVecEnv",
    "TokenVectorEnv",
    "TransformerOracle",
    "UnknownOptionError",
    "UnknownTokenError",
    "Vocabulary",
    "WithCondition",
    "check_vector_env",
    "make_sb3",
    "make_task",
    "read_lines",
    "register_built_in_tasks",
    "register_task",
    "registered_tasks",
    "task_factory",
    "unknown_task",
]
