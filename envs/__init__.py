"""Environments: what an episode is."""

from ..rewards.files import DataError, read_lines
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
    NoRepetition,
    SMILESSyntax,
    Template,
    UnknownConstraintError,
    make_constraint,
)
from .registration import (
    UnknownOptionError,
    make_sb3,
    make_task,
    options_of,
    register_built_in_tasks,
    register_task,
    registered_tasks,
    task_factory,
    unknown_task,
)
from .sequences import Prefixes, Sequences
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
    "NoRepetition",
    "Prefixes",
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
    "UnknownConstraintError",
    "UnknownOptionError",
    "UnknownTokenError",
    "Vocabulary",
    "WithCondition",
    "check_vector_env",
    "make_constraint",
    "make_sb3",
    "make_task",
    "options_of",
    "read_lines",
    "register_built_in_tasks",
    "register_task",
    "registered_tasks",
    "task_factory",
    "unknown_task",
]
