"""How fast PPO for sequences learns, and how well, beside sb3-contrib's RecurrentPPO.

``python -m benchmarks.agents`` gives both the same: an LSTM of 64 units, 64 environments, rollouts
of whole sequences, 4 epochs, sequences an update, learning rate, GAE. RecurrentPPO steps the native
vector form, which is the fastest for it, and sees the last token, as its LSTM remembers the others.
Each has one LSTM for policy and critic together, or two; what is its default is its default here.

Speed: tokens a second of CPU time, one torch thread, for writing, scoring and learning. Both take
turns in one run; what is reported is their ratio, the mean of the repeats with its standard error.
RecurrentPPO takes every step of an update in turn, as episodes may end anywhere, so it gains the
more from larger updates: there is a row for each size, and one where it too has a single LSTM.

Return: what sequences are worth that are sampled after the same number of tokens, on three tasks
whose optimum is known: the mean over seeds with its standard error.

Floors: 10 times the tokens a second at 8 sequences an update (800 tokens; RecurrentPPO's default is
128), each with its default critic; and on every task a mean return that is not lower by more than
two standard errors of the difference. Exits 1 when one is missed.
"""

# Shapes: B = num_envs sequences, T steps, K states, A actions
from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import gymnasium as gym
import torch
from rich import box
from rich.console import Console
from rich.table import Table
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.base_class import BaseAlgorithm
from tokengym.agents import PPO
from tokengym.envs.sources import DyckSource, MarkovSource

from .recurrent_ppo import make_recurrent_ppo, sampled_return

NUM_ENVS, HIDDEN, EPOCHS = 64, 64, 4
SEQUENCES = 1000  # sampled for a return


@dataclass(frozen=True)
class Case:
    """A task, and what of both agents' configuration differs from row to row."""

    name: str
    id: str
    options: dict[str, Any]
    minibatch_size: int
    critic: str
    shared: bool
    floor: float | None = None
    best: float = math.nan
    learning_rate: float = 1e-3

    def ours(self, seed: int) -> PPO:
        """This project's PPO."""
        return PPO(
            "LSTM",
            gym.make(self.id, **self.options),
            critic=self.critic,  # type: ignore[arg-type]
            batch_size=NUM_ENVS,
            minibatch_size=self.minibatch_size,
            epochs=EPOCHS,
            learning_rate=self.learning_rate,
            policy_kwargs={"hidden": HIDDEN, "embedding": HIDDEN // 2},
            seed=seed,
            device="cpu",
        )

    def theirs(self, seed: int) -> RecurrentPPO:
        """sb3-contrib's RecurrentPPO."""
        return make_recurrent_ppo(
            self.id,
            self.options,
            num_envs=NUM_ENVS,
            minibatch_size=self.minibatch_size,
            hidden=HIDDEN,
            shared=self.shared,
            seed=seed,
            learning_rate=self.learning_rate,
            n_epochs=EPOCHS,
            gamma=1.0,
        )


@dataclass(frozen=True)
class Result:
    """One row: this project's figure and RecurrentPPO's, with standard errors."""

    name: str
    ours: float
    ours_error: float
    theirs: float
    theirs_error: float
    ratio: float | None
    ratio_error: float | None
    untrained: float | None
    best: float | None
    floor: str
    passed: bool


def speed_cases() -> list[Case]:
    """Sequences of 100 tokens, as molecules have at most."""
    task: tuple[str, dict[str, Any]] = ("tokengym/Markov-v0", {"length": 100})
    rows = [(4, "head", False), (8, "head", False), (16, "head", False)]
    rows += [(8, "own", False), (8, "head", True)]
    return [
        Case(
            f"{size} sequences an update, {'1' if critic == 'head' else '2'} : "
            f"{'1' if shared else '2'} LSTMs",
            *task,
            size,
            critic,
            shared,
            floor=10.0 if (size, critic, shared) == (8, "head", False) else None,
        )
        for size, critic, shared in rows
    ]


def return_cases() -> list[Case]:
    """Three tasks, RecurrentPPO with its default of two LSTMs."""
    copied, symbols = 5, 4
    options: list[tuple[str, dict[str, Any], float]] = [
        ("Markov", {"length": 20}, best_of_markov(20)),
        ("Dyck", {"length": 20}, best_of_dyck(20)),
        (
            "Copy",
            {"symbols": symbols, "shortest": copied, "longest": copied},
            -copied * math.log(symbols) / (2 * copied + 2),  # all else is certain
        ),
    ]
    return [
        Case(name, f"tokengym/{name}-v0", of_task, 16, "head", False, best=best)
        for name, of_task, best in options
    ]


def best_of_markov(length: int) -> float:
    """The largest mean log-probability of a token, by dynamic programming over the last token."""
    source = MarkovSource.random(0, length=length)
    log_KK = torch.from_numpy(source.transition_KK).log()
    best_K = torch.from_numpy(source.stationary_K).log()
    for _ in range(length - 1):
        best_K = (best_K[:, None] + log_KK).amax(dim=0)
    return float(best_K.max()) / length


def best_of_dyck(length: int) -> float:
    """The same, over steps and depths; a word may end at depth 0 after any number of tokens."""
    source = DyckSource(length=length)
    depth_D = torch.arange(source.depth + 2)
    best_D = torch.where(depth_D == 0, 0.0, -math.inf).double()
    best = -math.inf
    for step in range(length):
        open_D = source.open_probability(torch.tensor(step), depth_D)
        best = max(best, float(best_D[0] + (1 - open_D[0]).log()) / (step + 1))
        up_D = best_D + (open_D / source.types).log()
        down_D = (best_D + (1 - open_D).log())[1:]
        rising_D = torch.cat([torch.tensor([-math.inf]).double(), up_D[:-1]])
        falling_D = torch.cat([down_D, torch.tensor([-math.inf]).double()])
        best_D = torch.maximum(rising_D, falling_D)
    return best


def measure_speed(case: Case, repeats: int) -> Result:
    """Both take turns of a round, or of several where those are short; the first warms up."""
    ours, theirs = case.ours(0), case.theirs(0)
    turns = [(tokens_a_second(ours, 3), tokens_a_second(theirs, 1)) for _ in range(repeats + 1)][1:]
    ratio, ratio_error = spread([a / b for a, b in turns])
    return Result(
        case.name,
        *spread([a for a, _ in turns]),
        *spread([b for _, b in turns]),
        ratio,
        ratio_error,
        None,
        None,
        floor="" if case.floor is None else f"{case.floor:g}",
        passed=case.floor is None or ratio >= case.floor,
    )


def tokens_a_second(agent: BaseAlgorithm, rounds: int) -> float:
    """Of CPU time, for as many rounds of whole sequences."""
    env: Any = agent.get_env()
    tokens = env.get_attr("task")[0].max_length * NUM_ENVS * rounds
    before, start = agent.num_timesteps, time.process_time()
    agent.learn(tokens, reset_num_timesteps=False)
    return (agent.num_timesteps - before) / (time.process_time() - start)


def measure_return(case: Case, seeds: int, tokens: int) -> Result:
    """After the same number of tokens, with the same seeds."""
    untrained, ours, theirs = [], [], []
    for seed in range(seeds):
        agent = case.ours(seed)
        untrained.append(mean_score(agent, seed))
        ours.append(mean_score(agent.learn(tokens), seed))
        theirs.append(sampled_return(case.theirs(seed).learn(tokens), SEQUENCES, seed))
    mine, yours = spread(ours), spread(theirs)
    floor = yours[0] - 2 * math.hypot(mine[1], yours[1])
    return Result(
        case.name,
        *mine,
        *yours,
        None,
        None,
        mean(untrained),
        case.best,
        floor=f"{floor:.3f}",
        passed=mine[0] >= floor,
    )


def mean_score(agent: PPO, seed: int) -> float:
    """What sampled sequences are worth."""
    assert agent.task is not None
    return float(agent.task.reward(agent.sample(SEQUENCES, seed=seed)).values_B.mean())


def spread(values: list[float]) -> tuple[float, float]:
    """The mean and its standard error."""
    return mean(values), stdev(values) / math.sqrt(len(values))


def print_speed(results: list[Result]) -> None:
    """Tokens a second, for people."""
    title = "thousand tokens a second of CPU time, and their ratio"
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("PPO : RecurrentPPO", "PPO", "Recurrent", "ratio", "floor"):
        table.add_column(column, justify="left" if column.startswith("PPO :") else "right")
    for r in results:
        table.add_row(
            r.name,
            f"{r.ours / 1000:.1f}",
            f"{r.theirs / 1000:.2f}",
            f"{r.ratio:.1f} +- {r.ratio_error:.1f}",
            r.floor and f"{r.floor} {'met' if r.passed else 'missed'}",
        )
    Console().print(table)


def print_returns(results: list[Result], tokens: int) -> None:
    """Returns, for people."""
    title = f"mean log-probability of a token under the source, after {tokens:,} tokens"
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("task", "untrained", "PPO", "RecurrentPPO", "optimum", "floor"):
        table.add_column(column, justify="left" if column == "task" else "right")
    for r in results:
        table.add_row(
            r.name,
            f"{r.untrained:.2f}",
            f"{r.ours:.3f} +- {r.ours_error:.3f}",
            f"{r.theirs:.3f} +- {r.theirs_error:.3f}",
            f"{r.best:.3f}",
            f"{r.floor} {'met' if r.passed else 'missed'}",
        )
    Console().print(table)


def main() -> int:
    """Measure both; 1 when a floor is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each, at least 2")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each, at least 2")
    parser.add_argument("--tokens", type=int, default=30_000, help="that a run learns from")
    options = parser.parse_args()
    torch.set_num_threads(1)
    speeds = [measure_speed(case, options.repeats) for case in speed_cases()]
    print_speed(speeds)
    returns = [measure_return(case, options.seeds, options.tokens) for case in return_cases()]
    print_returns(returns, options.tokens)
    if options.json is not None:
        rows = [asdict(result) for result in [*speeds, *returns]]
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0 if all(result.passed for result in [*speeds, *returns]) else 1


if __name__ == "__main__":
    raise SystemExit(main())
