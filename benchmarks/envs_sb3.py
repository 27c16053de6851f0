"""How much faster the native Stable-Baselines3 form steps than ``DummyVecEnv``.

``python -m benchmarks.envs_sb3 [--json FILE]`` steps 64 sequences of 30 tokens and length 50 with
random actions: once as Stable-Baselines3's ``make_vec_env(id)`` makes them, once as
``tokengym.make_sb3(id)`` does. CPU time, one torch thread; both forms take turns in one run on the
same actions, and what is reported is the ratio of their times, the mean of the repeats with its
standard error.

Floor: 15 times where all sequences have the same length. Exits 1 when that is missed. Where one of
the tokens is an end token, a few sequences end at almost every step and are scored by a call of
their own, which costs both forms about the same; that ratio is printed, and has no floor.
"""

# Shapes: S steps, B = 64 sequences at once
from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import tokengym
import torch
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv
from tokengym import Task, Vocabulary

FLOOR = 15.0
NUM_ENVS = 64
STEPS = {"DummyVecEnv": 100, "TokenVecEnv": 500}  # a turn; the native form needs more to be timed


@dataclass(frozen=True)
class Result:
    """What came out of a task."""

    name: str
    num_envs: int
    dummy_steps_per_second: float
    native_steps_per_second: float
    ratio: float
    standard_error: float
    floor: float | None

    @property
    def passed(self) -> bool:
        """Whether the floor is met."""
        return self.floor is None or self.ratio >= self.floor


def words(*, eos: bool, **more: Any) -> Task:
    """30 tokens, an end token among them or not, length 50; a reward that costs next to nothing."""
    vocabulary = Vocabulary.from_tokens(map(str, range(30 - eos)), "words", eos=eos)

    @tokengym.objective
    def length(texts: list[str]) -> list[float | None]:
        return [len(text) / 150 for text in texts]

    return Task(name="Words", vocabulary=vocabulary, max_length=50, reward=length, **more)


def seconds_a_step(env: VecEnv, steps: int, seed: int) -> float:
    """CPU seconds that one step takes, and asking for the masks where the task has some."""
    rng = np.random.default_rng(seed)
    masked = env.has_attr("action_masks")
    masks_BA = np.ones((NUM_ENVS, 30))
    env.reset()
    total = 0.0
    for _ in range(steps):
        if masked:
            start = time.process_time()
            masks_BA = np.stack(env.env_method("action_masks"))
            total += time.process_time() - start
        actions_B = (rng.random(masks_BA.shape) * masks_BA).argmax(axis=1)
        start = time.process_time()
        env.step(actions_B)
        total += time.process_time() - start
    return total / steps


def measure(name: str, id: str, floor: float | None, repeats: int) -> Result:
    """Both forms take turns; what is compared are the steps of one turn."""
    dummy, native = make_vec_env(id, NUM_ENVS), tokengym.make_sb3(id, NUM_ENVS)
    times: list[tuple[float, float]] = []
    for repeat in range(repeats + 1):
        slow = seconds_a_step(dummy, STEPS["DummyVecEnv"], repeat)
        times.append((slow, seconds_a_step(native, STEPS["TokenVecEnv"], repeat)))
    times = times[1:]  # the first turn warms up
    ratios = [slow / fast for slow, fast in times]
    return Result(
        name=name,
        num_envs=NUM_ENVS,
        dummy_steps_per_second=NUM_ENVS / mean(slow for slow, _ in times),
        native_steps_per_second=NUM_ENVS / mean(fast for _, fast in times),
        ratio=mean(ratios),
        standard_error=stdev(ratios) / math.sqrt(repeats),
        floor=floor,
    )


def main() -> int:
    """Measure every task; 1 when a floor is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    parser.add_argument("--repeats", type=int, default=9, help="turns of each form, at least 2")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tokengym.register_task("benchmarks/Fixed-v0", words, eos=False)
    tokengym.register_task("benchmarks/Ending-v0", words, eos=True)
    results = [
        measure("same length", "benchmarks/Fixed-v0", FLOOR, options.repeats),
        measure("with an end token", "benchmarks/Ending-v0", None, options.repeats),
    ]
    for r in results:
        floor = "" if r.floor is None else f"; floor {r.floor:g}"
        print(
            f"{r.name}: {r.dummy_steps_per_second:,.0f} steps a second one by one, "
            f"{r.native_steps_per_second:,.0f} at once, ratio {r.ratio:.1f} +- "
            f"{r.standard_error:.1f}{floor}{'' if r.passed else ' missed'}"
        )
    if options.json is not None:
        rows = [asdict(r) | {"passed": r.passed} for r in results]
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0 if all(r.passed for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
