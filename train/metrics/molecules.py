"""Figures of a set of generated molecules.

Validity, uniqueness and novelty as MOSES defines them (Polykovskiy et al., 2020): the valid of all,
the distinct of the valid, those of the distinct that are not in the reference. Internal diversity
is one minus the mean Tanimoto similarity of pairs (Morgan fingerprints, radius 2, 1,024 bits);
unlike MOSES a molecule is not paired with itself.
"""

# Shapes: N molecules, F = 1024 bits
from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from rdkit import DataStructs
from rdkit.Chem import rdFingerprintGenerator

from ...rewards.molecules import QED, canonical_smiles, molecule
from .estimate import LEAST, NOTHING, Estimate, mean_of, share_of, unique_share

BITS = 1024
_CHUNK = 1024  # rows of the similarity matrix at once
_MOST_PAIRED = 10_000  # molecules whose pairs are all looked at


def molecule_figures(texts: Sequence[str], reference: Iterable[str]) -> dict[str, Estimate]:
    """Validity, uniqueness, novelty, internal diversity and mean QED of the valid.

    Args:
        texts: what was generated, valid or not.
        reference: SMILES that are not new, usually the training data.
    """
    forms = {text: canonical_smiles(text) for text in texts}
    written = [text for text in texts if forms[text] is not None]  # RDKit may not read its own form
    valid = [forms[text] for text in written]
    distinct = set(valid)
    known = {canonical_smiles(text) for text in reference}
    druglikeness = [q for q in QED().score_texts(written) if q is not None]
    return {
        "validity": share_of(len(valid), len(texts)),
        "uniqueness": unique_share(valid),
        "novelty": share_of(len(distinct - known), len(distinct)),
        "internal_diversity": internal_diversity(written),
        "qed": mean_of(druglikeness),
    }


def internal_diversity(smiles: Sequence[str]) -> Estimate:
    """One minus the mean Tanimoto similarity of all pairs of valid molecules.

    A U-statistic: its standard error is 2 sd(row means) / sqrt(N) (Hoeffding, 1948). Of more than
    10,000 molecules the first 10,000 are taken.
    """
    bits_NF = fingerprints(smiles[:_MOST_PAIRED])
    N = len(bits_NF)
    if N < 2:
        return NOTHING
    counts_N = bits_NF.sum(axis=1)
    row_means = []
    for first in range(0, N, _CHUNK):
        rows = slice(first, first + _CHUNK)
        common = bits_NF[rows] @ bits_NF.T
        union = counts_N[rows, None] + counts_N - common
        similarity = np.divide(common, union, out=np.ones_like(common), where=union > 0)
        row_means.append((similarity.sum(axis=1) - 1.0) / (N - 1))
    means_N = np.concatenate(row_means)
    error = 2 * float(means_N.std(ddof=1)) / math.sqrt(N) if N >= LEAST else math.nan
    return Estimate(1.0 - float(means_N.mean()), error, N)


def fingerprints(smiles: Sequence[str]) -> np.ndarray:
    """Morgan fingerprints, float32 (N, 1024) of 0 and 1."""
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=BITS)
    table = np.zeros((len(smiles), BITS), np.float32)
    for row, text in zip(table, smiles, strict=True):
        DataStructs.ConvertToNumpyArray(generator.GetFingerprint(molecule(text)), row)
    return table
