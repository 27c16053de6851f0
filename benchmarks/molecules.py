"""What the molecule objectives cost, and what is saved where several score one batch.

``python -m benchmarks.molecules`` scores drug-like molecules (RDKit's wehi set) with every named
objective over molecules, each from nothing: the text is parsed, brought to its canonical form,
looked up in the memo and scored. CPU time of one core, in microseconds a molecule: the median of
the repeats, beside what the class says (``Reward.microseconds``) and ``tokengym rewards`` shows.
Then several components on one batch, canonical forms known, sharing parsed molecules and not, in
turns in one run: the ratio of their times, the mean of the repeats with its standard error.

Exits 1 when a class is off by more than a factor of 3, or when sharing is less than 1.5 times
faster for five properties that are cheap. Beside QED, which costs more than all of them, it saves
little; that ratio is printed and has no floor.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median, stdev
from typing import cast

from rich.console import Console
from rich.table import Table
from tokengym.envs import make_task
from tokengym.rewards import Objective, make_reward, reward_targets
from tokengym.rewards.molecules import canonical_smiles, molecule

OPTIONS = {  # of the objectives that cannot be made without
    "new_molecule": "reference=['CCO']",
    "organ_diversity": "reference=['CCO', 'CCN', 'c1ccccc1C', 'CC(=O)O']",
    "organ_novelty_hard": "reference=['CCO']",
    "organ_novelty_soft": "reference=['CCO']",
    "scaffold": "scaffold='c1ccc2ccccc2c1'",
    "similarity": "target='CC(C)(C)NCC(O)c1ccc(O)c(CO)c1'",
    "substructure": "smarts='[#7]-c1ccccc1'",
}
CHEAP = ("logp", "lipinski", "molecular_weight", "tpsa", "similarity")
DEAR = ("qed", "logp", "synthetic_accessibility")
WRONG_BY = 3.0
FLOOR = 1.5


def fresh(name: str) -> Objective:
    """The objective of this name, its memo empty, its tables loaded."""
    made = cast(Objective, make_reward(f"{name}({OPTIONS.get(name, '')})"))
    made.score(["CCO"])
    return made


def forget() -> None:
    """Empty what is kept between objectives."""
    molecule.cache_clear()
    canonical_smiles.cache_clear()


def cost(objective: Objective, texts: list[str]) -> float:
    """CPU microseconds a molecule, from nothing."""
    forget()
    start = time.process_time()
    objective.score_texts(texts)
    return (time.process_time() - start) / len(texts) * 1e6


def together(names: Sequence[str], texts: list[str], *, sharing: bool) -> float:
    """CPU microseconds a molecule for components that score one batch in turn."""
    components = [fresh(name) for name in names]
    forget()
    for text in texts:
        canonical_smiles(text)
    spent = 0.0
    for component in components:
        if not sharing:
            molecule.cache_clear()
        start = time.process_time()
        component.score_texts(texts)
        spent += time.process_time() - start
    return spent / len(texts) * 1e6


def saved(names: Sequence[str], texts: list[str], repeats: int) -> tuple[float, float]:
    """How many times faster sharing is: the mean ratio of the repeats and its standard error."""
    ratios = [
        together(names, texts, sharing=False) / together(names, texts, sharing=True)
        for _ in range(repeats)
    ]
    return mean(ratios), stdev(ratios) / math.sqrt(repeats)


def main() -> int:
    """Measure, print; 1 where a figure is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--molecules", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    data = make_task("tokengym/Molecules-v0").data
    assert data is not None
    texts = random.Random(options.seed).sample(list(data.texts), options.molecules)

    named = [n for n, target in reward_targets().items() if ".molecules" in target]
    figures: dict[str, dict[str, float]] = {}
    for name in named:
        measured = median(cost(fresh(name), texts) for _ in range(options.repeats))
        figures[name] = {"measured": measured, "stated": fresh(name).microseconds or math.nan}
    sharing = {" + ".join(names): saved(names, texts, options.repeats) for names in (CHEAP, DEAR)}

    table = Table("objective", "us/molecule", "stated")
    for name, row in figures.items():
        table.add_row(name, f"{row['measured']:.0f}", f"{row['stated']:.0f}")
    console = Console(highlight=False)
    console.print(table)
    for names, (ratio, error) in sharing.items():
        console.print(f"{names}: sharing is {ratio:.2f} ± {error:.2f} times faster")
    console.print(
        f"{options.molecules} molecules, {options.repeats} repeats, seed {options.seed}; "
        f"floor {FLOOR} for the first"
    )
    if options.json:
        options.json.write_text(json.dumps({"objectives": figures, "sharing": sharing}, indent=1))
    wrong = [
        name
        for name, row in figures.items()
        if not 1 / WRONG_BY <= row["measured"] / row["stated"] <= WRONG_BY
    ]
    if sharing[" + ".join(CHEAP)][0] < FLOOR:
        wrong.append("sharing")
    if wrong:
        console.print(f"missed: {', '.join(wrong)}")
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
