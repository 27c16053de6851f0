"""Statistics of reference molecules, worked out when first wanted and kept in a file.

The file is safetensors with JSON in its header, as checkpoints are: loading it runs no code, and
what was cut short or changed is refused by its checksum. It belongs to one reference and one
version of RDKit: that of other molecules, or of another version, is refused too.
"""

# Shapes: R molecules of the reference, W = 128 bytes of a fingerprint, P = 512 features of ChemNet
from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from rdkit import rdBase
from torch import Tensor

from ...agents.checkpoint import load_checkpoint, save_checkpoint
from ...rewards.molecules.base import canonical_smiles
from .profiles import Profiles, profiles_of

if TYPE_CHECKING:
    from ...rewards.sets.fcd import Gaussian  # fcd_torch is an extra

FORMAT = "tokengym molecule statistics 1"


@dataclass(frozen=True)
class Totals:
    """What the profiles of the reference come to.

    Args:
        bits_RW: fingerprints, uint8, eight bits a byte.
        fragments: how often each fragment occurs.
        scaffolds: how often each scaffold occurs.
        properties: sorted, float64 (R,), by name.
    """

    bits_RW: np.ndarray
    fragments: dict[str, int]
    scaffolds: dict[str, int]
    properties: dict[str, np.ndarray]

    @classmethod
    def of(cls, profiles: Profiles) -> Totals:
        """Count and sort."""
        return cls(
            profiles.bits_NW,
            dict(Counter(chain.from_iterable(profiles.fragments))),
            dict(Counter(filter(None, profiles.scaffolds))),
            {name: np.sort(values_N) for name, values_N in profiles.properties.items()},
        )


class MoleculeReference:
    """The molecules that others are compared with.

    Args:
        smiles: they; what is no molecule is left out.
        path: where their statistics are kept; a file that is there is read.
        progress_bar: show one over long work.

    Raises:
        ValueError: the file is of another reference or another version of RDKit, or there is no
            molecule.
        CheckpointError: the file cannot be read.
    """

    def __init__(
        self, smiles: Sequence[str], path: str | Path | None = None, *, progress_bar: bool = False
    ) -> None:
        self.smiles = [text for text in smiles if canonical_smiles(text) is not None]
        if not self.smiles:
            raise ValueError(f"none of the {len(smiles)} texts of the reference is a molecule")
        self._path, self._shown = None if path is None else Path(path), progress_bar
        self._totals: Totals | None = None
        self._chemnet: Gaussian | None = None
        if self._path is not None and self._path.exists():
            self._load(self._path)

    @property
    def totals(self) -> Totals:
        """What MOSES compares, but for the next."""
        if self._totals is None:
            label = "reference"
            self._totals = Totals.of(profiles_of(self.smiles, label=label, shown=self._shown))
            self._save()
        return self._totals

    @property
    def chemnet(self) -> Gaussian:
        """Mean and covariance of ChemNet's features; needs fcd_torch."""
        if self._chemnet is None:
            from .fcd import chemnet_gaussian  # fcd_torch is an extra

            self._chemnet = chemnet_gaussian(self.smiles, label="reference", shown=self._shown)
            self._save()
        return self._chemnet

    def _stamp(self) -> dict[str, str]:
        """What a file has to agree in."""
        digest = hashlib.sha256("\n".join(self.smiles).encode()).hexdigest()
        return {"format": FORMAT, "rdkit": rdBase.rdkitVersion, "reference": digest}

    def _save(self) -> None:
        if self._path is None:
            return
        tensors: dict[str, Tensor] = {}
        state: dict[str, object] = {"stamp": self._stamp()}
        if (totals := self._totals) is not None:
            tensors["fingerprints"] = torch.from_numpy(totals.bits_RW)
            for name, values_R in totals.properties.items():
                tensors[f"property/{name}"] = torch.from_numpy(values_R)
            state |= {"fragments": totals.fragments, "scaffolds": totals.scaffolds}
        if (chemnet := self._chemnet) is not None:
            tensors["chemnet/mean"] = torch.from_numpy(chemnet.mean_P)
            tensors["chemnet/covariance"] = torch.from_numpy(chemnet.covariance_PP)
        save_checkpoint(self._path, tensors, state)

    def _load(self, path: Path) -> None:
        tensors, state = load_checkpoint(path)
        stamp = state.get("stamp") if isinstance(state, dict) else None
        if not isinstance(stamp, dict) or stamp.get("format") != FORMAT:
            raise ValueError(f"{path} holds no statistics of molecules; name another file")
        if different := [name for name, value in self._stamp().items() if stamp.get(name) != value]:
            raise ValueError(
                f"{path} holds the statistics of another {' and '.join(different)}; delete it to "
                "have them made anew, or name another file"
            )
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        if "fingerprints" in arrays:
            named = (name.partition("property/") for name in arrays)
            properties = {name: arrays[f"property/{name}"] for _, mark, name in named if mark}
            self._totals = Totals(
                arrays["fingerprints"], state["fragments"], state["scaffolds"], properties
            )
        if "chemnet/mean" in arrays:
            from ...rewards.sets.fcd import Gaussian

            self._chemnet = Gaussian(arrays["chemnet/mean"], arrays["chemnet/covariance"])
