"""Every table of the benchmark, and its cases computed side by side in processes of their own."""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from ..results import Figures, Study
from . import adversarial, estimators, latent, limits, molecules, text
from .case import Case, Part

NAME = "supervised"
Place = tuple[str, str, int]  # a part's name, a case's label, a seed


def parts(options: argparse.Namespace) -> list[Part]:
    """Every table."""
    quick, folder = bool(options.quick), folder_of(options)
    return [
        *limits.parts(quick),
        latent.part(quick),
        molecules.part(folder, quick),
        text.part(options.data, options.text_seconds, quick),
        *adversarial.parts(quick),
        estimators.part(quick),
    ]


def folder_of(options: argparse.Namespace) -> Path:
    """Where the study keeps its cases, and what they share."""
    folder: Path = Study(NAME, options).folder
    return folder


def kept(study: Study, part: Part, case: Case, seed: int) -> Figures | None:
    """The figures of a case, computed where they are missing."""
    label = f"{part.name}, {case.label}" if case.label else part.name
    return study.case(label, seed, case.settings, partial(case.figures, seed))


def compute_side_by_side(options: argparse.Namespace) -> None:
    """All cases that are missing, in so many processes; the first seeds first."""
    places = [
        (part.name, case.label, seed)
        for seed in range(options.seeds)
        for part in parts(options)
        for case in part.cases
        if seed < case.seeds
    ]
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(partial(compute, options), places):
            pass
    options.fresh = False


def compute(options: argparse.Namespace, place: Place) -> None:
    """One case, kept by its study."""
    name, label, seed = place
    [part] = [part for part in parts(options) if part.name == name]
    [case] = [case for case in part.cases if case.label == label]
    kept(Study(NAME, options), part, case, seed)
