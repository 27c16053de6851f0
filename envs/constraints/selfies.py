"""SELFIES: nothing has to be forbidden.

Krenn, Häse, Nigam, Friederich and Aspuru-Guzik (2020), arXiv 1905.13741. Every sequence of SELFIES
tokens decodes to a molecule that obeys the valences: branch and ring tokens that do not fit are
read as fewer, or as none. The constraint exists so that a task can name the syntax of either
representation; it costs nothing.
"""

# Shapes: A actions
from __future__ import annotations

from dataclasses import dataclass

import torch

from .tokens import SameEverywhere


@dataclass(eq=False)
class SELFIES(SameEverywhere):
    """Allows everything: valid by construction."""

    def prepare(self) -> None:
        """See that the vocabulary is one of SELFIES."""
        if self.vocabulary.tokenization not in ("selfies", "smiles_as_selfies"):
            raise ValueError(
                f"{self} is for SELFIES and the vocabulary is of {self.vocabulary.tokenization}; "
                "use SMILESSyntax for SMILES"
            )
        A = self.vocabulary.num_actions
        self._allowed_A = torch.ones(A, dtype=torch.bool, device=self.device)
