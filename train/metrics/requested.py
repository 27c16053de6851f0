"""Figures that are made when they are asked for by name: they cost more, or need an extra.

docs/evaluation.md defines each figure and says what it costs.
"""

from __future__ import annotations

import difflib
import importlib.util
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ...agents.policies import Policy
from ...envs import Sequences
from .bleu import bleu_figures, self_bleu_figures
from .estimate import Estimate
from .hidden import hidden_mmd, output_layer
from .melodies import melody_figures
from .ngrams import Tokens, ngram_figures

if TYPE_CHECKING:
    from .molecule_reference import MoleculeReference  # RDKit is an extra

Figures = dict[str, Estimate]


@dataclass(frozen=True, kw_only=True)
class Material:
    """What the figures are made of."""

    texts: Sequence[str]
    """What was generated."""
    reference: Sequence[str]
    """What it is compared with."""
    domain: str
    """What a text is: ``"molecules"``, ``"melodies"`` or ``"text"``."""
    split: Callable[[str], Sequence[str]]
    """A text's tokens, of which n-grams are."""
    policy: Policy | None = None
    """Whose hidden states are compared."""
    sequences: tuple[Sequences, Sequences] | None = None
    """What was generated and what it is compared with, for the policy to read."""
    statistics: Path | None = None
    """The file that keeps the statistics of reference molecules."""
    progress_bar: bool = False
    """Show one over long work."""

    @cached_property
    def tokens(self) -> tuple[Tokens, Tokens]:
        """Those of the texts and of the reference."""
        return list(map(self.split, self.texts)), list(map(self.split, self.reference))

    @cached_property
    def molecules(self) -> tuple[list[str], MoleculeReference]:
        """The valid ones, and the reference's."""
        from .molecule_reference import MoleculeReference
        from .molecules import valid_molecules

        reference = MoleculeReference(
            self.reference, self.statistics, progress_bar=self.progress_bar
        )
        return valid_molecules(self.texts), reference


def _moses(material: Material) -> Figures:
    from .moses import moses_figures

    return moses_figures(*material.molecules, shown=material.progress_bar)


def _fcd(material: Material) -> Figures:
    from .fcd import fcd

    smiles, reference = material.molecules
    return {"fcd": fcd(smiles, reference.chemnet, shown=material.progress_bar)}


def _bleu(material: Material) -> Figures:
    texts, reference = material.tokens
    return bleu_figures(texts, reference) | self_bleu_figures(texts)


def _mmd(material: Material) -> Figures:
    assert material.policy is not None
    assert material.sequences is not None
    return {"mmd": hidden_mmd(material.policy, *material.sequences)}


@dataclass(frozen=True)
class Metric:
    """Figures that have a name together."""

    figures: Callable[[Material], Figures]
    domains: tuple[str, ...] = ("molecules", "melodies", "text")
    of_policy: bool = False
    module: str | None = None  # of the extra that is called as the metric


METRICS = {
    "moses": Metric(_moses, ("molecules",)),
    "fcd": Metric(_fcd, ("molecules",), module="fcd_torch"),
    "bleu": Metric(_bleu),
    "ngrams": Metric(lambda material: ngram_figures(*material.tokens)),
    "melodies": Metric(
        lambda material: melody_figures(material.texts, material.reference), ("melodies",)
    ),
    "mmd": Metric(_mmd, of_policy=True),
}
ALL = "all"


def metric_names(names: str) -> list[str]:
    """The names between the commas; those of ``METRICS`` or ``"all"``.

    Raises:
        ValueError: there is no such metric.
    """
    found = [name.strip() for name in names.split(",") if name.strip()]
    known = [*METRICS, ALL]
    for name in found:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1) or known
            raise ValueError(f"there is no metric {name!r}; did you mean {' or '.join(near)}?")
    return found


def requested_figures(names: str, material: Material) -> Figures:
    """The figures of the named metrics.

    Args:
        names: of ``METRICS``, with commas between; or ``"all"`` that the material allows, those
            left out with a warning that need what is not installed.
        material: what they are made of.

    Raises:
        ValueError: there is no metric of a name, it is not for this material, there is nothing to
            compare with, or statistics are to be kept that no metric asks for.
        ImportError: an extra is not installed.
    """
    chosen = metric_names(names)
    if ALL in chosen:
        chosen = _all(material)
    for name in chosen:
        if why := _unfit(name, material):
            raise ValueError(f"the metric {name} {why}")
        if why := _missing(name):
            raise ImportError(f"the metric {name} {why}")
    if chosen and not material.reference:
        raise ValueError(f"{', '.join(chosen)}: nothing to compare with; give --reference")
    if material.statistics is not None and not {"moses", "fcd"} & set(chosen):
        raise ValueError("statistics are kept for moses and fcd alone; ask for one of them")
    figures: Figures = {}
    for name in chosen:
        figures |= METRICS[name].figures(material)
    return figures


def _all(material: Material) -> list[str]:
    fit = [name for name in METRICS if _unfit(name, material) is None]
    for name in filter(_missing, fit):
        warnings.warn(f"{name} is left out: it {_missing(name)}", stacklevel=3)
    return [name for name in fit if _missing(name) is None]


def _unfit(name: str, material: Material) -> str | None:
    """Why a metric cannot be had of the material; None where it can."""
    metric = METRICS[name]
    if material.domain not in metric.domains:
        return f"is of {' and '.join(metric.domains)}, and this is {material.domain}"
    if metric.of_policy and (material.policy is None or output_layer(material.policy) is None):
        return (
            "needs a run, whose policy has a layer 'output' and reads no condition, and compares "
            "with the run's own data; leave it or --reference out"
        )
    return None


def _missing(name: str) -> str | None:
    """What a metric needs that is not installed."""
    module = METRICS[name].module
    if module is None or importlib.util.find_spec(module):
        return None
    return f"needs {module}; install it with pip install 'tokengym[{name}]'"
