"""The rollout engine against the way public codes compute the same Q table, and against its limits.

    python -m benchmarks.rollouts [--settings S1 S2 S3 molecules] [--device cpu|cuda]

In one process and one thread, in turns, CPU time (CUDA events on a GPU): the engine at every
precision, with the discriminator's highway of the paper and without one; the public double loop,
the by-prefix loop of MOSES (public_codes.py) and ``backend="reference"``. All score every
completion with the same discriminator. What is measured are rollouts of evenly spaced prefixes: one
of ``every`` (settings.py) for all sides but by-prefix, which gets two. The cost of a side is linear
in the number of prefixes, and the double loops' in N, so they run with N = 1, by-prefix with N = 4;
the times given are of a whole table. Ratios are the mean of the repeats with its standard error.

- ``tokens/s``: tokens written in completions, a second of everything.
- ``GEMM``: the share of the time that the products of matrices of the policy's steps and of the
  highway would take at the roof, that of a product of two large matrices in this precision. It
  counts a step for every token; completions that begin alike share theirs, so that on peaked
  policies it can exceed what is multiplied.
- ``tokens equal``: completions whose every token is that of ``reference``, in float32: a
  difference is a tie of the CDF to rounding.

Also what bfloat16 does to the distributions that are drawn from, and on ``molecules`` what the
schemes ``reuse`` and ``backward`` save. ``benchmarks.scoring`` has the discriminator alone.

Floors on a CPU, of the ratio to the double loop, float32 / bfloat16: without a highway S1 10;
with the paper's S2 3 / 5, S3 3 / 4. With the paper's highway S1 has none in float32: docs/
performance.md says what the limit is. At most one completion of 1,000 may differ from
``reference``. Exits 1 where one is missed. ``--quick`` has small batches and no floor but that of
the tokens.
"""

# Shapes: B sequences, N completions
from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import cast

import torch
from rich.console import Console
from tokengym.agents import action_values, sample
from tokengym.agents.completions import Backend, Plan, tiles
from tokengym.agents.precision import distribution_change, in_precision
from tokengym.agents.rollouts import with_prefixes
from tokengym.rewards import ConvDiscriminator
from tokengym.rewards.discriminators import ConvNetwork
from tokengym.rewards.discriminators.conv import Highway, Scoring

from .public_codes import by_prefix, conv2d_score, double_loop
from .reporting import mean_and_error, new_table, verdict
from .settings import SETTINGS, Setting
from .timing import gemm_roof, seconds

DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
FLOORS = {
    ("S1", "none", "float32"): 10.0,
    ("S2", "separate", "float32"): 3.0,
    ("S2", "separate", "bfloat16"): 5.0,
    ("S3", "separate", "float32"): 3.0,
    ("S3", "separate", "bfloat16"): 4.0,
}
MOST_DIFFERENT = 0.001


@dataclass(frozen=True, eq=False)
class Spaced(Plan):
    """Completes one prefix of ``every``."""

    every: int = 1

    def missing_BN(self, t: int) -> torch.Tensor:
        """None of the prefixes between."""
        wanted_BN = super().missing_BN(t)
        return wanted_BN if t % self.every == self.every // 2 else wanted_BN & False


@dataclass(frozen=True)
class Row:
    """What came out for the engine at one setting and precision.

    Args:
        setting: its name.
        highway: of the discriminator.
        dtype: of the policy's steps and of scoring.
        tokens_per_second: written in completions.
        tables_per_second: of all prefixes.
        gemm_share: see the top of this file.
        ratios: to each slower side, its mean and standard error over the repeats.
        equal: of how many completions all tokens are reference's.
        compared: completions that were compared.
        floor: of the ratio to the double loop.
    """

    setting: str
    highway: str
    dtype: str
    tokens_per_second: float
    tables_per_second: float
    gemm_share: float
    ratios: dict[str, tuple[float, float]]
    equal: int | None
    compared: int
    floor: float | None

    @property
    def passed(self) -> bool:
        """Whether floor and tokens hold."""
        alike = self.equal is None or self.compared - self.equal <= MOST_DIFFERENT * self.compared
        return alike and (self.floor is None or self.ratios["double loop"][0] >= self.floor)


class Case:
    """A setting with its policy, sequences and discriminators, on a device."""

    def __init__(self, setting: Setting, seed: int, device: str) -> None:
        self.setting, self.seed, self.device = setting, seed, device
        self.policy = setting.policy(seed, device)
        T = setting.max_length
        self.sequences = sample(self.policy, setting.batch, max_length=T, seed=seed)
        self.unfinished = int(self.sequences.lengths_B.max()) - 1  # prefixes, at most
        self.prefixes = range(setting.every // 2, self.unfinished, setting.every)
        self.written: dict[str, int] = {}  # tokens, by precision

    def discriminator(self, highway: Highway, scoring: Scoring = "float32") -> ConvDiscriminator:
        """SeqGAN's, with weights that depend on the highway alone."""
        made = ConvDiscriminator(highway=highway, scoring=scoring)
        made.prepare(self.policy.vocabulary, self.setting.max_length, self.device)
        made.network.eval()
        return made

    def plan(self, dtype: torch.dtype, completions: int) -> Spaced:
        """Of the prefixes that are measured."""
        policy = in_precision(self.policy, dtype)
        return Spaced(policy, self.sequences, completions, seed=self.seed, every=self.setting.every)

    def roll_out(
        self, dtype: torch.dtype, backend: Backend, scorer: ConvDiscriminator, completions: int
    ) -> int:
        """Complete and score; how many tokens were written."""
        plan, written = self.plan(dtype, completions), 0
        kept: dict[object, object] = {}
        scorer(plan.sequences)
        for tile in tiles(plan, backend):
            scorer(with_prefixes(plan, tile, kept))
            written += tile.tokens
        return written

    def seconds_of_engine(self, dtype: str, backend: Backend, scorer: ConvDiscriminator) -> float:
        """Of all completions of the measured prefixes; the weights have changed, as in a run."""
        scorer(self.sequences)  # takes memory for its tables
        with torch.no_grad():
            scorer.network.embedding.weight.mul_(1 + 1e-6)

        def run() -> None:
            N = self.setting.completions
            self.written[dtype] = self.roll_out(DTYPES[dtype], backend, scorer, N)

        if self.device == "cuda" and dtype not in self.written:
            run()  # records graphs, compiles kernels
        return seconds(run, self.device)

    def operations(self, scorer: ConvDiscriminator, tokens: int) -> int:
        """In products of matrices: those of the steps and of the highway.

        Of every weight matrix of the policy but those that are looked up instead.
        """
        looked_up = ("embedding.weight", "network.weight_ih_l0")
        weights = {k: w.numel() for k, w in self.policy.named_parameters() if k not in looked_up}
        highway = cast(ConvNetwork, scorer.network).highway
        scored = self.setting.batch * self.setting.completions * len(self.prefixes)
        head = 0 if highway is None else highway.weight.numel()
        return 2 * (tokens * sum(weights.values()) + scored * head)

    def drawn(self, backend: Backend) -> dict[tuple[int, int], list[int]]:
        """The first completion's tokens, by sequence and prefix."""
        found = {}
        for tile in tiles(self.plan(torch.float32, 1), backend):
            rows = zip(tile.b_R.tolist(), tile.tokens_RT.tolist(), strict=True)
            found.update({(b, tile.t): row for b, row in rows})
        return found

    def slow_sides(self, highway: Highway) -> dict[str, float]:
        """Seconds of each for the measured prefixes and all completions."""
        network = cast(ConvNetwork, self.discriminator(highway).network)
        score, N = partial(conv2d_score, network), self.setting.completions
        few = self._two_prefixes()
        public = partial(double_loop, self.policy, score, self.sequences, self.prefixes, 1)
        batched = partial(by_prefix, self.policy, score, self.sequences, few, min(4, N))
        reference = partial(
            self.roll_out, torch.float32, "reference", self.discriminator(highway), 1
        )
        return {
            "double loop": seconds(public, self.device) * N,
            "by prefix": seconds(batched, self.device)
            * (N / min(4, N))
            * (len(self.prefixes) / len(few)),
            "reference": seconds(reference, self.device) * N,
        }

    def _two_prefixes(self) -> list[int]:
        """As far from the end, in the mean, as those that are measured."""
        middle = mean(self.prefixes)
        apart = self.unfinished / 4
        return [math.floor(middle - apart), math.ceil(middle + apart)]


def measure(setting: Setting, options: argparse.Namespace) -> list[Row]:
    """The engine and the slower sides in turns, for every highway and precision."""
    case = Case(setting, options.seed, options.device)
    expected, found = case.drawn("reference"), case.drawn(options.backend)  # warms up, too
    equal = sum(found[key] == row for key, row in expected.items())
    rows = []
    for highway in cast("list[Highway]", options.highways):
        scorers = {name: case.discriminator(highway, name) for name in options.dtype}
        times: dict[str, list[float]] = defaultdict(list)
        ratios: dict[tuple[str, str], list[float]] = defaultdict(list)
        for _ in range(options.repeats):
            slow = case.slow_sides(highway)
            for name, scorer in scorers.items():
                times[name].append(case.seconds_of_engine(name, options.backend, scorer))
                for side, taken in slow.items():
                    ratios[name, side].append(taken / times[name][-1])
        for name, scorer in scorers.items():
            floor = FLOORS.get((setting.name, highway, name))
            taken, tokens = mean(times[name]), case.written[name]
            operations = case.operations(scorer, tokens)
            rows.append(
                Row(
                    setting=setting.name,
                    highway=highway,
                    dtype=name,
                    tokens_per_second=tokens / taken,
                    tables_per_second=len(case.prefixes) / case.unfinished / taken,
                    gemm_share=operations / gemm_roof(options.device, DTYPES[name]) / taken,
                    ratios={side: mean_and_error(ratios[name, side]) for side in slow},
                    equal=equal if name == "float32" else None,
                    compared=len(expected),
                    floor=None if options.quick or options.device != "cpu" else floor,
                )
            )
    return rows


def print_table(rows: list[Row]) -> None:
    """The engine's table, for people."""
    columns = (
        "setting", "highway", "dtype", "tokens/s", "tables/s", "GEMM",
        "double loop", "by prefix", "reference", "tokens equal", "floor",
    )  # fmt: skip
    table = new_table("rollouts and scores of a Q table: times as fast as", columns)
    for row in rows:
        table.add_row(
            row.setting,
            row.highway,
            row.dtype,
            f"{row.tokens_per_second / 1e3:,.0f} k",
            f"{row.tables_per_second:.3f}",
            f"{100 * row.gemm_share:.0f} %",
            *(f"{ratio:.1f} +- {error:.1f}" for ratio, error in row.ratios.values()),
            "" if row.equal is None else f"{row.equal} of {row.compared}",
            verdict(row.floor, row.passed),
        )
    Console().print(table)


def saved_by_schemes(options: argparse.Namespace) -> dict[str, float]:
    """What the schemes that write less save on peaked sequences, all prefixes, in float32."""
    setting = SETTINGS["molecules"]
    case = Case(setting, options.seed, options.device)
    scorer = case.discriminator("separate")
    tokens, taken = {}, {}
    for scheme in ("plain", "reuse", "backward"):

        def run(scheme: str = scheme) -> None:
            tokens[scheme] = action_values(
                case.policy,
                case.sequences,
                scorer,
                completions=setting.completions,
                scheme=scheme,  # type: ignore[arg-type]
                seed=options.seed,
            ).tokens

        taken[scheme] = seconds(run, options.device)
    assert case.sequences.log_probs_BT is not None
    nats = -float(case.sequences.log_probs_BT.sum()) / case.sequences.num_tokens
    shares = {
        f"{what} of {scheme}, plain = 1": of[scheme] / of["plain"]
        for scheme in ("reuse", "backward")
        for what, of in (("tokens", tokens), ("time", taken))
    }
    mean_length = case.sequences.num_tokens / len(case.sequences)
    return {"mean length": mean_length, "nats a token": nats, **shares}


def changes_in_bfloat16(setting: Setting, options: argparse.Namespace) -> dict[str, float]:
    """What rounding does to the distributions that are drawn from."""
    case = Case(replace(setting, batch=min(setting.batch, 16)), options.seed, options.device)
    return asdict(distribution_change(case.policy, case.sequences, torch.bfloat16))


def main() -> int:
    """Measure and print; 1 where a floor is missed."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--backend", default="auto", help="of the engine")
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument(
        "--highways",
        nargs="+",
        choices=("separate", "shared", "none"),
        default=["separate", "none"],
    )
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="only see that it works")
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = [SETTINGS[name] for name in options.settings]
    if options.quick:
        settings = [replace(s, batch=4, completions=2, every=s.max_length // 2) for s in settings]
        options.repeats = 1
    rows = [row for setting in settings for row in measure(setting, options)]
    print_table(rows)
    result: dict[str, object] = {"rollouts": [asdict(row) for row in rows]}
    if "bfloat16" in options.dtype:
        changes = {s.name: changes_in_bfloat16(s, options) for s in settings}
        result["bfloat16"] = changes
        for name, change in changes.items():
            listed = ", ".join(f"{what} {value:.1e}" for what, value in change.items())
            print(f"{name}: what bfloat16 does to the distribution: {listed}")
    if "molecules" in options.settings and not options.quick:
        result["molecules"] = saved = saved_by_schemes(options)
        print("molecules: " + ", ".join(f"{what} {value:.2f}" for what, value in saved.items()))
    print(f"seed {options.seed}, {options.repeats} repeats, one thread, {options.device}")
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0 if all(row.passed for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
