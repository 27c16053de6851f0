"""What the reward layer costs beside the objectives themselves.

``python -m benchmarks.rewards`` measures, in CPU time of one torch thread (each case says of what):

- memory: known sequences a second that the memo in memory answers; floor 1,000,000
- SQLite: the same from a file whose pages are in memory; floor 100,000
- known, fresh, checked: microseconds a sequence and component that the layer adds to a batch
  objective over 1,024 decoded texts: all known, none known, without a memo; floor: below 2

A case is a function that measures once; it runs several times, and what is shown is the mean with
its standard error. Exits 1 when a case misses its floor.
"""

# Shapes: B sequences
from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import tokengym
import torch
from rich.console import Console
from rich.table import Table
from tokengym.rewards import FunctionObjective, Memo, SQLiteMemo

B = 1024
LENGTH = 40  # characters of a text, as of a drug-like molecule
CALLS = 50  # batches that one measurement takes


@dataclass(frozen=True)
class Case:
    """One figure: how it is measured once, and the floor or ceiling that it keeps."""

    name: str
    unit: str
    measure: Callable[[int], float]  # of the seed
    at_least: float = 0.0
    below: float = math.inf


@dataclass(frozen=True)
class Result:
    """What came out of a case."""

    name: str
    unit: str
    value: float
    standard_error: float
    floor: str
    passed: bool


def memory(seed: int) -> float:
    """Known keys a second, asked for in batches of 1,024 out of 50 times as many."""
    memo = Memo()
    return known_a_second(memo, seed)


def sqlite(seed: int) -> float:
    """The same from a file."""
    with tempfile.TemporaryDirectory() as folder:
        memo = SQLiteMemo(Path(folder) / "scores.sqlite", "benchmark")
        try:
            return known_a_second(memo, seed)
        finally:
            memo.close()


def known_a_second(memo: Memo, seed: int) -> float:
    """Fill a memo, then ask it for what it knows."""
    batches = [random_texts(seed, call) for call in range(CALLS)]
    for batch in batches:
        memo.put_many(dict.fromkeys(batch, 0.5))
    batches = [random_texts(seed, call) for call in range(CALLS)]  # equal, not the same objects
    seconds = cpu_seconds(lambda: [memo.get_many(batch) for batch in batches])
    return B * CALLS / seconds


def known(seed: int) -> float:
    """The layer over known sequences; the objective itself is not called."""
    objective = FunctionObjective(halves)
    batches = [random_sequences(seed, call) for call in range(CALLS)]
    for batch in batches:
        objective(batch)
    return microseconds(lambda: [objective(batch) for batch in batches])


def fresh(seed: int) -> float:
    """The layer over sequences that nobody has seen, without the function's own time."""
    return overhead(seed, memo=True)


def checked(seed: int) -> float:
    """The layer without a memo, without the function's own time."""
    return overhead(seed, memo=False)


def overhead(seed: int, *, memo: bool) -> float:
    """Microseconds a sequence that a call costs above the function's own."""
    objective = FunctionObjective(halves, memo=memo)
    batches = [random_sequences(seed, call) for call in range(CALLS)]
    alone = microseconds(lambda: [halves(batch.texts) for batch in batches])
    return microseconds(lambda: [objective(batch) for batch in batches]) - alone


def halves(texts: list[str]) -> list[float]:
    """A trivial objective of a batch."""
    return [0.5] * len(texts)


def random_texts(*seed: int) -> list[str]:
    """B texts of 40 letters."""
    letters = np.random.default_rng(seed).integers(97, 123, (B, LENGTH), np.uint8)
    return [row.tobytes().decode() for row in letters]


def random_sequences(*seed: int) -> tokengym.Sequences:
    """B sequences, decoded already."""
    vocabulary = tokengym.Vocabulary.from_tokens(map(chr, range(97, 123)), "characters")
    sequences = vocabulary.encode(random_texts(*seed))
    assert sequences.texts
    return sequences


def microseconds(run: Callable[[], object]) -> float:
    """CPU microseconds a sequence."""
    return 1e6 * cpu_seconds(run) / (B * CALLS)


def cpu_seconds(run: Callable[[], object]) -> float:
    """CPU time of a call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def cases() -> list[Case]:
    """Every case; more are added here."""
    layer = "us a sequence"
    return [
        Case("memo in memory", "known a second", memory, at_least=1e6),
        Case("memo in SQLite", "known a second", sqlite, at_least=1e5),
        Case("layer, all known", layer, known, below=2.0),
        Case("layer, none known", layer, fresh, below=2.0),
        Case("layer, no memo", layer, checked, below=2.0),
    ]


def measure(case: Case, repeats: int) -> Result:
    """Run a case once to warm up, then ``repeats`` times."""
    case.measure(repeats)
    values = [case.measure(seed) for seed in range(repeats)]
    floor = f"at least {case.at_least:,.0f}" if case.at_least > 0 else f"below {case.below:g}"
    value = mean(values)
    return Result(
        name=case.name,
        unit=case.unit,
        value=value,
        standard_error=stdev(values) / math.sqrt(repeats),
        floor=floor,
        passed=case.at_least <= value < case.below,
    )


def print_table(results: list[Result]) -> None:
    """The results, for people."""
    table = Table(title=f"the reward layer; batches of {B:,}, texts of {LENGTH} characters")
    for column in ("case", "measured", "", "floor", ""):
        table.add_column(column, justify="right" if column == "measured" else "left")
    for r in results:
        shown = [f"{x:,.0f}" if r.value > 1000 else f"{x:.3f}" for x in (r.value, r.standard_error)]
        verdict = "met" if r.passed else "missed"
        table.add_row(r.name, " +- ".join(shown), r.unit, r.floor, verdict)
    Console().print(table)


def main() -> int:
    """Measure every case; 1 when a floor is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    parser.add_argument("--repeats", type=int, default=7, help="measurements, at least 2")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = [measure(case, options.repeats) for case in cases()]
    print_table(results)
    if options.json is not None:
        rows = [asdict(result) for result in results]
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
