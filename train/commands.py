"""What is done with a run that is there, and with a reward by itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from jsonargparse import Namespace
from rich.console import Console
from rich.table import Table

from ..agents import SequenceAgent, load_agent
from ..agents.checks import check_least
from ..envs import Task, TokenEnv, make_task
from ..rewards import Objective, check_objective, make_reward
from .config import task_options
from .evaluation import (
    figures_as_json,
    figures_of_samples,
    figures_of_scores,
    figures_of_texts,
    print_entropy,
    print_figures,
    read_texts,
)
from .report import write_report
from .run_folder import RunError, RunFolder, csv_text, write_csv
from .samples import sample_columns, text_column
from .scores import read_scores, weigh
from .watching import Watch


def sample(options: Namespace, console: Console) -> None:
    """Write sequences with the agent of a run as a CSV: texts, and what the run's reward says.

    Of a checkpoint alone, without the run's folder, only the texts.
    """
    check_least(1, number=options.number)
    if options.run.is_dir():
        agent, task = load_run(options.run, constraint=options.constraint)
    else:
        agent, task = load_agent(options.run, constraint=options.constraint), None
    sequences = agent.sample(
        options.number,
        seed=options.seed,
        prompt=options.prompt,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
    )
    if task is None:
        columns = text_column(sequences)
    else:
        columns = sample_columns(task, sequences, task.reward(sequences))
    rows = list(zip(*columns.values(), strict=True))
    if options.output is None:
        print(csv_text(list(columns), rows), end="")
        return
    write_csv(options.output, list(columns), rows)
    console.print(f"{len(sequences)} sequences in {options.output}", soft_wrap=True)


def evaluate(options: Namespace, console: Console) -> None:
    """Print figures with their standard errors: of new samples of a run, or of a file of samples.

    Novelty is told against --reference; for a run, against the data that it was trained on.
    """
    check_least(1, number=options.number)
    target: Path = options.target
    reference = None if options.reference is None else read_texts(options.reference)[0]
    task = None
    if target.is_file() and target.suffix != ".safetensors":
        texts, domain = read_texts(target)
        figures = figures_of_texts(texts, reference or [], domain)
        if reference is None:
            figures.pop("novelty", None)  # nothing to be new against
    else:
        if not target.exists():
            raise RunError(f"there is no run and no file {target}; is the path right?")
        agent, task = load_run(target)
        known = reference if reference is not None else task.data.texts if task.data else []
        sequences = agent.sample(options.number, seed=options.seed)
        figures = figures_of_samples(task, sequences, known, agent.policy)
        figures |= figures_of_scores(task.reward(sequences))
    row = figures_as_json(figures)
    if options.json:
        print(json.dumps(row, indent=2, allow_nan=False))
        return
    print_figures({target.name: row}, console)
    if task is not None:
        print_entropy(task, console)


def report(options: Namespace, console: Console) -> None:
    """Write report.html of a finished run anew."""
    folder = RunFolder(options.run)
    task, summary = task_of_run(folder), folder.read_summary()
    if not summary or not folder.samples.exists():
        raise RunError(
            f"{folder.path} has no figures and samples to report; let the run come to its end with "
            f"tokengym train --resume --run {folder.path}"
        )
    write_report(folder, task, summary)
    console.print(f"report {folder.report}", soft_wrap=True)


def load_run(path: Path, constraint: str | None = None) -> tuple[SequenceAgent, Task]:
    """The agent of a run's folder, and its task with the reward as it was learnt from."""
    folder = RunFolder(path)
    task = task_of_run(folder, constraint)
    return load_agent(folder.checkpoint, TokenEnv(task)), task


def task_of_run(folder: RunFolder, constraint: str | None = None) -> Task:
    """The task of a run, under another constraint if one is given."""
    config = folder.read_config()
    options = task_options(config)
    return make_task(
        config["task"], **(options if constraint is None else {**options, "constraint": constraint})
    )


def weigh_run(options: Namespace, console: Console) -> None:
    """Say what a run's training sequences would have been worth by another reward.

    Nothing is scored again: scores.jsonl has every component's values.

      tokengym weigh runs/mine "0.2 * conv_discriminator + 0.8 * qed" --output weighed.csv
    """
    rounds = read_scores(options.run)
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
    a batch, again, backwards and one by one, then about 14 texts that nobody expects. Neither a memo
    nor a budget is heeded: with -n 64 that is 270 scores, so give a paid scorer a smaller -n. Ends
    with exit code 1 where there is a problem.
    """
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
        table = Table("what", "", "finding", title=objective.name)
        with Watch(console) as watch:
            findings = check_objective(objective, examples, watch.tell)
        for finding in findings:
            table.add_row(finding.what, finding.level, finding.detail)
            good &= finding.level != "problem"
        console.print(table)
    return good
