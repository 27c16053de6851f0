"""What supervised learners reach, beside the limit where it is known: a table for each family.

    python -m benchmarks.supervised --data mine.txt

``--data`` adds a text to the built-in one. Cases run side by side, each in one thread of a process
of its own. Exits 1 when a floor is missed that one of the files beside this one states.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from ..results import CPU_SECONDS, Figures, Row, Study, parser_of, table
from . import adversarial, estimators, latent, limits, molecules, text
from .case import Case, Part

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
    folder: Path = Study("supervised", options).folder
    return folder


def places(options: argparse.Namespace) -> list[Place]:
    """Every case and seed, the first seeds first."""
    return [
        (part.name, case.label, seed)
        for seed in range(options.seeds)
        for part in parts(options)
        for case in part.cases
        if seed < case.seeds
    ]


def kept(study: Study, part: Part, case: Case, seed: int) -> Figures | None:
    """The figures of a case, computed where they are missing."""
    label = f"{part.name}, {case.label}" if case.label else part.name
    return study.case(label, seed, case.settings, partial(case.figures, seed))


def compute(options: argparse.Namespace, place: Place) -> None:
    """One case, kept by its study."""
    name, label, seed = place
    [part] = [part for part in parts(options) if part.name == name]
    [case] = [case for case in part.cases if case.label == label]
    kept(Study("supervised", options), part, case, seed)


def compute_side_by_side(options: argparse.Namespace) -> None:
    """All cases that are missing, in so many processes."""
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(partial(compute, options), places(options)):
            pass
    options.fresh = False


def main() -> int:
    """Measure what is missing, write the section; 1 where a floor is missed."""
    parser = parser_of(__doc__)
    parser.add_argument("--data", help="a text of yours, beside the built-in one")
    parser.add_argument("--text-seconds", type=float, default=300, help="CPU-seconds of its fit")
    parser.add_argument("--processes", type=int, default=2, help="how many run at a time")
    options = parser.parse_args()
    if options.processes > 1:
        compute_side_by_side(options)
    study = Study("supervised", options)
    shown, missed = [], []
    for part in parts(options):
        of_cases = []
        for case in part.cases:
            seeds = range(min(study.seeds, case.seeds))
            found = [kept(study, part, case, seed) for seed in seeds]
            of_cases.append(Row(case.label, [each for each in found if each is not None]))
        columns = {**part.columns, **({} if part.rows_within else {CPU_SECONDS: "CPU-seconds"})}
        shown += [f"### {part.name}", part.story, table(columns, part.rows(of_cases))]
        missed += [f"{part.name}: {each}" for each in part.missed(of_cases)]
    story = "One thread a case. Nats, and CPU-seconds with all that was measured, fits and figures."
    study.publish("Supervised learners", story, shown)
    for each in missed:
        print(f"missed: {each}")
    return int(bool(missed) and not study.quick)


if __name__ == "__main__":
    raise SystemExit(main())
