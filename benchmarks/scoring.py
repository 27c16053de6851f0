"""The convolutional discriminator over completions, against ``conv2d``.

    python -m benchmarks.scoring [--settings S1 S2] [--device cpu|cuda]

Completions of ten prefixes, 512 each, of random tokens at the vocabulary and length of S1 and S2
(settings.py). Sequences a second: as public codes score them (``conv2d``, bias and ReLU everywhere,
max-pool, see public_codes.py; those of two prefixes), whole, and with the prefixes' windows shared;
for each form of the highway, in float32 and with its products in bfloat16, with the largest change
of a probability that this makes.

Floors on a CPU, with prefixes shared and without a highway, of the ratio to ``conv2d``: S1 8,
S2 15. Exits 1 where one is missed.
"""

# Shapes: R rows
from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

import torch
from rich.console import Console
from tokengym.envs import Prefixes, Sequences
from tokengym.rewards import ConvDiscriminator
from tokengym.rewards.discriminators import ConvNetwork
from tokengym.rewards.discriminators.conv import Highway, Scoring

from .public_codes import conv2d_score
from .reporting import new_table, verdict
from .rollouts import Case
from .settings import SETTINGS, Setting
from .timing import seconds

FLOORS = {("S1", "none", "float32"): 8.0, ("S2", "none", "float32"): 15.0}


@dataclass(frozen=True)
class Row:
    """The discriminator alone, sequences a second, at a setting's length and vocabulary."""

    setting: str
    highway: str
    scoring: str
    conv2d: float
    whole: float
    shared: float
    change: float
    floor: float | None

    @property
    def ratio(self) -> float:
        """Of what the engine does to conv2d."""
        return self.shared / self.conv2d

    @property
    def passed(self) -> bool:
        """Whether the floor holds."""
        return self.floor is None or self.ratio >= self.floor


def completions(case: Case, rows_each: int, seed: int) -> list[Sequences]:
    """Of ten prefixes of every sequence, so many rows of each, random tokens after them."""
    generator, kept = torch.Generator().manual_seed(seed), dict[object, object]()
    vocabulary, tokens_BT = case.policy.vocabulary, case.sequences.tokens_BT.cpu()
    rows_R, T = torch.arange(len(tokens_BT)).repeat_interleave(rows_each), tokens_BT.shape[1]
    found = []
    for length in range(1, T, max(1, T // 10)):
        drawn_RT = torch.randint(vocabulary.num_actions, (len(rows_R), T), generator=generator)
        drawn_RT[:, :length] = tokens_BT[rows_R, :length]
        completed = Sequences.from_tokens(drawn_RT.to(case.device), vocabulary)
        prefixes = Prefixes(case.sequences, rows_R.to(case.device), length, kept)
        found.append(replace(completed, prefixes=prefixes))
    return found


def measure(setting: Setting, options: argparse.Namespace) -> list[Row]:
    """Every form of the highway and precision, each way over the same completions."""
    if options.quick:
        setting = replace(setting, batch=4)
    case = Case(setting, options.seed, options.device)
    batches = completions(case, 1 if options.quick else 512 // setting.batch, options.seed)
    wholes = [replace(batch, prefixes=None) for batch in batches]
    rows = []
    for highway in get_args(Highway):
        network = cast(ConvNetwork, case.discriminator(highway).network)
        few = [rows for whole in wholes[::5] for rows in whole.tokens_BT.split(64)]
        public = rate(partial(conv2d_score, network), few, options.device)
        exact = scores(case.discriminator(highway), wholes)
        for scoring in get_args(Scoring):
            if (highway, scoring, options.device) == ("none", "bfloat16", "cpu"):
                continue  # there nothing is rounded
            made = case.discriminator(highway, scoring)
            change = float((scores(made, batches) - exact).abs().max())  # warms up, too
            whole, shared = (rate(made, which, options.device) for which in (wholes, batches))
            floor = FLOORS.get((setting.name, highway, scoring))
            floor = None if options.quick or options.device != "cpu" else floor
            rows.append(Row(setting.name, highway, scoring, public, whole, shared, change, floor))
    return rows


def scores(reward: ConvDiscriminator, batches: list[Sequences]) -> torch.Tensor:
    """The scores of all of them."""
    return torch.cat([reward(batch).values_B for batch in batches])


def rate(score: Callable[[Any], object], batches: Sequence[Any], device: str) -> float:
    """Sequences a second."""
    return sum(map(len, batches)) / seconds(lambda: [score(batch) for batch in batches], device)


def print_table(rows: list[Row]) -> None:
    """The discriminator's table, for people."""
    columns = (
        "setting", "highway", "scoring", "conv2d /s", "whole /s", "prefix shared /s",
        "ratio", "largest change", "floor",
    )  # fmt: skip
    table = new_table("the discriminator alone, sequences a second", columns)
    for row in rows:
        table.add_row(
            row.setting,
            row.highway,
            row.scoring,
            *(f"{rate:,.0f}" for rate in (row.conv2d, row.whole, row.shared)),
            f"{row.ratio:.1f}",
            f"{row.change:.0e}",
            verdict(row.floor, row.passed),
        )
    Console().print(table)


def main() -> int:
    """Measure and print; 1 where a floor is missed."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", nargs="+", choices=("S1", "S2"), default=["S1", "S2"])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="only see that it works")
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for name in options.settings for row in measure(SETTINGS[name], options)]
    print_table(rows)
    if options.json is not None:
        result = [asdict(row) for row in rows]
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0 if all(row.passed for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
