"""Frechet ChemNet distance: how far a set of molecules is from a reference as a distribution.

Preuer et al. (2018, arXiv 1803.09518). ChemNet (fcd_torch, extra ``fcd``) turns a molecule into 512
numbers; with the means and covariances of both sets,

    FCD = |m - m_r|^2 + tr(C) + tr(C_r) - 2 tr((C^(1/2) C_r C^(1/2))^(1/2)).

It is biased upwards in small sets, since n molecules span n - 1 of 512 directions: hundreds are
wanted, and values of sets of other sizes do not compare.
"""

# Shapes: N molecules, R of the reference, P = 512 features
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import nn

from ..failures import OnError
from ..molecules.base import canonical_smiles
from ..molecules.reference import reference_texts
from ..reference import Reference
from .base import Canonical, CreditBy, SetObjective

try:
    from fcd_torch import FCD as ChemNet
    from fcd_torch.utils import SmilesDataset
except ImportError as error:  # pragma: no cover - the message is tested in a subprocess
    raise ImportError(
        "the Frechet ChemNet distance needs fcd_torch, which is not installed; install it with "
        "pip install 'tokengym[fcd]'"
    ) from error

_CHUNK = 128  # molecules in one pass of ChemNet


class FCD(SetObjective):
    """How far molecules are from a reference as a distribution: v(S) = -FCD, at most 0.

    Fewer than two molecules have no covariance; theirs counts as 0. A marginal score takes the
    eigenvalues of a matrix of min(n, 512) rows, n of them in all: 0.1 s for 64 molecules, minutes
    for 1,000, for which ``credit_by="shared"`` is meant.

    Args:
        reference: SMILES, or a file of them; at least two.
        credit_by: as for ``SetObjective``.
        on_error: as for ``SetObjective``.
    """

    name = "fcd"
    microseconds = 4_000.0
    canonical = staticmethod(canonical_smiles)

    def __init__(
        self,
        reference: Reference,
        credit_by: CreditBy = "marginal",
        on_error: OnError = "raise",
    ) -> None:
        super().__init__(credit_by, on_error)
        features_RP = chemnet_features(
            [canonical_smiles(t) or t for t in reference_texts(reference)]
        )
        if len(features_RP) < 2:
            raise ValueError("the reference is one molecule; expected two or more")
        self._reference = Gaussian(features_RP.mean(axis=0), np.cov(features_RP.T))

    def adopt_canonical(self, canonical: Canonical | None) -> None:
        """RDKit's form, whatever the task's is."""

    def value(self, forms: list[str]) -> float:
        """Minus the distance; 0.0 for no molecule."""
        return -self._distance(*self._features(forms)) if forms else 0.0

    def pseudo_values(self, forms: list[str]) -> Sequence[float]:
        """As the base class says; ChemNet reads each molecule once."""
        n = len(forms)
        if n < 2:
            return [self.value(forms)] * n
        features_NP, mixed_NP = self._features(forms)
        whole = self._distance(features_NP, mixed_NP)
        others = ([j for j in range(n) if j != i] for i in range(n))
        without = (self._distance(features_NP[rows], mixed_NP[rows]) for rows in others)
        return [(n - 1) * distance - n * whole for distance in without]

    def _features(self, forms: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """The features X, and X L with C_r = L L^T."""
        features_NP = chemnet_features(forms)
        return features_NP, features_NP @ self._reference.root_PP

    def _distance(self, features_NP: np.ndarray, mixed_NP: np.ndarray) -> float:
        return frechet_distance(features_NP, self._reference, mixed_NP)


@dataclass(frozen=True)
class Gaussian:
    """What the distance asks of a set: the mean of its features, and their covariance."""

    mean_P: np.ndarray
    covariance_PP: np.ndarray

    @cached_property
    def root_PP(self) -> np.ndarray:
        """L with C = L L^T."""
        eigenvalues_P, vectors_PP = np.linalg.eigh(self.covariance_PP)
        root: np.ndarray = vectors_PP * np.sqrt(eigenvalues_P.clip(min=0))
        return root


def frechet_distance(
    features_NP: np.ndarray, reference: Gaussian, mixed_NP: np.ndarray | None = None
) -> float:
    """The distance of N molecules' features X from the reference's.

    Its last trace is the sum of the singular values of X L / sqrt(N - 1), C_r = L L^T, where X
    stands for the features less their mean.

    Args:
        features_NP: X.
        reference: of the other set.
        mixed_NP: X L, where it is known.
    """
    if mixed_NP is None:
        mixed_NP = features_NP @ reference.root_PP
    scale = np.sqrt(max(len(features_NP) - 1, 1))
    mean_P = features_NP.mean(axis=0)
    X_NP = (features_NP - mean_P) / scale
    Y_NP = (mixed_NP - mixed_NP.mean(axis=0)) / scale
    gram = Y_NP @ Y_NP.T if len(Y_NP) < Y_NP.shape[1] else Y_NP.T @ Y_NP
    overlap = np.sqrt(np.linalg.eigvalsh(gram).clip(min=0)).sum()
    apart = np.square(mean_P - reference.mean_P).sum()
    spread = np.trace(reference.covariance_PP)
    return float(apart + np.square(X_NP).sum() + spread - 2 * overlap)


@lru_cache(maxsize=1)
def _chemnet() -> nn.Module:
    network: nn.Module = ChemNet(device="cpu").model
    return network


@torch.no_grad()
def chemnet_features(smiles: list[str]) -> np.ndarray:
    """ChemNet's last hidden layer for canonical SMILES, float64 (N, 512)."""
    inputs = SmilesDataset(smiles, canonize=False)
    found = []
    for first in range(0, len(smiles), _CHUNK):
        rows = [inputs[i] for i in range(first, min(first + _CHUNK, len(smiles)))]
        batch = torch.from_numpy(np.stack(rows)).float().transpose(1, 2)
        found.append(_chemnet()(batch).double().numpy())
    return np.concatenate(found)
