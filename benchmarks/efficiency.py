"""How few calls of an objective it takes to find good molecules: PMO's measure, six of its tasks.

    python -m benchmarks.efficiency --only celecoxib --seeds 1

PMO (Gao et al., 2022, arXiv 2206.12411): a call is a molecule that was not asked for before, by
canonical SMILES; what is no molecule is none. The figure is the area under the mean score of the
ten best so far, over 10,000 calls, looked at every 100 calls and divided by 10,000. An agent that
does not get to 10,000 keeps its last value for the rest, as there.

Every run begins from one prior, taught on the 10,000 built-in molecules; the row ``prior`` goes on
writing with it and learns nothing. REINVENT's published figures stand beside, whose prior was
taught on 250,000 molecules of ZINC. Floor: a run takes at most ten minutes of one core; exits 1
where one took longer.
"""

# Shapes: B sequences
from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from statistics import mean
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from tokengym.agents import AugmentedHillClimb, Reinvent, SequenceAgent
from tokengym.agents.counter_rng import fold_in
from tokengym.rewards import make_reward
from tokengym.rewards.molecules import canonical_smiles

from .organ import domains, fitting, pretrained
from .results import CPU_SECONDS, Figures, Row, Study, exactly, markdown, parser_of, shown, table

# REINVENT's area in PMO's table 2 (SMILES), with a prior of 250,000 molecules.
PUBLISHED = {
    "celecoxib_rediscovery": 0.710,
    "isomers_c7h8n2o2": 0.852,
    "median1": 0.356,
    "perindopril_mpo": 0.537,
    "amlodipine_mpo": 0.635,
    "zaleplon_mpo": 0.358,
}
AGENTS: dict[str, tuple[type[SequenceAgent], dict[str, Any]]] = {
    "Reinvent": (
        Reinvent,
        {"sigma": 500.0, "learning_rate": 5e-4, "batch_size": 64, "replay_batch_size": 24},
    ),
    "AugmentedHillClimb": (
        AugmentedHillClimb,
        {"sigma": 120.0, "learning_rate": 5e-4, "batch_size": 64, "replay_batch_size": 10},
    ),
}
QUICK: dict[str, Any] = {"batch_size": 16, "replay_batch_size": 4}
CALLS, EVERY, BEST = 10_000, 100, 10
WITHIN = 600.0  # CPU-seconds of a run
_MOST_TOKENS = 4_000_000  # an agent that writes nothing new ends here


@dataclass
class Calls:
    """The molecules that an objective was asked about, in their order.

    Args:
        limit: how many count.
    """

    limit: int
    scores: dict[str, float] = field(default_factory=dict)
    written: int = 0

    def add(self, texts: list[str], values: list[float]) -> None:
        """Count what is a molecule and was not asked about before."""
        self.written += len(texts)
        for text, value in zip(texts, values, strict=True):
            form = canonical_smiles(text) if text else None
            if form is not None and form not in self.scores and not self.spent:
                self.scores[form] = value

    @property
    def spent(self) -> bool:
        """Whether no other one counts."""
        return len(self.scores) >= self.limit


def area(scores: list[float], limit: int, every: int = EVERY, best: int = BEST) -> float:
    """PMO's area under the mean of the ``best`` highest scores, over ``limit`` calls, from (0, 0).

    Args:
        scores: of the calls, in their order.
        limit: calls that the area is divided by; what is missing of them has the last mean.
        every: calls between two looks, the trapezoid rule's step.
        best: how many of the highest scores are averaged.
    """
    places = [*range(every, min(len(scores), limit), every), min(len(scores), limit)]
    total, before, last = 0.0, 0, 0.0
    for place in places if scores else []:
        value = mean(sorted(scores[:place], reverse=True)[:best])
        total += (place - before) * (value + last) / 2
        before, last = place, value
    return (total + (limit - before) * last) / limit


class Counting(BaseCallback):
    """Counts an agent's calls, and ends its learning with the last of them."""

    def __init__(self, calls: Calls) -> None:
        super().__init__()
        self._calls = calls

    def _on_rollout_end(self) -> None:
        made = self.locals["made"]
        self._calls.add(made.sequences.texts, made.scores.values_B.tolist())

    def _on_step(self) -> bool:
        return not self._calls.spent


def run(study: Study, task: str, agent: str, limit: int, seed: int) -> Figures:
    """One agent on one task, from the prior."""
    calls, (molecules, _) = Calls(limit), domains(study)
    learner = pretrained(study, molecules, seed=0)
    if agent == "prior":
        reward = make_reward(task)
        while not calls.spent and calls.written * learner.max_length < _MOST_TOKENS:
            written = learner.sample(limit // 4, seed=fold_in(seed, calls.written))
            calls.add(written.texts, reward(written).values_B.tolist())
    else:
        kind, options = AGENTS[agent]
        options = options | (QUICK if study.quick else {})
        env = molecules.env(task)
        learning = kind(learner.policy, env, seed=seed, device="cpu", **options)
        learning.learn(_MOST_TOKENS, callback=Counting(calls))
    found = list(calls.scores.values())
    return {
        "auc": exactly(area(found, limit), len(found)),
        "top_10": exactly(mean(sorted(found, reverse=True)[:BEST]), BEST),
        "calls": exactly(len(found)),
        "new": exactly(len(found) / calls.written, calls.written),
    }


def rows(study: Study) -> dict[str, dict[str, Row]]:
    """Every agent on every task: by task, then by agent."""
    limit, tasks = (30, ["median1"]) if study.quick else (CALLS, list(PUBLISHED))
    found: dict[str, dict[str, Row]] = {}
    for task in tasks:
        found[task] = {}
        for agent in ("prior", *AGENTS):
            settings = {"calls": limit, "prior": fitting(study)}
            settings |= AGENTS[agent][1] if agent in AGENTS else {}
            compute = partial(run, study, task, agent, limit)
            found[task][agent] = study.row(f"{task}, {agent}", settings, compute)
    return found


def main() -> int:
    """Measure what is missing, write the section; 1 where a run took too long."""
    study = Study("efficiency", parser_of(__doc__).parse_args())
    found = rows(study)
    areas = [
        [task, *(shown(row["auc"]) for row in of_task.values()), f"{PUBLISHED[task]:.3f}"]
        for task, of_task in found.items()
        if any(row.seeds for row in of_task.values())
    ]
    story = (
        f"Area under the mean score of the {BEST} best molecules over {CALLS:,} different ones "
        "(PMO, Gao et al., 2022), best 1. All begin from one prior of the 10,000 built-in "
        "molecules; *prior* learns nothing. One that does not find so many keeps its last mean "
        f"for the rest; it ends after {_MOST_TOKENS:,} tokens. REINVENT's figure is that of PMO, "
        "with a prior of 250,000 molecules of ZINC."
    )
    columns = {
        "top_10": "top 10 at the end",
        "calls": "calls",
        "new": "share of what was written",
        CPU_SECONDS: "CPU-seconds",
    }
    all_rows = [row for of_task in found.values() for row in of_task.values()]
    parts = [
        markdown(["", "prior", *AGENTS, "REINVENT, published"], areas),
        table(columns, all_rows),
    ]
    study.publish("Sample efficiency", story, parts)
    seconds = [figures[CPU_SECONDS].value for row in all_rows for figures in row.seeds]
    print(f"longest run: {max(seconds, default=0.0):.0f} CPU-seconds; floor {WITHIN:.0f}")
    return int(max(seconds, default=0.0) > WITHIN)


if __name__ == "__main__":
    raise SystemExit(main())
