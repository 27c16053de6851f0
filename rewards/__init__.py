"""Rewards: what a finished sequence is worth.

Molecule objectives need the extra ``molecules``; they live in ``tokengym.rewards.molecules`` and
are looked up here by name (``tokengym.rewards.QED``) when they are first used.
"""

from typing import TYPE_CHECKING

from .base import Product, Reward, Scores, Sum, TrainableReward
from .discriminators import ConvDiscriminator
from .memo import Memo
from .objective import FunctionObjective, Objective, ObjectiveError, objective
from .registry import RewardSpec, UnknownRewardError, make_reward, register_reward, reward_targets
from .repetition import RepetitionPenalty

if TYPE_CHECKING:
    from .molecules import (
        QED,
        TPSA,
        Lipinski,
        LogP,
        MolecularWeight,
        NewMolecule,
        NPLikeness,
        Rings,
        Scaffold,
        Similarity,
        Substructure,
        SyntheticAccessibility,
        Valid,
    )

__all__ = [
    "QED",
    "TPSA",
    "ConvDiscriminator",
    "FunctionObjective",
    "Lipinski",
    "LogP",
    "Memo",
    "MolecularWeight",
    "NPLikeness",
    "NewMolecule",
    "Objective",
    "ObjectiveError",
    "Product",
    "RepetitionPenalty",
    "Reward",
    "RewardSpec",
    "Rings",
    "Scaffold",
    "Scores",
    "Similarity",
    "Substructure",
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


_MOLECULES = frozenset(
    [
        *("Lipinski", "LogP", "MolecularWeight", "NPLikeness", "NewMolecule", "QED"),
        *("Rings", "Scaffold", "Similarity", "Substructure", "SyntheticAccessibility", "TPSA"),
        "Valid",
    ]
)


def __getattr__(name: str) -> object:
    if name in _MOLECULES:
        from . import molecules  # RDKit is an extra, and slow to import

        return getattr(molecules, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
