"""ORGAN's repetition penalty (Guimaraes et al., 2017, arXiv 1705.10843, section 3).

Each reward is multiplied by the share of unique sequences in the batch, divided by how often the
sequence itself occurs, so that writing the same thing again and again does not pay.
"""

# Shapes: B sequences
from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from .base import Reward, Scores

if TYPE_CHECKING:
    from ..envs.sequences import Sequences


class RepetitionPenalty(Reward):
    """A factor in (0, 1]: (unique / B) / (times this one occurs), over the batch at hand.

    It depends on the whole batch; for a single sequence it is 1.

    Args:
        canonical: text -> canonical form or None; sequences with the same form are the same.
    """

    name = "repetition_penalty"
    range = (0.0, 1.0)
    microseconds = 2.0

    def __init__(self, canonical: Callable[[str], str | None] | None = None) -> None:
        self.canonical = canonical

    def __call__(self, sequences: Sequences) -> Scores:
        """Score B sequences."""
        texts = sequences.texts
        keys = texts if self.canonical is None else [self.canonical(t) or t for t in texts]
        counts = Counter(keys)
        share = len(counts) / max(len(keys), 1)
        values_B = torch.tensor(
            [share / counts[key] for key in keys], device=sequences.tokens_BT.device
        )
        return Scores.of(self.name, values_B)
