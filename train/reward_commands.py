"""What is done with a reward by itself: a run weighed again by another one, and a check of one."""

from __future__ import annotations

import numpy as np
import torch
from jsonargparse import Namespace
from rich.console import Console
from rich.table import Table

from ..agents.checks import check_least
from ..envs import make_task
from ..rewards import Objective, check_objective, make_reward
from .run_folder import RunError, check_place, write_csv
from .scores import read_scores, weigh
from .watching import Watch


def weigh_run(options: Namespace, console: Console) -> None:
    """Say what a run's training sequences would have been worth by another reward.

    Nothing is scored again: scores.jsonl has every component's values.

      tokengym weigh runs/mine "0.2 * conv_discriminator + 0.8 * qed" --output weighed.csv
    """
    check_place(options.output)
    try:
        rounds = read_scores(options.run)
    except FileNotFoundError as error:
        raise RunError(
            f"{options.run} has no scores of rounds; expected the folder of a run of tokengym train"
        ) from error
    weighed = list(zip(rounds, weigh(rounds, options.reward), strict=True))
    asked = [(each, scores) for each, scores in weighed if scores.ok_B.any()]
    if len(asked) < len(rounds):
        console.print(
            f"{len(rounds) - len(asked)} of {len(rounds)} rounds are left out: a component of "
            f"{options.reward!r} rested in them, or failed on all",
            soft_wrap=True,
        )
    rows = [
        (each.round, text, then, now)
        for each, scores in asked
        for text, then, now in zip(
            each.texts, each.scores.values_B.tolist(), scores.values_B.tolist(), strict=True
        )
    ]
    header = ("round", "text", "then", "now")
    if options.output is not None:
        write_csv(options.output, header, rows)
        console.print(f"{len(rows)} sequences in {options.output}", soft_wrap=True)
        return
    different = {text: (round, text, then, now) for round, text, then, now in rows if now == now}
    table = Table(*header, title=f"the best of {len(different)} different sequences")
    for round, text, then, now in sorted(different.values(), key=lambda row: -row[3])[:10]:
        table.add_row(str(round), text, f"{then:.4g}", f"{now:.4g}")
    console.print(table)


def check(options: Namespace, console: Console) -> bool:
    """Say what a run would meet in a reward: range, failures, cost, whether it can be relied on.

    Every objective of the expression is asked about examples of the task's data (or of --data), as
    a batch, again, backwards and one by one, then about 14 texts that nobody expects. Memo and
    budget are left aside: with -n 64 that is 270 scores, so give a paid scorer a smaller -n. Ends
    with exit code 1 where there is a problem.
    """
    check_least(1, number=options.number)
    reward = make_reward(options.reward)
    objectives = [part for part in reward.components() if isinstance(part, Objective)]
    if not objectives:
        raise ValueError(
            f"nothing in the reward {reward.name!r} scores one text by itself, which is what is "
            "checked; rewards of sets, discriminators and perplexity are not"
        )
    task = make_task(options.task, **({} if options.data is None else {"data": options.data}))
    if task.data is None:
        raise ValueError(f"the task {options.task!r} has no data to check with; give --data")
    generator = np.random.default_rng(options.seed)
    rows = generator.permutation(len(task.data))[: options.number]
    examples = task.data[torch.from_numpy(rows)].texts
    reward.adopt_canonical(task.canonical)
    good = True
    for objective in objectives:
        table = Table("what", "", "finding", title=f"{objective.name}, on data of {task.name}")
        with Watch(console) as watch:
            findings = check_objective(objective, examples, watch.tell)
        for finding in findings:
            table.add_row(finding.what, finding.level, finding.detail)
            good &= finding.level != "problem"
        console.print(table)
    return good
