"""How much faster B sequences are written at once than one environment after another.

``python -m benchmarks.envs`` steps tasks of 30 tokens and length 50, and molecules under
``SMILESSyntax``: the native vector form against Gymnasium's ``make_vec(id, B, "sync")``, and the
native Stable-Baselines3 form against its ``DummyVecEnv``, which both step single environments in a
loop. Where there are masks, an allowed action is drawn outside the time that is measured, and
asking for the masks is in it. CPU time, one torch thread; both forms take turns in one run, and
what is reported is their ratio, the mean of the repeats with its standard error. The reward is the
number of tokens, so that it is the environment that is measured. Last, the built-in molecules are
encoded, a text file's lines as batches of tokens.

Floors: the vector form 20 times at 64 environments and 80 times at 1,024; the Stable-Baselines3
form 15 times at 64; 50,000 molecules a second. Exits 1 when one is missed. No floor stands at the
Stable-Baselines3 form without masks whose episodes end anywhere: two of 64 end in a step, and
scoring two costs as much as scoring twenty.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from statistics import mean, stdev

import gymnasium as gym
import tokengym
import torch
from rich import box
from rich.console import Console
from rich.table import Table
from stable_baselines3.common.env_util import make_vec_env
from tokengym.envs import Constraint, MinimumLength, NoRepetition, SMILESSyntax, Vocabulary
from tokengym.envs.molecules import load_molecules

from .steppers import GymnasiumStepper, Player, StableBaselinesStepper, Stepper

SAME_STEP = gym.vector.AutoresetMode.SAME_STEP


@dataclass(frozen=True)
class Case:
    """Two forms of the same environments, and how many times faster the second has to be."""

    name: str
    num_envs: int
    floor: float | None
    slow: Callable[[], Stepper]
    fast: Callable[[], Stepper]
    slow_steps: int
    fast_steps: int


@dataclass(frozen=True)
class Result:
    """What came out of a case."""

    name: str
    size: int
    slow_per_second: float
    fast_per_second: float
    ratio: float
    standard_error: float
    floor: str
    passed: bool


class Length(tokengym.Reward):
    """The number of tokens."""

    name = "length"

    def __call__(self, sequences: tokengym.Sequences) -> tokengym.Scores:
        """Score B sequences."""
        return tokengym.Scores.of(self.name, sequences.lengths_B)


@lru_cache
def words(constraint: Constraint | None, end: bool) -> tokengym.Task:
    """30 tokens, an end token among them or none, length 50."""
    vocabulary = Vocabulary.from_tokens(map(str, range(30 - end)), "words", eos=end)
    return tokengym.Task(
        name="Words", vocabulary=vocabulary, max_length=50, reward=Length(), constraint=constraint
    )


@lru_cache
def molecules(constraint: Constraint) -> tokengym.Task:
    """Molecules of real data's tokens."""
    return tokengym.make_task("tokengym/Molecules-v0", reward=Length(), constraint=constraint)


TASKS = {
    "benchmarks/Length-v0": ("50 steps each", partial(words, NoRepetition(1), False)),
    "benchmarks/Ending-v0": ("ends anywhere", partial(words, MinimumLength(10), True)),
    "benchmarks/SMILES-v0": ("SMILES syntax", partial(molecules, SMILESSyntax())),
    "benchmarks/FreeLength-v0": ("50 steps, no masks", partial(words, None, False)),
    "benchmarks/FreeEnding-v0": ("anywhere, no masks", partial(words, None, True)),
}


def vector_case(id: str, num_envs: int, floor: float) -> Case:
    """The native vector form against Gymnasium's loop."""
    row_steps = 1600 if "SMILES" in id else 6400  # where the loop takes half a second a turn
    sync = {"vectorization_mode": "sync", "vector_kwargs": {"autoreset_mode": SAME_STEP}}
    return Case(
        name=f"vector, {TASKS[id][0]}",
        num_envs=num_envs,
        floor=floor,
        slow=partial(GymnasiumStepper, id, num_envs, **sync),
        fast=partial(GymnasiumStepper, id, num_envs, vectorization_mode="vector_entry_point"),
        slow_steps=max(3, row_steps // num_envs),
        fast_steps=max(50, 10 * row_steps // num_envs),
    )


def stable_baselines_case(id: str, num_envs: int, floor: float | None) -> Case:
    """The native Stable-Baselines3 form against its own loop."""
    return Case(
        name=f"SB3, {TASKS[id][0]}",
        num_envs=num_envs,
        floor=floor,
        slow=partial(StableBaselinesStepper, id, num_envs, make_vec_env),
        fast=partial(StableBaselinesStepper, id, num_envs, tokengym.make_sb3),
        slow_steps=100,
        fast_steps=2000,
    )


def cases() -> list[Case]:
    """Every case."""
    for id, (_, factory) in TASKS.items():
        tokengym.register_task(id, factory)
    masked = ["benchmarks/Length-v0", "benchmarks/Ending-v0", "benchmarks/SMILES-v0"]
    return [
        *(vector_case(id, B, floor) for id in masked for B, floor in ((64, 20.0), (1024, 80.0))),
        stable_baselines_case("benchmarks/Length-v0", 64, 15.0),
        stable_baselines_case("benchmarks/FreeLength-v0", 64, 15.0),
        stable_baselines_case("benchmarks/FreeEnding-v0", 64, None),
    ]


def measure(case: Case, repeats: int) -> Result:
    """Both forms take turns, the first of which warms up; a ratio is that of one turn."""
    slow, fast = Player(case.slow()), Player(case.fast())
    turns = [
        (slow.seconds_a_step(case.slow_steps), fast.seconds_a_step(case.fast_steps))
        for _ in range(repeats + 1)
    ][1:]
    ratios = [a / b for a, b in turns]
    return Result(
        name=case.name,
        size=case.num_envs,
        slow_per_second=case.num_envs / mean(a for a, _ in turns),
        fast_per_second=case.num_envs / mean(b for _, b in turns),
        ratio=mean(ratios),
        standard_error=stdev(ratios) / math.sqrt(repeats),
        floor="" if case.floor is None else f"{case.floor:g}",
        passed=case.floor is None or mean(ratios) >= case.floor,
    )


def measure_encoding(repeats: int, floor: float = 50_000) -> Result:
    """The built-in molecules as tokens, by the library's own call and by ``encode``."""
    texts, _ = load_molecules("wehi")
    vocabulary = Vocabulary.from_corpus(texts, "smiles")
    turns = []
    for _ in range(repeats + 1):
        times = [time.process_time()]
        for encode in (vocabulary.tokenizer.encode_batch_fast, vocabulary.encode):
            encode(list(texts))
            times.append(time.process_time())
        turns.append((times[1] - times[0], times[2] - times[1]))
    ratios = [a / b for a, b in turns[1:]]
    rate = len(texts) / mean(b for _, b in turns[1:])
    return Result(
        name="molecules encoded",
        size=len(texts),
        slow_per_second=len(texts) / mean(a for a, _ in turns[1:]),
        fast_per_second=rate,
        ratio=mean(ratios),
        standard_error=stdev(ratios) / math.sqrt(repeats),
        floor=f"{floor / 1000:g} k/s",
        passed=rate >= floor,
    )


def print_table(results: list[Result]) -> None:
    """The results, for people."""
    title = "thousand steps (molecules) a second of CPU time, and their ratio"
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("form", "rows", "loop", "native", "ratio", "floor"):
        table.add_column(column, justify="left" if column == "form" else "right", no_wrap=True)
    for r in results:
        table.add_row(
            r.name,
            f"{r.size:,}",
            f"{r.slow_per_second / 1000:,.1f}",
            f"{r.fast_per_second / 1000:,.0f}",
            f"{r.ratio:.1f} +- {r.standard_error:.1f}",
            r.floor and f"{r.floor} {'met' if r.passed else 'missed'}",
        )
    Console().print(table)


def main() -> int:
    """Measure every case; 1 when a floor is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    parser.add_argument("--repeats", type=int, default=15, help="turns of each form, at least 2")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = [measure(case, options.repeats) for case in cases()]
    results.append(measure_encoding(options.repeats))
    print_table(results)
    if options.json is not None:
        rows = [asdict(result) for result in results]
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
