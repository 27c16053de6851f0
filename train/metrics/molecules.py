"""Figures of a set of generated molecules.

Validity, uniqueness and novelty as MOSES defines them (Polykovskiy et al., 2020): the valid of all,
the distinct of the valid, those of the distinct that are not in the reference. Internal diversity
is one minus the mean Tanimoto similarity of pairs (Morgan fingerprints, radius 2, 1,024 bits);
unlike MOSES a molecule is not paired with itself.
"""

# Shapes: N molecules
from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ...rewards.molecules import QED, canonical_smiles
from ...rewards.molecules.fingerprints import morgan_bits
from ...rewards.sets.diversity import mean_similarities
from .estimate import NOTHING, Estimate, mean_of, share_of, unique_share

_MOST_PAIRED = 10_000  # molecules whose pairs are all looked at


def molecule_figures(texts: Sequence[str], reference: Iterable[str]) -> dict[str, Estimate]:
    """Validity, uniqueness, novelty, internal diversity and mean QED of the valid.

    Args:
        texts: what was generated, valid or not.
        reference: SMILES that are not new, usually the training data.
    """
    found = [canonical_smiles(text) for text in texts]
    valid = [smiles for smiles in found if smiles is not None]
    distinct = set(valid)
    known = {canonical_smiles(text) for text in reference}
    druglikeness = [q for q in QED().score_texts(valid) if q is not None]
    return {
        "validity": share_of(len(valid), len(texts)),
        "uniqueness": unique_share(valid),
        "novelty": share_of(len(distinct - known), len(distinct)),
        "internal_diversity": internal_diversity(valid),
        "qed": mean_of(druglikeness),
    }


def internal_diversity(smiles: Sequence[str]) -> Estimate:
    """One minus the mean Tanimoto similarity of all pairs of valid molecules.

    A U-statistic: its standard error is 2 sd(row means) / sqrt(N) (Hoeffding, 1948). Of more than
    10,000 molecules the first 10,000 are taken.
    """
    forms = smiles[:_MOST_PAIRED]
    N = len(forms)
    if N < 2:
        return NOTHING
    means_N = mean_similarities(morgan_bits(forms))
    error = 2 * float(means_N.std(ddof=1)) / math.sqrt(N)
    return Estimate(1.0 - float(means_N.mean()), error, N)
