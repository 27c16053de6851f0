"""Evaluation: from sequences to a table of figures."""

# Shapes: B sequences
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from ..agents import SequenceAgent
from ..agents.policies import Policy
from ..agents.pretraining import log_likelihoods
from ..envs import Sequences, Task, Vocabulary
from ..rewards import Scores
from ..rewards.files import read_column
from ..rewards.melodies import read_melody
from .metrics import mean_of, nats_a_token, share_of, text_figures
from .metrics.requested import Figures, Material, requested_figures

Summary = Mapping[str, Mapping[str, float | None]]


def figures_of_texts(texts: Sequence[str], reference: Sequence[str], domain: str) -> Figures:
    """The figures that the domain has for texts: molecules' or those of any text."""
    if domain == "molecules":
        from .metrics.molecules import molecule_figures  # RDKit is an extra

        return molecule_figures(texts, reference)
    return text_figures(texts, reference)


def figures_of_samples(
    task: Task,
    sequences: Sequences,
    reference: Sequence[str],
    policy: Policy | None = None,
    held_out: Sequences | None = None,
) -> Figures:
    """The figures of sequences: of their texts, and of likelihood.

    A policy's likelihood of data that it has not seen (``nll_data``, SeqGAN's NLL_gen) is reported
    beside the source's of the samples (``nll_oracle``), where the source of the data is known, and
    beside the policy's of its own samples (``own_entropy``): ``nll_oracle`` alone falls when a
    policy only sharpens. It is of the samples that the source can write at all, whose share is
    ``possible``. All are in nats a token.

    Args:
        task: what was written.
        sequences: the samples.
        reference: texts that are not new.
        policy: who wrote them; of one that reads a condition, which data have not, no likelihood
            of data is known, and that of its samples is given their conditions.
        held_out: what the policy has not seen; fresh samples of the source where it is known.
    """
    figures = figures_of_texts(sequences.texts, reference, task.domain)
    if figures.pop("characters", None):
        figures["length"] = mean_of(sequences.lengths_B.tolist())  # in tokens, the end counted
    if task.source is not None:
        log_probs_BT = task.source.log_prob(sequences)
        possible_B = log_probs_BT.sum(dim=1).isfinite()
        figures["possible"] = share_of(int(possible_B.sum()), len(sequences))
        figures["nll_oracle"] = nats_a_token(
            log_probs_BT[possible_B], sequences.lengths_B[possible_B]
        )
        held_out = task.source.sample(len(sequences), seed=HELD_OUT_SEED)
    if policy is not None and held_out is not None and not policy.condition_size:
        figures["nll_data"] = nats_a_token(log_likelihoods(policy, held_out), held_out.lengths_B)
    if sequences.log_probs_BT is not None:
        figures["own_entropy"] = nats_a_token(
            sequences.log_probs_BT.cpu(), sequences.lengths_B.cpu()
        )
    return figures


def figures_of_scores(scores: Scores) -> Figures:
    """The mean of the reward and of each of its parts, over the sequences where it did not fail."""
    values = {"reward": scores.values_B}
    values |= {f"reward/{name}": part_B for name, part_B in scores.parts.items()}
    return {name: mean_of(v_B[~v_B.isnan()].tolist()) for name, v_B in values.items()}


def further_figures(
    metrics: str,
    task: Task,
    sequences: Sequences,
    reference: Sequence[str],
    policy: Policy | None = None,
    *,
    statistics: Path | None = None,
    progress_bar: bool = False,
) -> Figures:
    """The figures of sequences that are asked for by name; see ``requested_figures``.

    Args:
        metrics: their names, with commas between, or ``"all"``.
        task: what was written.
        sequences: the samples.
        reference: what they are compared with.
        policy: whose hidden states are compared, of the samples and of the task's data.
        statistics: the file that keeps the statistics of reference molecules.
        progress_bar: show one over long work.
    """
    data = task.data
    both = None if data is None or list(reference) != data.texts else (sequences, data)
    return requested_figures(
        metrics,
        Material(
            texts=sequences.texts,
            reference=reference,
            domain=task.domain,
            split=partial(_tokens, task.vocabulary),
            policy=None if both is None or policy is None or policy.condition_size else policy,
            sequences=both,
            statistics=statistics,
            progress_bar=progress_bar,
        ),
    )


def _tokens(vocabulary: Vocabulary, text: str) -> list[str]:
    """Those of the vocabulary; a molecule that SELFIES cannot write is one that it lacks."""
    try:
        return vocabulary.tokenize(text)
    except ValueError:
        return [text]


def evaluate(agent: SequenceAgent, n: int = 2000, *, seed: int = 0, metrics: str = "") -> Figures:
    """The figures of sequences that an agent writes, compared with its task's data.

    Args:
        agent: who writes, with an environment.
        n: how many sequences.
        seed: of these samples.
        metrics: further figures by name, with commas between, or ``"all"``.

    Raises:
        ValueError: the agent was loaded without an environment.
    """
    if agent.task is None:
        raise ValueError(f"{agent} cannot be evaluated; load it with env=, or call set_env first")
    reference = agent.task.data.texts if agent.task.data else []
    sequences = agent.sample(n, seed=seed)
    figures = figures_of_samples(agent.task, sequences, reference, agent.policy)
    figures |= further_figures(metrics, agent.task, sequences, reference, agent.policy)
    return figures | figures_of_scores(agent.task.reward(sequences))


_ENDLESS = 10_000  # columns of a screen that nothing is too wide for
HELD_OUT_SEED = 2**31 - 1  # of a source's samples that nothing was trained on


def read_texts(path: str | Path) -> tuple[list[str], str]:
    """The texts of a file of samples, and their domain.

    A column ``smiles`` holds molecules; texts of events alone, melodies.
    """
    lines, column = read_column(path, keep_empty=True)
    texts = [line.text for line in lines]
    if column == "smiles":
        return texts, "molecules"
    return texts, "melodies" if all(map(read_melody, filter(None, texts))) else "text"


def figures_as_json(figures: Figures) -> dict[str, float | None]:
    """``{"validity": 0.9, "validity_se": 0.01, "validity_n": 900, ...}``; None where there is none.

    JSON has no word for infinity and NaN.
    """
    flat: dict[str, float | None] = {}
    for name, figure in figures.items():
        flat[name] = figure.value if math.isfinite(figure.value) else None
        flat[f"{name}_se"] = figure.se if math.isfinite(figure.se) else None
        flat[f"{name}_n"] = figure.n
    return flat


def print_figures(rows: Summary, console: Console) -> None:
    """A table of figures with their standard errors, a row for each set of samples.

    Where that is too wide, the sets are the columns; so is a single one, with its sample sizes.
    """
    names = figure_names(rows)
    cells = {
        label: [
            _cell(row.get(name), row.get(f"{name}_se")) + scored_of(row, name) for name in names
        ]
        for label, row in rows.items()
    }
    if len(rows) == 1:
        [row] = rows.values()
        cells["n"] = [f"{row.get(f'{name}_n') or 0:,.0f}" for name in names]
    table = _table([name.replace("_", "\n") for name in names], cells)
    room = console.options.update(max_width=_ENDLESS)
    if len(rows) == 1 or console.measure(table, options=room).maximum > console.width:
        turned = [list(column) for column in zip(*cells.values(), strict=True)]
        table = _table(list(cells), dict(zip(names, turned, strict=True)))
    console.print(table)


def print_entropy(task: Task, console: Console) -> None:
    """The limit of every policy's likelihood, where the source of the data is known."""
    if task.source is not None:
        entropy = task.source.entropy()
        error = f"±{entropy.se:.3f}" if entropy.se else ""
        line = f"entropy of the source: {entropy.value:.3f}{error} nats a sequence"
        if task.data is not None:
            line += f", {entropy.value / float(task.data.lengths_B.double().mean()):.3f} a token"
        console.print(line)


def figure_names(rows: Summary) -> list[str]:
    """The figures of a table, of all its rows, in their order."""
    names = dict.fromkeys(name for row in rows.values() for name in row if f"{name}_se" in row)
    return list(names)


def _table(columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", overflow="fold")  # rather than figures, which would be cut short
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for label, cells in rows.items():
        table.add_row(label, *cells)
    return table


def scored_of(row: Mapping[str, float | None], name: str) -> str:
    """``" of 7"`` where a mean of rewards is over 7 sequences and the row is of more.

    The others failed, or were not paid for; figures of something else say by their names of what.
    """
    n = row.get(f"{name}_n")
    written = row.get("validity_n") or row.get("uniqueness_n")  # which is of the valid
    if n is None or written is None or name.partition("/")[0] != "reward":
        return ""
    return f" of {n:,.0f}" if n < written else ""


def _cell(value: float | None, error: float | None) -> str:
    if value is None:
        return "-"
    places = 5 if 0 < abs(value) < 0.01 else 3
    return f"{value:.{places}f}" + ("" if error is None else f"±{error:.{places}f}")
