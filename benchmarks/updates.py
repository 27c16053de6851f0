"""One update of the generator, end to end, by what takes its time.

    python -m benchmarks.updates [--settings S1 S2]

S1: SeqGAN on the oracle task's sizes; S2: ORGAN at MOSES' sizes, its policy taught on the built-in
molecules, rewarded for druglikeness of valid molecules too (settings.py). An update is what
``learn`` does in a round before it turns to the discriminator: sample B sequences, roll them out
and score the completions (scheme ``backward``, as agents do by default: values no worse than those
of N = 16 completions of every prefix), one step of the policy. Then one update of the
discriminator, of which a round has as many as ``discriminator_steps``. CPU time of one thread, the
mean of the repeats with its standard error. Rows in bfloat16 have the policy's steps and the
highway in it.

Floors: 3.2 CPU-seconds an update at S1 without a highway; 45 at S2 in float32 and 28 in bfloat16.
They are of a machine with AVX-512 and bfloat16 whose GEMM roof is printed, and S2's of molecules of
mean length 35, less than this policy writes: an update's time grows with its square. Exits 1 when
missed.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from tokengym.agents import ORGAN, SeqGAN
from tokengym.envs import Sequences, Task, TokenEnv
from tokengym.rewards import make_reward

from .reporting import mean_and_error, new_table, verdict
from .rollouts import DTYPES
from .settings import organ_of_molecules, words
from .timing import gemm_roof, seconds

STEPS = ("sampling", "rollouts and scores", "other scores", "policy", "discriminator")
FLOORS = {("S1", "none", "float32"): 3.2, ("S2", "separate", "float32"): 45.0}
FLOORS["S2", "separate", "bfloat16"] = 28.0


@dataclass(frozen=True)
class Row:
    """What came out: CPU-seconds of each step, the mean and its standard error."""

    setting: str
    highway: str
    dtype: str
    mean_length: float
    steps: dict[str, tuple[float, float]]
    update: tuple[float, float]
    floor: float | None

    @property
    def passed(self) -> bool:
        """Whether the floor holds."""
        return self.floor is None or self.update[0] <= self.floor


class Stopwatch:
    """Wraps methods of an agent and adds up what they take."""

    def __init__(self) -> None:
        self.taken: dict[str, float] = defaultdict(float)

    def watch(self, owner: object, method: str, step: str) -> None:
        """Replace a method of an object by itself, timed."""
        original: Callable[..., Any] = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            result: list[Any] = []
            self.taken[step] += seconds(lambda: result.append(original(*args, **kwargs)))
            return result[0]

        setattr(owner, method, timed)


def seqgan(highway: str, dtype: str) -> SeqGAN:
    """S1's agent; what is real does not matter to what it costs."""
    vocabulary = words(5000)
    generator = torch.Generator().manual_seed(0)
    data = Sequences.from_tokens(torch.randint(5000, (256, 20), generator=generator), vocabulary)
    reward = make_reward(f"conv_discriminator(highway={highway!r}, scoring={dtype!r})")
    task = Task(
        name="Words", vocabulary=vocabulary, max_length=20, reward=reward, load_data=lambda: data
    )
    kwargs = {"embedding": 32, "hidden": 32}
    return SeqGAN("LSTM", TokenEnv(task), policy_kwargs=kwargs, seed=0, device="cpu", **OPTIONS)


def organ(highway: str, dtype: str) -> ORGAN:
    """S2's agent."""
    discriminator = f"conv_discriminator(highway={highway!r}, scoring={dtype!r})"
    return organ_of_molecules(f"0.5 * {discriminator} + 0.5 * qed * valid", **OPTIONS)


AGENTS: dict[str, Callable[[str, str], SeqGAN]] = {"S1": seqgan, "S2": organ}
# Hardly a step at all, so that every repeat has the policy, and the lengths, of the first.
OPTIONS: dict[str, Any] = {
    "batch_size": 64,
    "completions": 16,
    "discriminator_steps": 1,
    "learning_rate": 1e-9,
}
METHODS = {
    "_write": "sampling",
    "_roll_out": "rollouts and scores",
    "_value": "all scores",
    "_update": "policy",
    "_update_discriminators": "discriminator",
}


def measure(setting: str, highway: str, dtype: str, repeats: int) -> Row:
    """A first round to warm up, then the repeats."""
    agent = AGENTS[setting](highway, dtype)
    agent.rollout_dtype = "bfloat16" if dtype == "bfloat16" else None
    watch = Stopwatch()
    for method, step in METHODS.items():
        watch.watch(agent, method, step)
    steps: dict[str, list[float]] = defaultdict(list)
    before = 0
    for repeat in range(repeats + 1):
        watch.taken.clear()
        agent.learn(1, reset_num_timesteps=repeat == 0)
        if repeat == 0:
            before = agent.num_timesteps
            continue
        taken = dict(watch.taken)
        taken["other scores"] = taken.pop("all scores") - taken["rollouts and scores"]
        taken["update"] = sum(taken.values()) - taken["discriminator"]
        for step, value in taken.items():
            steps[step].append(value)
    figures = {step: mean_and_error(values) for step, values in steps.items()}
    return Row(
        setting=setting,
        highway=highway,
        dtype=dtype,
        mean_length=(agent.num_timesteps - before) / repeats / agent.batch_size,
        update=figures.pop("update"),
        steps=figures,
        floor=FLOORS.get((setting, highway, dtype)),
    )


def print_table(rows: list[Row]) -> None:
    """The results, for people."""
    columns = ("setting", "highway", "dtype", "mean length", *STEPS, "update", "at most")
    table = new_table("CPU-seconds of an update of the generator, and one of D", columns)
    for row in rows:
        cells = [*(row.steps[step] for step in STEPS), row.update]
        table.add_row(
            row.setting,
            row.highway,
            row.dtype,
            f"{row.mean_length:.1f}",
            *(f"{taken:.2f} +- {error:.2f}" for taken, error in cells),
            verdict(row.floor, row.passed),
        )
    Console().print(table)


def main() -> int:
    """Measure and print; 1 where it takes longer than it may."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", nargs="+", choices=AGENTS, default=list(AGENTS))
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    highways = {"S1": ("none", "separate"), "S2": ("separate",)}
    rows = [
        measure(setting, highway, dtype, options.repeats)
        for setting in options.settings
        for highway in highways[setting]
        for dtype in options.dtype
    ]
    print_table(rows)
    roofs = {name: gemm_roof("cpu", DTYPES[name]) / 1e9 for name in options.dtype}
    listed = ", ".join(f"{name} {roof:.0f} GFLOP/s" for name, roof in roofs.items())
    print(f"roof of products of matrices: {listed}; {options.repeats} repeats, one thread")
    if options.json is not None:
        result = {"updates": [asdict(row) for row in rows], "gemm_roofs": roofs}
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0 if all(row.passed for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
