"""Constraints: which tokens may come next."""

from .base import All, Constraint, EmptyMaskError, IncrementalConstraint
from .brackets import BalancedBrackets
from .length import MinimumLength
from .repetition import NoRepeat
from .rows import RowMasks
from .selfies import SELFIES
from .smiles import SMILESSyntax
from .template import Template
from .tokens import AllowedTokens, ForbiddenTokens

__all__ = [
    "SELFIES",
    "All",
    "AllowedTokens",
    "BalancedBrackets",
    "Constraint",
    "EmptyMaskError",
    "ForbiddenTokens",
    "IncrementalConstraint",
    "MinimumLength",
    "NoRepeat",
    "RowMasks",
    "SMILESSyntax",
    "Template",
]
