"""Rewards: what a finished sequence is worth.

Molecule objectives need the extra ``molecules``; they live in ``tokengym.rewards.molecules`` and
are looked up here by name (``tokengym.rewards.QED``) when they are first used.
"""

from typing import TYPE_CHECKING

from .base import Product, Reward, Scores, Sum, TrainableReward
from .budget import BudgetExhausted
from .discriminators import ConvDiscriminator
from .function import FunctionObjective, objective
from .memo import Memo, MemoError, SQLiteMemo
from .objective import Objective, ObjectiveError
from .registry import RewardSpec, UnknownRewardError, make_reward, register_reward, reward_targets
from .repetition import RepetitionPenalty

if TYPE_CHECKING:
    from .molecules import QED, LogP, SyntheticAccessibility, Valid

__all__ = [
    "QED",
    "BudgetExhausted",
    "ConvDiscriminator",
    "FunctionObjective",
    "LogP",
    "Memo",
    "MemoError",
    "Objective",
    "ObjectiveError",
    "Product",
    "RepetitionPenalty",
    "Reward",
    "RewardSpec",
    "SQLiteMemo",
    "Scores",
    "Sum",
    "SyntheticAccessibility",
    "TrainableReward",
    "UnknownRewardError",
    "Valid",
    "make_reward",
    "objective",
    "register_reward",
    "reward_targets",
]


def __getattr__(name: str) -> object:
    if name in ("LogP", "QED", "SyntheticAccessibility", "Valid"):
        from . import molecules  # RDKit is an extra, and slow to import

        return getattr(molecules, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
