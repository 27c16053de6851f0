"""How much faster the native vector form is than one environment after another.

``python -m benchmarks.envs`` steps tasks of 30 tokens and length 50 with action masks, and
molecules under ``SMILESSyntax``: once as Gymnasium's ``make_vec(..., vectorization_mode="sync")``,
which steps single environments in a loop, once natively. Random allowed actions are drawn outside
the time that is measured; CPU time, one torch thread; both forms take turns in one run, and what is
reported is their ratio, the mean of the repeats with its standard error.

Floors: 20 times at 64 environments, 80 times at 1,024. Exits 1 when a case misses its floor. The
case of 64 environments whose episodes end anywhere measured 16.8 ± 0.9 and misses it: about two
episodes end in a step, and scoring two costs as much as scoring twenty.
"""

# Shapes: B = num_envs, A actions
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
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import tokengym
import torch
from rich.console import Console
from rich.table import Table
from tokengym.envs import Constraint, MinimumLength, NoRepetition, SMILESSyntax


class Stepper(Protocol):
    """B environments behind the two calls that are measured."""

    def reset(self) -> np.ndarray:
        """Begin; the mask of the first actions, (B, A)."""
        ...

    def step(self, actions_B: np.ndarray) -> np.ndarray:
        """Step; the mask of the next actions, (B, A)."""
        ...


class GymnasiumStepper:
    """A Gymnasium vector environment."""

    def __init__(self, id: str, num_envs: int, mode: str) -> None:
        kwargs: Any = {"vectorization_mode": mode}
        if mode == "sync":
            same_step = gym.vector.AutoresetMode.SAME_STEP
            kwargs["vector_kwargs"] = {"autoreset_mode": same_step}
        self._env = gym.make_vec(id, num_envs, **kwargs)

    def reset(self) -> np.ndarray:
        """Begin."""
        mask_BA: np.ndarray = self._env.reset(seed=0)[1]["action_mask"]
        return mask_BA

    def step(self, actions_B: np.ndarray) -> np.ndarray:
        """Step."""
        mask_BA: np.ndarray = self._env.step(actions_B)[4]["action_mask"]
        return mask_BA


@dataclass(frozen=True)
class Case:
    """Two forms of the same environments, and how many times faster the second has to be."""

    name: str
    num_envs: int
    floor: float
    slow: Callable[[], Stepper]
    fast: Callable[[], Stepper]
    slow_steps: int
    fast_steps: int


@dataclass(frozen=True)
class Result:
    """What came out of a case."""

    name: str
    num_envs: int
    slow_steps_per_second: float
    fast_steps_per_second: float
    ratio: float
    standard_error: float
    floor: float

    @property
    def passed(self) -> bool:
        """Whether the floor is met."""
        return self.ratio >= self.floor


class Length(tokengym.Reward):
    """The number of tokens: it is the environment that is measured, and no reward."""

    name = "length"

    def __call__(self, sequences: tokengym.Sequences) -> tokengym.Scores:
        """Score B sequences."""
        return tokengym.Scores.of(self.name, sequences.lengths_B)


@lru_cache
def words(constraint: Constraint, end: bool) -> tokengym.Task:
    """30 tokens, an end token among them or none, length 50."""
    vocabulary = tokengym.Vocabulary.from_tokens(map(str, range(30 - end)), "words", eos=end)
    return tokengym.Task(
        name="Words", vocabulary=vocabulary, max_length=50, reward=Length(), constraint=constraint
    )


@lru_cache
def molecules(constraint: Constraint) -> tokengym.Task:
    """Molecules of real data's tokens."""
    return tokengym.make_task("tokengym/Molecules-v0", reward=Length(), constraint=constraint)


def cases() -> list[Case]:
    """Every case; more forms are added here."""
    tasks = [
        ("native, 50 steps each", partial(words, NoRepetition(1), False), {64: 20.0, 1024: 80.0}),
        ("native, ends anywhere", partial(words, MinimumLength(10), True), {64: 20.0, 1024: 80.0}),
        ("native, SMILES syntax", partial(molecules, SMILESSyntax()), {64: 20.0, 1024: 80.0}),
    ]
    found = []
    for number, (name, factory, floors) in enumerate(tasks):
        id = f"benchmarks/Task{number}-v0"
        tokengym.register_task(id, factory)
        for num_envs, floor in floors.items():
            found.append(
                Case(
                    name=name,
                    num_envs=num_envs,
                    floor=floor,
                    slow=partial(GymnasiumStepper, id, num_envs, "sync"),
                    fast=partial(GymnasiumStepper, id, num_envs, "vector_entry_point"),
                    slow_steps=max(3, 1600 // num_envs),
                    fast_steps=12_800 // num_envs + 50,
                )
            )
    return found


def allowed_actions(mask_BA: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of the allowed actions in each row, every one as probable."""
    actions_B: np.ndarray = (rng.random(mask_BA.shape) * mask_BA).argmax(axis=1)
    return actions_B


def seconds_a_step(stepper: Stepper, mask_BA: np.ndarray, steps: int) -> tuple[float, np.ndarray]:
    """CPU seconds that one step takes, and the mask after the last."""
    rng = np.random.default_rng(steps)
    total = 0.0
    for _ in range(steps):
        actions_B = allowed_actions(mask_BA, rng)
        start = time.process_time()
        mask_BA = stepper.step(actions_B)
        total += time.process_time() - start
    return total / steps, mask_BA


def measure(case: Case, repeats: int) -> Result:
    """Both forms take turns; what is compared are the steps of one turn."""
    slow, fast = case.slow(), case.fast()
    slow_mask, fast_mask = slow.reset(), fast.reset()
    _, slow_mask = seconds_a_step(slow, slow_mask, case.slow_steps)  # warm up
    _, fast_mask = seconds_a_step(fast, fast_mask, case.fast_steps)
    slow_times, fast_times = [], []
    for _ in range(repeats):
        seconds, slow_mask = seconds_a_step(slow, slow_mask, case.slow_steps)
        slow_times.append(seconds)
        seconds, fast_mask = seconds_a_step(fast, fast_mask, case.fast_steps)
        fast_times.append(seconds)
    ratios = [a / b for a, b in zip(slow_times, fast_times, strict=True)]
    return Result(
        name=case.name,
        num_envs=case.num_envs,
        slow_steps_per_second=case.num_envs / mean(slow_times),
        fast_steps_per_second=case.num_envs / mean(fast_times),
        ratio=mean(ratios),
        standard_error=stdev(ratios) / math.sqrt(repeats),
        floor=case.floor,
    )


def print_table(results: list[Result]) -> None:
    """The results, for people."""
    table = Table(title="environment steps a second of CPU time, and their ratio")
    for column in ("form", "rows", "one by one", "at once", "ratio", "floor", ""):
        table.add_column(column, justify="left" if column == "form" else "right")
    for r in results:
        table.add_row(
            r.name,
            f"{r.num_envs:,}",
            f"{r.slow_steps_per_second:,.0f}",
            f"{r.fast_steps_per_second:,.0f}",
            f"{r.ratio:.1f} +- {r.standard_error:.1f}",
            f"{r.floor:g}",
            "met" if r.passed else "missed",
        )
    Console().print(table)


def main() -> int:
    """Measure every case; 1 when a floor is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    parser.add_argument("--repeats", type=int, default=7, help="turns of each form, at least 2")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = [measure(case, options.repeats) for case in cases()]
    print_table(results)
    if options.json is not None:
        rows = [asdict(result) | {"passed": result.passed} for result in results]
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
