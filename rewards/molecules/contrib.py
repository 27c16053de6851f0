"""Two scores that RDKit ships as scripts and tables under its ``Contrib`` folder.

- ``sa_score``: synthetic accessibility, 1 (easy) to 10 (hard): Ertl and Schuffenhauer (2009),
  J. Cheminform. 1, 8.
- ``np_score``: natural product-likeness, about -5 to 5: Ertl, Roggo and Schuffenhauer (2008),
  J. Chem. Inf. Model. 48, 68; the model that RDKit ships was trained on open data.

Each table loads once, at the first score, in two to three seconds.
"""

from __future__ import annotations

import gzip
import importlib.util
import os
import pickle
import sys
from functools import lru_cache
from types import ModuleType

from rdkit import RDConfig

from .base import Molecule


def sa_score(molecule: Molecule) -> float:
    """Synthetic accessibility: 1 is easy to make, 10 is hard."""
    return float(_script("SA_Score", "sascorer").calculateScore(molecule))


def np_score(molecule: Molecule) -> float:
    """Natural product-likeness: the higher, the more like a natural product."""
    return float(_script("NP_Score", "npscorer").scoreMol(molecule, _np_model()))


@lru_cache
def _script(folder: str, name: str) -> ModuleType:
    path = _contributed(folder, f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"tokengym_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@lru_cache(maxsize=1)
def _np_model() -> dict[int, float]:
    # A pickle, but RDKit's own: a part of the installed package, as its scripts are.
    with gzip.open(_contributed("NP_Score", "publicnp.model.gz")) as file:
        model: dict[int, float] = pickle.load(file)
    return model


def _contributed(folder: str, name: str) -> str:
    path = os.path.join(RDConfig.RDContribDir, folder, name)
    if not os.path.exists(path):
        raise ImportError(f"this RDKit has no {path}; install the wheel from PyPI")
    return path
