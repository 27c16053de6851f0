"""What supervised learners reach, beside the limit where it is known: a table for each family.

    python -m benchmarks.supervised --data mine.txt

``--data`` adds a text to the built-in one. Cases run side by side, each in one thread of a process
of its own. Exits 1 when a floor is missed that one of the files beside this one states.
"""

from __future__ import annotations

from ..results import CPU_SECONDS, Row, Study, parser_of, table
from .parts import NAME, compute_side_by_side, kept, parts


def main() -> int:
    """Measure what is missing, write the section; 1 where a floor is missed."""
    parser = parser_of(__doc__)
    parser.add_argument("--data", help="a text of yours, beside the built-in one")
    parser.add_argument("--text-seconds", type=float, default=300, help="CPU-seconds of its fit")
    parser.add_argument("--processes", type=int, default=2, help="how many run at a time")
    options = parser.parse_args()
    if options.processes > 1:
        compute_side_by_side(options)
    study = Study(NAME, options)
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
