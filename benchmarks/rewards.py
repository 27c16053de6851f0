"""What the reward layer costs beside the objectives themselves.

``python -m benchmarks.rewards`` measures, in CPU time of one torch thread (each case says of what):

- memory: known sequences a second that the memo in memory answers; floor 1,000,000
- SQLite: the same from a file whose pages are in memory; floor 100,000
- known, fresh, checked: microseconds a sequence and component that the layer adds to a batch
  objective over 1,024 decoded texts: all known, none known, without a memo; floor: below 2

and in wall time, since other processes do the work:

- worker: how many times cheaper a batch of 64 is by a persistent worker in Python than by starting
  that worker for it; floor 100. It computes and imports nothing: one with RDKit starts later still
- processes: how many times faster two worker processes of ``executor=`` compute QED over 20,000
  molecules than one does; floor 1.7. It is judged where two cores are free, by the load average as
  the benchmark begins; the figure is printed anyway

A case is a function that measures once; it runs several times, and what is shown is the mean with
its standard error. Exits 1 when a case misses its floor.
"""

# Shapes: B sequences
from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import tokengym
import torch
from rich.console import Console
from rich.table import Table
from tokengym.rewards import QED, FunctionObjective, Memo, SQLiteMemo
from tokengym.rewards.workers import ExternalProgram

B = 1024
LENGTH = 40  # characters of a text, as of a drug-like molecule
LOAD = os.getloadavg()[0]  # before the measurements add to it
CALLS = 50  # batches that one measurement takes


@dataclass(frozen=True)
class Case:
    """One figure: how it is measured once, and the floor or ceiling that it keeps."""

    name: str
    unit: str
    measure: Callable[[int], float]  # of the seed
    at_least: float = 0.0
    below: float = math.inf
    repeats: int | None = None  # where each of them is long
    cores: int = 1


@dataclass(frozen=True)
class Result:
    """What came out of a case."""

    name: str
    unit: str
    value: float
    standard_error: float
    floor: str
    passed: bool
    judged: bool


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


def worker(seed: int) -> float:
    """Wall time of a batch by a worker that is started for it, by that of one that runs."""
    batch = random_texts(seed)[:64]
    running = constant_worker()
    for _ in range(100):
        running.score(batch)
    kept = wall_seconds(lambda: [running.score(batch) for _ in range(1000)]) / 1000
    running.close()

    def start_and_score() -> None:
        one = constant_worker()
        one.score(batch)
        one.close()

    started = mean(wall_seconds(start_and_score) for _ in range(10))
    return started / kept


def constant_worker() -> ExternalProgram:
    """The smallest worker in Python."""
    program = "import tokengym_worker as w; w.serve(lambda texts: [0.5] * len(texts), name='half')"
    return ExternalProgram([sys.executable, "-c", program])


def processes(seed: int) -> float:
    """Wall time of QED in one worker process, by that in two."""
    smiles = molecules(20_000)
    seconds = []
    for executor in (1, 2) if seed % 2 else (2, 1):  # so that a drift of the load favours neither
        qed = QED(memo=False, executor=executor)
        qed.score_texts(smiles[:64])
        seconds.append(wall_seconds(partial(qed.score_texts, smiles)))
        qed.close()
    return seconds[0] / seconds[1] if seed % 2 else seconds[1] / seconds[0]


def molecules(count: int) -> list[str]:
    """RDKit's drug-like molecules, from the first again where there are not enough."""
    task = tokengym.make_task("tokengym/Molecules-v0")
    assert task.data is not None
    return list(itertools.islice(itertools.cycle(task.data.texts), count))


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


def wall_seconds(run: Callable[[], object]) -> float:
    """Wall time of a call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def cases() -> list[Case]:
    """Every case; more are added here."""
    layer = "us a sequence"
    return [
        Case("memo in memory", "known a second", memory, at_least=1e6),
        Case("memo in SQLite", "known a second", sqlite, at_least=1e5),
        Case("layer, all known", layer, known, below=2.0),
        Case("layer, none known", layer, fresh, below=2.0),
        Case("layer, no memo", layer, checked, below=2.0),
        Case("persistent worker", "times cheaper than a start", worker, at_least=100.0),
        Case("two processes", "times one, QED", processes, at_least=1.7, repeats=2, cores=2),
    ]


def measure(case: Case, repeats: int) -> Result:
    """Run a case once to warm up, then ``repeats`` times."""
    if case.repeats is None:
        case.measure(repeats)
    values = [case.measure(seed) for seed in range(case.repeats or repeats)]
    floor = (
        f"at least {case.at_least:,.{1 if case.at_least < 10 else 0}f}"
        if case.at_least > 0
        else f"below {case.below:g}"
    )
    value = mean(values)
    return Result(
        name=case.name,
        unit=case.unit,
        value=value,
        standard_error=stdev(values) / math.sqrt(len(values)),
        floor=floor,
        passed=case.at_least <= value < case.below,
        judged=case.cores == 1 or (os.cpu_count() or 1) - LOAD > case.cores - 0.5,
    )


def print_table(results: list[Result]) -> None:
    """The results, for people."""
    table = Table(title=f"the reward layer; batches of {B:,}, texts of {LENGTH} characters")
    for column in ("case", "measured", "", "floor", ""):
        table.add_column(column, justify="right" if column == "measured" else "left")
    for r in results:
        shown = [f"{x:,.0f}" if r.value > 1000 else f"{x:.3f}" for x in (r.value, r.standard_error)]
        verdict = "met" if r.passed else "missed" if r.judged else "cores are not free"
        table.add_row(r.name, " +- ".join(shown), r.unit, r.floor, verdict)
    Console().print(table)
    Console().print(f"load average {LOAD:.2f} of {os.cpu_count()} cores as the benchmark began")


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
    return 0 if all(result.passed or not result.judged for result in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
