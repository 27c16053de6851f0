"""Overlapped rounds: the time they save while an objective waits, and what an old batch costs.

A GRU policy learns to write a text of 12 letters; the reward is the share of right letters.

- Time: the objective waits as long as a batch takes to be written. Wall time of rounds with
  ``overlap=True`` relative to the same rounds without, in turn.
- Learning: the return after a number of tokens, over seeds: without overlap, with it, and with it
  but with all importance weights 1. Differences are paired by seed.

Floors: a time ratio of 0.9 at most, and no loss of return beyond two standard errors and 0.05;
exits 1 when one is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from tokengym.agents import Reinforce
from tokengym.agents.base import Batch, Values
from tokengym.envs import Task, TokenEnv, Vocabulary
from tokengym.rewards import FunctionObjective

TARGET = "abcaabcbacab"
SLOWEST, MOST_LOST = 0.9, 0.05


class Uncorrected(Reinforce):
    """Takes an old batch for one of its own."""

    def _update(self, batch: Batch, values: Values) -> dict[str, float]:
        return super()._update(Batch(batch.sequences, batch.written_BT), values)


def right(texts: list[str]) -> list[float]:
    """The share of letters that are as in the target."""
    return [sum(map(str.__eq__, text, TARGET)) / len(TARGET) for text in texts]


def make(
    kind: type[Reinforce],
    seed: int,
    overlap: bool,
    *,
    learning_rate: float = 0.01,
    wait: float = 0.0,
) -> Reinforce:
    """An agent whose objective waits ``wait`` seconds a batch."""

    def score(texts: list[str]) -> list[float]:
        time.sleep(wait)
        return right(texts)

    vocabulary = Vocabulary.from_tokens(["a", "b", "c"], "characters", eos=False)
    reward = FunctionObjective(score, memo=False)
    task = Task(name="Target", vocabulary=vocabulary, max_length=len(TARGET), reward=reward)
    return kind(
        "GRU", TokenEnv(task), seed=seed, overlap=overlap, batch_size=32,
        learning_rate=learning_rate, policy_kwargs={"hidden": 32, "embedding": 8},
    )  # fmt: skip


def seconds(agent: Reinforce, rounds: int) -> float:
    """Wall time of rounds after the first."""
    tokens = 32 * len(TARGET)
    agent.learn(tokens)
    start = time.perf_counter()
    agent.learn(rounds * tokens)
    return time.perf_counter() - start


def writing_time() -> float:
    """Seconds that a batch takes to be written."""
    agent = make(Reinforce, 0, overlap=False)
    start = time.perf_counter()
    for round in range(20):
        agent._write(round)
    return (time.perf_counter() - start) / 20


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """With the standard error of the mean."""
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)


def main() -> None:
    """Measure, print, and exit 1 where a floor is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=30_000)
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--rounds", type=int, default=20, help="in a measurement of time")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    wait = writing_time()
    ratios = np.array(
        [
            seconds(make(Reinforce, seed, True, wait=wait), options.rounds)
            / seconds(make(Reinforce, seed, False, wait=wait), options.rounds)
            for seed in range(options.seeds)
        ]
    )
    kinds = {"no overlap": (Reinforce, False), "overlap": (Reinforce, True)}
    kinds["overlap, weights 1"] = (Uncorrected, True)
    returns: dict[str, np.ndarray] = {}
    for name, (kind, overlap) in kinds.items():
        agents = [
            make(kind, seed, overlap, learning_rate=options.learning_rate).learn(options.tokens)
            for seed in range(options.seeds)
        ]
        returns[name] = np.array([np.mean(right(a.sample(500, seed=99).texts)) for a in agents])
    table = Table("", f"return after {options.tokens:,} tokens", "less that without overlap")
    result: dict[str, list[float]] = {"time": [*mean_and_error(ratios)]}
    for name, values in returns.items():
        lost, error = mean_and_error(values - returns["no overlap"])
        mean, se = mean_and_error(values)
        table.add_row(name, f"{mean:.3f}±{se:.3f}", f"{lost:+.3f}±{error:.3f}")
        result[name] = [mean, se, lost, error]
    console = Console()
    console.print(table)
    ratio, error = mean_and_error(ratios)
    console.print(f"wall time, overlapped / not: {ratio:.2f}±{error:.2f}; {options.seeds} seeds")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    _, _, lost, error = result["overlap"]
    if ratio > SLOWEST or lost < -MOST_LOST - 2 * error:
        sys.exit(f"missed: time {ratio:.2f}, at most {SLOWEST}; return {lost:+.3f}")


if __name__ == "__main__":
    main()
