"""How molecules compare with a reference: the figures of MOSES.

Polykovskiy et al. (2020, arXiv 1811.12823), of all valid molecules, repeated ones too. FCD is in
fcd.py; validity, uniqueness of all, novelty and internal diversity are in molecules.py.
"""

# Shapes: N molecules, R of the reference, W = 128 bytes of a fingerprint
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...agents.progress import progress_bar
from ...rewards.molecules.base import canonical_smiles, molecule
from ...rewards.molecules.fingerprints import tanimoto_matrix
from .estimate import NOTHING, Estimate, by_influence, mean_of, share_of, unique_share
from .filters import passes_filters
from .molecule_reference import MoleculeReference
from .molecules import internal_diversity
from .occurrences import against, cosine_similarity
from .profiles import profiles_of

UNIQUE_AT = (1_000, 10_000)
_CHUNK, _REFERENCE_CHUNK = 1024, 8192  # rows and columns of the similarity matrix at once


def moses_figures(
    smiles: Sequence[str], reference: MoleculeReference, *, shown: bool = False
) -> dict[str, Estimate]:
    """MOSES' figures of valid molecules.

    Args:
        smiles: valid ones, in the order in which they were written.
        reference: what they are compared with.
        shown: whether there are progress bars.
    """
    known, profiles = reference.totals, profiles_of(smiles, label="profiles", shown=shown)
    fragments = cosine_similarity(*against(profiles.fragments, known.fragments))
    scaffolds = [[name] if name else [] for name in profiles.scaffolds]
    distances = {
        f"{name}_w1": wasserstein_1(values_N, known.properties[name])
        for name, values_N in profiles.properties.items()
    }
    return {
        **unique_at(smiles),
        "internal_diversity_2": internal_diversity(smiles, power=2),
        "snn": nearest_similarity(profiles.bits_NW, known.bits_RW, shown=shown),
        "fragments": fragments,
        "scaffolds": cosine_similarity(*against(scaffolds, known.scaffolds)),
        "filters": passing_share(smiles, shown=shown),
        **distances,
    }


def unique_at(smiles: Sequence[str]) -> dict[str, Estimate]:
    """Distinct molecules of the first 1,000 and 10,000 valid ones, where there are as many."""
    forms = [canonical_smiles(text) for text in smiles[: max(UNIQUE_AT)]]
    return {f"unique@{k}": unique_share(forms[:k]) for k in UNIQUE_AT if len(forms) >= k}


def nearest_similarity(
    bits_NW: np.ndarray, reference_RW: np.ndarray, *, shown: bool = False
) -> Estimate:
    """SNN: the mean Tanimoto similarity to the nearest of the reference, in [0, 1]."""
    nearest_N = np.zeros(len(bits_NW))
    with progress_bar("nearest", 0, len(bits_NW), "molecule", shown) as bar:
        for first in range(0, len(bits_NW), _CHUNK):
            rows_NF = _unpacked(bits_NW[first : first + _CHUNK])
            for start in range(0, len(reference_RW), _REFERENCE_CHUNK):
                columns_RF = _unpacked(reference_RW[start : start + _REFERENCE_CHUNK])
                found_N = tanimoto_matrix(rows_NF, columns_RF).max(axis=1)
                part = nearest_N[first : first + _CHUNK]
                np.maximum(part, found_N, out=part)
            bar.update(len(rows_NF))
    return mean_of(nearest_N.tolist())


def passing_share(smiles: Sequence[str], *, shown: bool = False) -> Estimate:
    """Filters: the share of molecules that pass them."""
    passes: dict[str, bool] = {}
    with progress_bar("filters", 0, len(smiles), "molecule", shown) as bar:
        for text in smiles:
            if text not in passes:
                passes[text] = passes_filters(molecule(text))
            bar.update()
    return share_of(sum(passes[text] for text in smiles), len(smiles))


def wasserstein_1(values_N: np.ndarray, reference_R: np.ndarray) -> Estimate:
    """W1, the area between two distribution functions F and G; in the values' unit.

    Its derivative towards a value x is the area under sign(F - G) beyond x, Kantorovich's
    potential.
    """
    if not len(values_N) or not len(reference_R):
        return NOTHING
    values_N, reference_R = np.sort(values_N), np.sort(reference_R)
    places = np.sort(np.concatenate([values_N, reference_R]))
    widths = np.diff(places)
    F = np.searchsorted(values_N, places[:-1], side="right") / len(values_N)
    G = np.searchsorted(reference_R, places[:-1], side="right") / len(reference_R)
    potential = -np.concatenate([[0.0], np.cumsum(np.sign(F - G) * widths)])
    influence_N = potential[np.searchsorted(places, values_N)]
    return by_influence(math.fsum(abs(F - G) * widths), influence_N)


def _unpacked(bits_NW: np.ndarray) -> np.ndarray:
    return np.unpackbits(bits_NW, axis=1).astype(np.float32)
