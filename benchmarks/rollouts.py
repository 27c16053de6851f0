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
  highway would take at the roof, that of a product of two large matrices in this precision.
- ``tokens equal``: completions whose every token is that of ``reference``, in float32: a
  difference is a tie of the CDF to rounding.

Then the discriminator alone, over completions of all prefixes of S1 and S2: sequences a second by
``conv2d``, whole and with prefixes shared, and the largest change of a score in bfloat16. On
``molecules`` also what the scheme ``reuse`` saves.

Floors on a CPU, of the ratio to the double loop, float32 / bfloat16: without a highway S1 10;
with the paper's S2 3 / 5, S3 3 / 4. With the paper's highway S1 has none in float32: docs/
performance.md says what the limit is. The discriminator alone, without a highway, with prefixes
shared: S1 8, S2 15. At most one completion of 1,000 may differ from ``reference``. Exits 1 where
one is missed. ``--quick`` has small batches and no floors but that of the tokens.
"""

# Shapes: B sequences, T steps, N completions, R rows, K features
from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import cast

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from tokengym.agents import Policy, action_values, sample
from tokengym.agents.completions import Backend, Plan, tiles
from tokengym.agents.precision import distribution_change, in_precision
from tokengym.agents.rollouts import with_prefixes
from tokengym.envs import Prefixes, Sequences
from tokengym.rewards import ConvDiscriminator
from tokengym.rewards.discriminators import ConvNetwork
from tokengym.rewards.discriminators.conv import Highway, Scoring

from .public_codes import by_prefix, conv2d_score, double_loop
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
SCORING_FLOORS = {("S1", "none", "float32"): 8.0, ("S2", "none", "float32"): 15.0}
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
        backend: that ran.
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
    backend: str
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


def policy_operations(policy: Policy) -> int:
    """Floating-point operations of the products of matrices of one token's step.

    Of every weight matrix; the embedding and what the first layer makes of it are looked up.
    """
    looked_up = ("embedding.weight", "network.weight_ih_l0")
    sizes = [w.numel() for name, w in policy.named_parameters() if name not in looked_up]
    return 2 * sum(sizes)


def measure(setting: Setting, options: argparse.Namespace) -> list[Row]:
    """The engine and the slower sides in turns, for every highway and precision."""
    case = Case(setting, options.seed, options.device)
    device: str = options.device
    backend: Backend = options.backend
    expected, found = case.drawn("reference"), case.drawn(backend)  # warms up, too
    equal = sum(found[key] == row for key, row in expected.items())
    rows = []
    for highway in cast("list[Highway]", options.highways):
        times: dict[str, list[float]] = defaultdict(list)
        ratios: dict[tuple[str, str], list[float]] = defaultdict(list)
        tokens: dict[str, int] = {}
        for repeat in range(options.repeats):
            slow = case.slow_sides(highway)
            for name in options.dtype:
                scorer = case.discriminator(highway, name)

                def run(name: str = name, scorer: ConvDiscriminator = scorer) -> None:
                    N = setting.completions
                    tokens[name] = case.roll_out(DTYPES[name], backend, scorer, N)

                if device == "cuda" and repeat == 0:
                    run()  # records graphs, compiles kernels
                times[name].append(seconds(run, device))
                for side, taken in slow.items():
                    ratios[name, side].append(taken / times[name][-1])
        for name in options.dtype:
            taken = mean(times[name])
            network = cast(ConvNetwork, scorer.network)
            head = 0 if network.highway is None else 2 * network.highway.weight.numel()
            scored = setting.batch * setting.completions * len(case.prefixes)
            operations = tokens[name] * policy_operations(case.policy) + scored * head
            rows.append(
                Row(
                    setting=setting.name,
                    highway=highway,
                    dtype=name,
                    backend=backend,
                    tokens_per_second=tokens[name] / taken,
                    tables_per_second=len(case.prefixes) / case.unfinished / taken,
                    gemm_share=operations / gemm_roof(device, DTYPES[name]) / taken,
                    ratios={
                        side: mean_and_error(ratios[name, side])
                        for side in ("double loop", "by prefix", "reference")
                    },
                    equal=equal if name == "float32" else None,
                    compared=len(expected),
                    floor=None
                    if options.quick or device != "cpu"
                    else FLOORS.get((setting.name, highway, name)),
                )
            )
    return rows


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its standard error, NaN of one value."""
    error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else math.nan
    return mean(values), error


@dataclass(frozen=True)
class Scored:
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


def measure_scoring(setting: Setting, options: argparse.Namespace) -> list[Scored]:
    """Completions of uniform tokens of ten prefixes, 512 each."""
    case, device = Case(setting, options.seed, options.device), options.device
    T, N = setting.max_length, 1 if options.quick else 512 // setting.batch
    batches, kept = [], dict[object, object]()
    generator = torch.Generator().manual_seed(options.seed)
    rows_R = torch.arange(setting.batch).repeat_interleave(N)
    for length in range(1, T, max(1, T // 10)):
        tokens_RT = case.sequences.tokens_BT.cpu()[rows_R]
        shape = tokens_RT[:, length:].shape
        A = case.policy.vocabulary.num_actions
        tokens_RT[:, length:] = torch.randint(A, shape, generator=generator)
        completed = Sequences.from_tokens(tokens_RT.to(device), case.policy.vocabulary)
        prefixes = Prefixes(case.sequences, rows_R.to(device), length, kept)
        batches.append(replace(completed, prefixes=prefixes))
    found = []
    for highway in ("separate", "shared", "none"):
        for scoring in ("float32", "bfloat16"):
            if highway == "none" and scoring == "bfloat16" and device == "cpu":
                continue  # nothing is rounded
            exact = case.discriminator(highway)
            made = case.discriminator(highway, scoring)
            network = cast(ConvNetwork, exact.network)

            def public(network: ConvNetwork = network) -> None:
                for batch in batches[:: 1 if options.quick else 5]:
                    for rows in batch.tokens_BT.split(64):
                        conv2d_score(network, rows)

            def whole(made: ConvDiscriminator = made) -> list[torch.Tensor]:
                return [made(replace(batch, prefixes=None)).values_B for batch in batches]

            def shared(made: ConvDiscriminator = made) -> list[torch.Tensor]:
                return [made(batch).values_B for batch in batches]

            public_batches = len(batches[:: 1 if options.quick else 5])
            change = max(
                float((exact(batch).values_B - values_B).abs().max())
                for batch, values_B in zip(batches, shared(), strict=True)
            )
            whole()
            rates = [
                len(rows_R) * count / seconds(run, device)
                for run, count in (
                    (public, public_batches),
                    (whole, len(batches)),
                    (shared, len(batches)),
                )
            ]
            key = (setting.name, highway, scoring)
            floor = None if options.quick or device != "cpu" else SCORING_FLOORS.get(key)
            found.append(Scored(*key, *rates, change=change, floor=floor))
    return found


def print_rollouts(rows: list[Row]) -> None:
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


def print_scoring(rows: list[Scored]) -> None:
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


def new_table(title: str, columns: Sequence[str]) -> Table:
    """Text to the left, numbers to the right."""
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < 3 else "right")
    return table


def verdict(floor: float | None, passed: bool) -> str:
    """The floor, and whether it holds."""
    stated = "" if floor is None else f"{floor:g} "
    return stated + ("" if floor is None and passed else "met" if passed else "missed")


def reuse(options: argparse.Namespace) -> dict[str, float]:
    """What the scheme saves on peaked sequences, all prefixes, N = 4."""
    case = Case(SETTINGS["molecules"], options.seed, options.device)
    scorer = case.discriminator("separate")
    tokens, taken = {}, {}
    for scheme in ("plain", "reuse"):

        def run(scheme: str = scheme) -> None:
            tokens[scheme] = action_values(
                case.policy,
                case.sequences,
                scorer,
                completions=4,
                scheme=scheme,  # type: ignore[arg-type]
                seed=options.seed,
            ).tokens

        taken[scheme] = seconds(run, options.device)
    assert case.sequences.log_probs_BT is not None
    nats = -float(case.sequences.log_probs_BT.sum()) / case.sequences.num_tokens
    return {
        "mean length": case.sequences.num_tokens / len(case.sequences),
        "nats a token": nats,
        "tokens of reuse, plain = 1": tokens["reuse"] / tokens["plain"],
        "time of reuse, plain = 1": taken["reuse"] / taken["plain"],
    }


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
    print_rollouts(rows)
    scored = [
        row
        for setting in settings
        if setting.name in ("S1", "S2")
        for row in measure_scoring(setting, options)
    ]
    print_scoring(scored)
    result: dict[str, object] = {
        "rollouts": [asdict(row) for row in rows],
        "scoring": [asdict(row) for row in scored],
    }
    if "bfloat16" in options.dtype:
        result["bfloat16"] = {s.name: changes_in_bfloat16(s, options) for s in settings}
        for name, change in cast("dict[str, dict[str, float]]", result["bfloat16"]).items():
            listed = ", ".join(f"{what} {value:.1e}" for what, value in change.items())
            print(f"{name}: what bfloat16 does to the distribution: {listed}")
    if "molecules" in options.settings and not options.quick:
        result["molecules"] = saved = reuse(options)
        print("molecules: " + ", ".join(f"{what} {value:.2f}" for what, value in saved.items()))
    print(f"seed {options.seed}, {options.repeats} repeats, one thread, {options.device}")
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0 if all(row.passed for row in (*rows, *scored)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
