"""Frechet ChemNet distance of generated molecules from a reference, and its standard error.

Preuer et al. (2018, arXiv 1803.09518), as rewards/sets/fcd.py computes it: the distance of two
Gaussians, of mean m and covariance C, and of m_r and C_r. Its derivatives are 2 (m - m_r) and
I - M, with M = L (L^T C L)^(-1/2) L^T, C_r = L L^T, so a molecule of features x has the influence

    2 (m - m_r)^T (x - m) + (x - m)^T (I - M) (x - m).

Small sets are biased upwards, by more than that error: compare sets of one size.
"""

# Shapes: N molecules, P = 512 features
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...agents.progress import progress_bar
from ...rewards.molecules.base import canonical_smiles
from ...rewards.sets.fcd import Gaussian, chemnet_features, frechet_distance
from .estimate import NOTHING, Estimate, by_influence

_CHUNK = 512  # molecules between two moves of the progress bar
_SMALLEST = 1e-10  # share of the largest eigenvalue that counts as 0


def fcd(smiles: Sequence[str], reference: Gaussian, *, shown: bool = False) -> Estimate:
    """The distance of at least two molecules, repeated ones too; NaN for fewer.

    Args:
        smiles: what RDKit accepts.
        reference: mean and covariance of the reference's features.
        shown: whether there is a progress bar.
    """
    if len(smiles) < 2:
        return NOTHING
    features_NP = features_of(smiles, label="FCD", shown=shown)
    value = max(frechet_distance(features_NP, reference), 0.0)
    return by_influence(value, influences(features_NP, reference))


def influences(features_NP: np.ndarray, reference: Gaussian) -> np.ndarray:
    """The influence of each molecule on the distance, (N,), as the top of this file says."""
    mean_P = features_NP.mean(axis=0)
    X_NP, root_PP = features_NP - mean_P, reference.root_PP
    Y_NP = X_NP @ root_PP
    eigenvalues_P, vectors_PP = np.linalg.eigh(Y_NP.T @ Y_NP / (len(Y_NP) - 1))
    kept_P = eigenvalues_P > _SMALLEST * eigenvalues_P[-1]
    Z_NK = Y_NP @ vectors_PP[:, kept_P] / eigenvalues_P[kept_P] ** 0.25
    shift_N = 2 * X_NP @ (mean_P - reference.mean_P)
    found: np.ndarray = shift_N + np.square(X_NP).sum(axis=1) - np.square(Z_NK).sum(axis=1)
    return found


def chemnet_gaussian(smiles: Sequence[str], *, label: str, shown: bool) -> Gaussian:
    """Mean and covariance of the features of at least two molecules."""
    if len(smiles) < 2:
        raise ValueError("the reference is one molecule; expected two or more")
    features_NP = features_of(smiles, label=label, shown=shown)
    return Gaussian(features_NP.mean(axis=0), np.cov(features_NP.T))


def features_of(smiles: Sequence[str], *, label: str, shown: bool) -> np.ndarray:
    """ChemNet's features of molecules, float64 (N, 512), each different one read once."""
    forms = [canonical_smiles(text) or text for text in smiles]
    different = {form: row for row, form in enumerate(dict.fromkeys(forms))}
    texts, found = list(different), []
    with progress_bar(label, 0, len(texts), "molecule", shown) as bar:
        for first in range(0, len(texts), _CHUNK):
            found.append(chemnet_features(texts[first : first + _CHUNK]))
            bar.update(len(found[-1]))
    return np.concatenate(found)[[different[form] for form in forms]]
