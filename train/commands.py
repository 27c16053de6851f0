"""What is done with a run that is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from rich.console import Console

from ..agents import beam_search
from ..agents.checks import check_least
from ..envs import Sequences, Task, make_task, read_lines
from ..envs.tokenization import splitter
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
from .run_folder import RunError, RunFolder, check_place, csv_text, write_csv
from .samples import sample_columns, text_column
from .supervised.conditional import ConditionalLearner
from .writers import Writer, load_writer


def sample(options: Namespace, console: Console) -> None:
    """Write sequences with the agent of a run as a CSV: texts, and what the run's reward says.

    Of a checkpoint alone, without the run's folder, only the texts.
    """
    check_least(1, number=options.number)
    check_place(options.output)
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
            **_asked(writer, options.condition),
        )
    if options.condition is not None:
        raise RunError("a beam search is under no condition; leave --condition or --beams out")
    if (options.temperature, options.top_k, options.top_p) != (1.0, None, None):
        raise RunError(
            "a beam search draws nothing; leave --temperature, --top-k and --top-p, or --beams out"
        )
    found = beam_search(
        writer.policy,
        options.beams,
        max_length=writer.max_length,
        prompt=options.prompt or "",
        constraint=writer.constraint,
    )
    return found[: options.number]


def _asked(writer: Writer, condition: list[float] | None) -> dict[str, Any]:
    """What is to be written, as an argument of ``sample``; nothing where nothing is asked for."""
    if condition is None:
        return {}
    if not isinstance(writer, ConditionalLearner):
        raise RunError(
            f"a {type(writer).__name__} writes what it learnt to; --condition is for fits with "
            "classes or properties"
        )
    return {"condition": writer.asked_for(condition)}


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
    reference = None
    if options.reference is not None:  # read as data are
        reference = [line.text for line in read_lines(options.reference)]
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
            split=splitter("smiles" if domain == "molecules" else "words"),
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
    if isinstance(writer, ConditionalLearner) and held_out is not None:
        figures |= writer.asked_figures(held_out)
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
