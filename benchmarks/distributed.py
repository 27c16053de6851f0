"""SeqGAN's rounds by one process and by two that learn as one (agents/parallel.py).

SeqGAN's oracle task (5,000 tokens, T = 20): LSTM of 32, B = 64, N = 16 completions of a prefix,
a convolutional discriminator with one update a round (and with five, the default, which every
process computes whole, so that part of a round does not shrink).

Printed are two ratios of two processes to one, each a mean over pairs of runs with its standard
error: of the rounds in a second by the clock, which says something on a machine with two idle cores
alone, and of the processor time that a process needs for a round, the bound of the first. What
processes send each other is counted in both; waiting for each other in the first alone. Floor: with
one discriminator update a process of two needs at most 0.75 of one's processor time; exits 1 when
it is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from rich.console import Console
from rich.table import Table
from stable_baselines3.common.callbacks import BaseCallback
from tokengym.agents import SeqGAN
from tokengym.envs import TokenEnv, make_task
from tokengym.rewards import ConvDiscriminator

FLOOR = 0.75
SEED = 0


class Watch(BaseCallback):
    """Clock and processor time at the end of each round; the first is not counted."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self.rounds, self.times = rounds, list[tuple[float, float]]()

    def _on_rollout_end(self) -> None:
        self.times.append((time.perf_counter(), time.process_time()))

    def _on_step(self) -> bool:
        return len(self.times) <= self.rounds


def seconds_a_round(rounds: int, updates: int) -> tuple[float, float]:
    """By the clock, and of this process's processor time."""
    discriminator = ConvDiscriminator(widths=(1, 2, 3, 4), filters=(64, 64, 64, 64))
    task = make_task("tokengym/Oracle-v0", data_size=500, reward=discriminator)
    agent = SeqGAN(
        "LSTM",
        TokenEnv(task),
        policy_kwargs={"embedding": 32, "hidden": 32},
        discriminator_steps=updates,
        seed=SEED,
    )
    watch = Watch(rounds)
    agent.learn(10**9, callback=watch)
    clock, processor = np.subtract(watch.times[-1], watch.times[0]) / rounds
    return float(clock), float(processor)


def measure(processes: int, rounds: int, updates: int) -> list[float]:
    """The slowest process's seconds a round; each is a copy of this one."""
    with tempfile.TemporaryDirectory() as folder:
        children = []
        for rank in range(processes):
            if (child := os.fork()) == 0:
                code = 1
                try:
                    if processes > 1:
                        meeting = f"file://{folder}/meeting"
                        dist.init_process_group(
                            "gloo", init_method=meeting, rank=rank, world_size=processes
                        )
                    found = seconds_a_round(rounds, updates)
                    Path(folder, f"{rank}.json").write_text(json.dumps(found))
                    code = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(code)
            children.append(child)
        if any(os.waitpid(child, 0)[1] for child in children):
            raise RuntimeError("a process failed; its traceback is above")
        each = [json.loads(Path(folder, f"{rank}.json").read_text()) for rank in range(processes)]
    slowest: list[float] = np.max(each, axis=0).tolist()
    return slowest


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and exit with 1 where the floor is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=2, help="runs of each kind, alternating")
    parser.add_argument("--rounds", type=int, default=2, help="of each run")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    rows: list[dict[str, Any]] = []
    for updates in (1, 5):
        pairs = [
            [measure(processes, options.rounds, updates) for processes in (1, 2)]
            for _ in range(options.pairs)
        ]
        one, two = np.array(pairs).transpose(1, 0, 2)  # each (pairs, [clock, processor])
        rows.append(
            {
                "updates": updates,
                "one": one.mean(axis=0).tolist(),
                "two": two.mean(axis=0).tolist(),
                "rounds a second": figure(one[:, 0] / two[:, 0]),
                "processor time": figure(two[:, 1] / one[:, 1]),
            }
        )
    Console().print(as_table(rows, options, load))
    if options.json:
        options.json.write_text(json.dumps({"load": load, "seed": SEED, "rows": rows}, indent=2))
    sys.exit(int(rows[0]["processor time"][0] > FLOOR))


def figure(ratios: Any) -> tuple[float, float]:
    """Mean and standard error."""
    return float(ratios.mean()), float(ratios.std(ddof=1) / np.sqrt(len(ratios)))


def as_table(rows: list[dict[str, Any]], options: argparse.Namespace, load: float) -> Table:
    """What is printed."""
    title = (
        f"two processes against one: {options.pairs} pairs of {options.rounds} rounds, seed {SEED},"
        f" {os.cpu_count()} cores, load {load:.1f} before"
    )
    table = Table(title=title)
    for name in (
        "discriminator updates",
        "one: s/round",
        "two: s/round",
        "clock",
        "processor time",
    ):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            str(row["updates"]),
            *(f"{row[kind][0]:.3f} (cpu {row[kind][1]:.3f})" for kind in ("one", "two")),
            "x {:.2f} ± {:.2f}".format(*row["rounds a second"]),
            "x {:.2f} ± {:.2f}".format(*row["processor time"]),
        )
    return table


if __name__ == "__main__":
    main()
