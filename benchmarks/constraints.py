"""What share of an untrained policy's molecules RDKit accepts, with and without ``SMILESSyntax``.

``python -m benchmarks.constraints`` samples 10,000 sequences each way from GRU policies with random
weights (the vocabulary of the built-in molecules, at most 66 tokens). "syntax" is what RDKit parses
without sanitising; "accepted" is what it accepts as a molecule, valences and aromaticity included.
The standard error is over the policies, a seed each.

Floor: with the constraint at least 99.9 % is syntax. Exits 1 when it is missed.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev

import torch
from rdkit import Chem, rdBase
from rich import box
from rich.console import Console
from rich.table import Table
from tokengym import GRUPolicy, make_task, sample
from tokengym.envs import Constraint, SMILESSyntax

FLOOR = 0.999


@dataclass(frozen=True)
class Result:
    """Shares of what was written one way, each with its standard error."""

    constraint: str
    sequences: int
    syntax: float
    syntax_error: float
    accepted: float
    accepted_error: float
    fallbacks: int
    seconds: float


def shares(texts: list[str]) -> tuple[float, float]:
    """The share that parses as SMILES and is not empty, and the share that is a molecule."""
    with rdBase.BlockLogs():
        parsed = [bool(t) and Chem.MolFromSmiles(t, sanitize=False) is not None for t in texts]
        accepted = [bool(t) and Chem.MolFromSmiles(t) is not None for t in texts]
    return mean(parsed), mean(accepted)


def measure(constraint: Constraint | None, sequences: int, policies: int) -> Result:
    """Sample from each policy; CPU seconds are of the sampling alone."""
    task = make_task("tokengym/Molecules-v0")
    syntax, accepted, seconds = [], [], 0.0
    for seed in range(policies):
        torch.manual_seed(seed)
        policy = GRUPolicy(task.vocabulary).eval()
        start = time.process_time()
        written = sample(
            policy, sequences // policies, max_length=66, seed=seed, constraint=constraint
        )
        seconds += time.process_time() - start
        found = shares(written.texts)
        syntax.append(found[0])
        accepted.append(found[1])
    return Result(
        constraint="none" if constraint is None else str(constraint),
        sequences=sequences // policies * policies,
        syntax=mean(syntax),
        syntax_error=stdev(syntax) / math.sqrt(policies),
        accepted=mean(accepted),
        accepted_error=stdev(accepted) / math.sqrt(policies),
        fallbacks=0 if constraint is None else constraint.fallbacks,
        seconds=seconds,
    )


def print_table(results: list[Result]) -> None:
    """The results, for people."""
    title = "an untrained policy's molecules, as RDKit sees them"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in ("constraint", "sequences", "syntax, %", "accepted, %", "fallbacks", "CPU s"):
        table.add_column(column, justify="left" if column == "constraint" else "right")
    for r in results:
        table.add_row(
            r.constraint,
            f"{r.sequences:,}",
            f"{100 * r.syntax:.2f} +- {100 * r.syntax_error:.2f}",
            f"{100 * r.accepted:.2f} +- {100 * r.accepted_error:.2f}",
            f"{r.fallbacks}",
            f"{r.seconds:.1f}",
        )
    Console().print(table)


def main() -> int:
    """Measure both ways; 1 when the floor is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    parser.add_argument("--sequences", type=int, default=10_000, help="how many each way")
    parser.add_argument("--policies", type=int, default=5, help="policies, at least 2")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = [
        measure(constraint, options.sequences, options.policies)
        for constraint in (None, SMILESSyntax())
    ]
    print_table(results)
    if options.json is not None:
        rows = [asdict(result) for result in results]
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    passed = results[-1].syntax >= FLOOR
    print(f"floor {100 * FLOOR:.1f} % syntax with the constraint: {'met' if passed else 'missed'}")
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
