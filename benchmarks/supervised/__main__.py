"""What supervised learners reach, beside the limit where it is known.

    python -m benchmarks.supervised --only Markov --seeds 2 --json figures.json

CPU time of one thread. Prints a row for each figure, seed by seed, with its standard error over
samples; exits 1 when a floor is missed that one of their files states.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from . import adversarial, estimators, latent, limits, text
from .case import Row

Results = list[tuple[str, int, Row]]


def print_table(results: Results) -> None:
    """The rows, for people."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("case", "seed", "what", "value", "against", "CPU s"):
        right = column in ("seed", "value", "CPU s")
        table.add_column(column, justify="right" if right else "left")
    for name, seed, row in results:
        error = "" if row.se is None else f" +- {row.se:.2g}"
        seconds = "" if row.cpu_seconds is None else f"{row.cpu_seconds:.1f}"
        against = row.limit if row.passed else f"{row.limit} MISSED"
        table.add_row(name, str(seed), row.what, f"{row.value:.5g}{error}", against, seconds)
    Console().print(table)


def main() -> int:
    """Run every case, or those whose name holds a word; 1 when a floor is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--seeds", type=int, default=1, help="how many, from 0")
    parser.add_argument("--data", default="harbour", help="a text of yours for the case text")
    parser.add_argument("--text-seconds", type=float, default=60, help="CPU-seconds of that fit")
    parser.add_argument("--json", type=Path, help="write the rows to this file too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results: Results = []
    texts = text.cases(options.data, options.text_seconds)
    others = [*estimators.cases(), *adversarial.cases(), *latent.cases()]
    for case in [*limits.cases(), *others, *texts]:
        if options.only.lower() not in case.name.lower():
            continue
        for seed in range(options.seeds):
            print(f"{case.name}, seed {seed}", file=sys.stderr, flush=True)
            results += [(case.name, seed, row) for row in case.run(seed)]
    print_table(results)
    if options.json is not None:
        rows = [{"case": name, "seed": seed, **asdict(row)} for name, seed, row in results]
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0 if all(row.passed for _, _, row in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
