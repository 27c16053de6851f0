"""Figures of a set of generated molecules.

Validity, uniqueness and novelty as MOSES defines them (Polykovskiy et al., 2020): the valid of all,
the distinct of the valid, those of the distinct that are not in the reference. Internal diversity
is one minus the mean Tanimoto similarity of pairs (Morgan fingerprints, radius 2, 1,024 bits);
unlike MOSES a molecule is not paired with itself.
What compares molecules with a reference is in moses.py.
"""

# Shapes: N molecules
from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...rewards.molecules import QED, canonical_smiles
from ...rewards.molecules.fingerprints import morgan_bits
from ...rewards.sets.diversity import mean_similarities
from .estimate import NOTHING, Estimate, by_influence, mean_of, share_of, unique_share

_MOST_PAIRED = 10_000  # molecules whose pairs are all looked at


def molecule_figures(texts: Sequence[str], reference: Iterable[str]) -> dict[str, Estimate]:
    """Validity, uniqueness, novelty, internal diversity and mean QED of the valid.

    Args:
        texts: what was generated, valid or not.
        reference: SMILES that are not new, usually the training data.
    """
    written = valid_molecules(texts)
    valid = [canonical_smiles(text) for text in written]
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


def valid_molecules(texts: Sequence[str]) -> list[str]:
    """Those that RDKit accepts, in their order."""
    return [text for text in texts if canonical_smiles(text) is not None]


def internal_diversity(smiles: Sequence[str], power: int = 1) -> Estimate:
    """IntDiv_p: one minus the power mean of the Tanimoto similarities of all pairs.

    1 - (mean similarity^p)^(1/p) of valid molecules, p the power; the mean is a U-statistic, whose
    standard error is 2 sd(row means) / sqrt(N) (Hoeffding, 1948). Of more than 10,000 molecules the
    first 10,000 are taken.
    """
    forms = smiles[:_MOST_PAIRED]
    if len(forms) < 2:
        return NOTHING
    means_N = mean_similarities(morgan_bits(forms), power)
    mean = float(means_N.mean())
    root = mean ** (1 / power)
    slope = root / (power * mean) if mean else 0.0  # of the root, at the mean
    return by_influence(1.0 - root, 2 * slope * means_N)
