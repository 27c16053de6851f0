"""Constraints: which tokens may come next."""

from .base import All, Constraint, EmptyMaskError, IncrementalConstraint
from .brackets import BalancedBrackets
from .length import MinimumLength
from .names import (
    CONSTRAINTS,
    ConstraintSpec,
    UnknownConstraintError,
    constraint_from_json,
    constraint_to_json,
    make_constraint,
)
from .repetition import NoRepetition
from .rows import RowMasks
from .selfies import SELFIES
from .smiles import SMILESSyntax
from .template import Template
from .tokens import AllowedTokens, ForbiddenTokens

__all__ = [
    "CONSTRAINTS",
    "SELFIES",
    "All",
    "AllowedTokens",
    "BalancedBrackets",
    "Constraint",
    "ConstraintSpec",
    "EmptyMaskError",
    "ForbiddenTokens",
    "IncrementalConstraint",
    "MinimumLength",
    "NoRepetition",
    "RowMasks",
    "SMILESSyntax",
    "Template",
    "UnknownConstraintError",
    "constraint_from_json",
    "constraint_to_json",
    "make_constraint",
]
