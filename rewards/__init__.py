"""Rewards: what a finished sequence is worth.

Molecule objectives need the extra ``molecules``; they live in ``tokengym.rewards.molecules`` and
are looked up here by name (``tokengym.rewards.QED``) when they are first used.
"""

from typing import TYPE_CHECKING

from .assessors import Assessors
from .base import Product, Progress, Reward, Scores, Sum, TrainableReward
from .budget import BudgetExhausted
from .checking import Finding, check_objective
from .combining import Chebyshev, GeometricMean, Mean, Pareto, WeightedProduct
from .discriminators import ConvDiscriminator, RecurrentDiscriminator, TransformerDiscriminator
from .diversity_memory import DiversityMemory
from .function import FunctionObjective, objective
from .memo import Memo, MemoError, SQLiteMemo
from .objective import Objective, ObjectiveError
from .registry import RewardSpec, UnknownRewardError, make_reward, register_reward, reward_targets
from .repetition import RepetitionPenalty
from .schedules import Alternate, Curriculum, Ramp
from .sets import SetObjective
from .transforms import (
    Clip,
    DoubleSigmoid,
    Gaussian,
    Linear,
    MaxGaussian,
    MinGaussian,
    ReverseSigmoid,
    Sigmoid,
    Step,
    Transform,
    ValueMap,
)

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
    "Alternate",
    "Assessors",
    "BudgetExhausted",
    "Chebyshev",
    "Clip",
    "ConvDiscriminator",
    "Curriculum",
    "DiversityMemory",
    "DoubleSigmoid",
    "Finding",
    "FunctionObjective",
    "Gaussian",
    "GeometricMean",
    "Linear",
    "Lipinski",
    "LogP",
    "MaxGaussian",
    "Mean",
    "Memo",
    "MemoError",
    "MinGaussian",
    "MolecularWeight",
    "NPLikeness",
    "NewMolecule",
    "Objective",
    "ObjectiveError",
    "Pareto",
    "Product",
    "Progress",
    "Ramp",
    "RecurrentDiscriminator",
    "RepetitionPenalty",
    "ReverseSigmoid",
    "Reward",
    "RewardSpec",
    "Rings",
    "SQLiteMemo",
    "Scaffold",
    "Scores",
    "SetObjective",
    "Sigmoid",
    "Similarity",
    "Step",
    "Substructure",
    "Sum",
    "SyntheticAccessibility",
    "TrainableReward",
    "Transform",
    "TransformerDiscriminator",
    "UnknownRewardError",
    "Valid",
    "ValueMap",
    "WeightedProduct",
    "check_objective",
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
