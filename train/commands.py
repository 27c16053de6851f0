"""What is done with a run that is there, and with a reward by itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from jsonargparse import Namespace
from rich.console import Console
from rich.table import Table

from ..agents import beam_search
from ..agents.checks import check_least
from ..envs import Sequences, Task, make_task
from ..rewards import Objective, check_objective, make_reward
from .config import task_options
from .evaluation import (
    figures_as_json,
    figures_of_samples,
    figures_of_scores,
    figures_of_texts,
    further_figures,
    print_entropy,
    print_figures,
    read_texts,
)
from .held_out import split
from .metrics.requested import Figures, Material, metric_names, requested_figures
from .report import write_report
from .run_folder import RunError, RunFolder, csv_text, write_csv
from .samples import sample_columns, text_column
from .scores import read_scores, weigh
from .watching import Watch
from .writers import Writer, load_writer


def sample(options: Namespace, console: Console) -> None:
    """Write sequences with the agent of a run as a CSV: texts, and what the run's reward says.

    Of a checkpoint alone, without the run's folder, only the texts.
    """
    check_least(1, number=options.number)
    writer: Writer
    if options.run.is_dir():
        writer, task = load_run(options.run, constraint=options.constraint)
    else:
        writer, task = load_writer(options.run, constraint=options.constraint), None
    sequences = _written(writer, options)
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


def _written(writer: Writer, options: Namespace) -> Sequences:
    """Drawn sequences; with ``beams`` the most probable ones that a search finds."""
    if options.beams is None:
        return writer.sample(
            options.number,
            seed=options.seed,
            prompt=options.prompt,
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
        )
    found = beam_search(
        writer.policy,
        options.beams,
        max_length=writer.max_length,
        prompt=options.prompt or "",
        constraint=writer.constraint,
    )
    return found[: options.number]


def evaluate(options: Namespace, console: Console) -> None:
    """Print figures with standard errors and sample sizes: of new samples of a run, or of a file.

    They are compared with --reference; for a run, with the data that it was trained on. --metrics
    names further figures, or all of them:

      moses     of molecules: SNN, fragments, scaffolds, filters, distances of properties, ...
      fcd       of molecules: Frechet ChemNet distance, which needs the extra fcd
      bleu      BLEU and Self-BLEU, 2 to 5
      ngrams    distinct n-grams, divergence of their shares from the reference's
      melodies  distances of pitch classes and durations
      mmd       of a run: discrepancy of its policy's hidden states

      tokengym evaluate out.csv --metrics moses,fcd --reference mine.smi --statistics mine.stats

    What the reference's molecules have to be asked for is kept in the file --statistics, and read
    from there the next time.
    """
    check_least(1, number=options.number)
    metric_names(options.metrics)  # a mistake is found before anything is sampled
    target: Path = options.target
    reference = None if options.reference is None else read_texts(options.reference)[0]
    if target.is_file() and target.suffix != ".safetensors":
        task, figures = None, _figures_of_file(options, reference)
    elif target.exists():
        task, figures = _figures_of_run(options, reference)
    else:
        raise RunError(f"there is no run and no file {target}; is the path right?")
    row = figures_as_json(figures)
    if options.json:
        print(json.dumps(row, indent=2, allow_nan=False))
        return
    print_figures({target.name: row}, console)
    if task is not None:
        print_entropy(task, console)


def _figures_of_file(options: Namespace, reference: list[str] | None) -> Figures:
    texts, domain = read_texts(options.target)
    figures = figures_of_texts(texts, reference or [], domain)
    if reference is None:
        figures.pop("novelty", None)  # nothing to be new against
    return figures | requested_figures(
        options.metrics,
        Material(
            texts=texts,
            reference=reference or [],
            domain=domain,
            tokenization="smiles" if domain == "molecules" else "words",
            statistics=options.statistics,
            progress_bar=True,
        ),
    )


def _figures_of_run(options: Namespace, reference: list[str] | None) -> tuple[Task, Figures]:
    writer, task = load_run(options.target)
    known = reference if reference is not None else task.data.texts if task.data else []
    sequences = writer.sample(options.number, seed=options.seed)
    held_out = split(task)[1] if task.data else None
    figures = figures_of_samples(task, sequences, known, writer.policy, held_out)
    figures |= further_figures(
        options.metrics,
        task,
        sequences,
        known,
        writer.policy,
        statistics=options.statistics,
        progress_bar=True,
    )
    return task, figures | figures_of_scores(task.reward(sequences))


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


def load_run(path: Path, constraint: str | None = None) -> tuple[Writer, Task]:
    """Who writes in a run's folder, and its task with the reward as it was learnt from."""
    task = task_of_run(RunFolder(path), constraint)
    return load_writer(path, task), task


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
