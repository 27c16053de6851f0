"""What the objectives over texts, melodies and sets cost.

``python -m benchmarks.objectives`` scores batches of 64 with every named component that is no
molecule objective (``benchmarks/molecules.py`` has those), made anew with an empty memo: folk
tunes with what is of melodies, lines of text with what is of texts, drug-like molecules with what
is of sets of them, as if their canonical forms were not known. CPU time of one core in microseconds
a sequence: the median of the repeats, beside what the class says (``Reward.microseconds``) and
``tokengym rewards`` shows. What needs a model (perplexity, a classifier) costs what that model
costs and is left out.

Exits 1 when a class is off by more than a factor of 5: most are single microseconds.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from tokengym.envs import Sequences, make_task
from tokengym.rewards import Reward, make_reward
from tokengym.rewards.molecules import canonical_smiles, molecule
from tokengym.rewards.molecules.structure import scaffold_of

WRONG_BY = 5.0
Figures = dict[str, dict[str, float]]
CORPUS = "(reference={data!r})"
CASES = {  # domain -> name -> its options
    "Melodies": {
        **dict.fromkeys(("tonality", "melodicity", "ratio_of_steps"), ""),
        **dict.fromkeys(("pitch_range", "rhythm_entropy", "motif_repetition"), ""),
        "corpus_closeness": CORPUS,
        "uniqueness": "",
        "repetition_penalty": "",
    },
    "Text": {
        "bleu": CORPUS,
        "length": "(unit='words')",
        "pattern": "(pattern='[a-z]+ (sea|harbour)')",
        "novelty": CORPUS,
        "coverage": CORPUS,
    },
    "Molecules": {"internal_diversity": "", "fcd": "(reference={data!r}, credit_by='shared')"},
}


def cost(reward: Reward, batches: list[Sequences]) -> float:
    """CPU microseconds a sequence, nothing known of any."""
    for cached in (molecule, canonical_smiles, scaffold_of):
        cached.cache_clear()
    start = time.process_time()
    for batch in batches:
        reward(batch)
    return (time.process_time() - start) / sum(map(len, batches)) * 1e6


def figures_of(domain: str, cases: dict[str, str], count: int, repeats: int) -> Figures:
    """Measured and stated cost of each component, by name."""
    data = make_task(f"tokengym/{domain}-v0").data
    assert data is not None
    rows = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    batches = [data[part] for part in rows[: 64 * count].split(64)]
    for batch in batches:
        _ = batch.texts  # decoding is not scoring
    known = data[rows[-200:]].texts
    found: Figures = {}
    for name, options in cases.items():
        expression = name + options.format(data=known)
        measured = median(cost(make_reward(expression), batches) for _ in range(repeats))
        stated = make_reward(expression).microseconds or math.nan
        found[name] = {"measured": measured, "stated": stated}
    return found


def main() -> int:
    """Measure, print; 1 where a class is off."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures: Figures = {}
    for domain, cases in CASES.items():
        figures |= figures_of(domain, cases, options.batches, options.repeats)
    table = Table("component", "us/sequence", "stated")
    for name, row in figures.items():
        table.add_row(name, f"{row['measured']:.1f}", f"{row['stated']:g}")
    console = Console(highlight=False)
    console.print(table)
    console.print(f"{options.batches} batches of 64, {options.repeats} repeats, seed 0")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    wrong = [
        name
        for name, row in figures.items()
        if not 1 / WRONG_BY <= row["measured"] / row["stated"] <= WRONG_BY
    ]
    if wrong:
        console.print(f"missed: {', '.join(wrong)}")
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
