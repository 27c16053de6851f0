"""The command line: ``tokengym train | sample | evaluate | report | weigh | tasks ...``.

Options come from type hints, through jsonargparse: a YAML file, and anything overridden after it.
Each command is a function below; a mistake of the user's ends in one message and exit code 2, not
in a traceback.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import inspect
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace, set_parsing_settings
from rich.console import Console
from rich.table import Column, Table

from ..agents import AGENTS, CheckpointError, SequenceAgent, load_agent
from ..envs import DataError, make_task, options_of, registered_tasks, task_factory
from ..envs.constraints import CONSTRAINTS
from ..rewards import ObjectiveError, Reward, UnknownRewardError, make_reward, reward_targets
from ..rewards.expressions import load_target
from .evaluation import (
    figures_as_json,
    figures_of_samples,
    figures_of_texts,
    print_figures,
    read_texts,
)
from .report import write_report
from .run_folder import RunFolder, write_csv
from .scores import read_scores, weigh
from .training import PretrainConfig, RunError, TrainConfig, task_options, train

# What a user can mend; anything else is a defect of ours and shows its traceback.
_USERS_MISTAKES = (
    *(DataError, CheckpointError, RunError, ObjectiveError, UnknownRewardError),
    *(ValueError, TypeError, ImportError, OSError),
)
_AGENT_SKIPS = {
    "env",
    "seed",
    "verbose",
    "tensorboard_log",
    "stats_window_size",
    "_init_setup_model",
}

_DESCRIPTION = """
Write discrete sequences (molecules, melodies, sentences) and learn to write what scores well.

  tokengym train examples/organ_molecules.yaml --run runs/mine
  tokengym sample runs/mine -n 1000 --output out.csv
  tokengym evaluate runs/mine

`tokengym COMMAND --help` describes a command and all of its options.
"""


class HelpFormatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Jsonargparse's help, with descriptions as they are written."""


class Parser(ArgumentParser):
    """A parser whose errors are short and name what was probably meant."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, formatter_class=HelpFormatter, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the error, the nearest option, and where the help is; exit with 2."""
        fail(_explain(message, self), hint=f"see: {self.prog} --help".replace(" [options]", ""))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits with 0, 1 (stopped before the end) or 2 (a mistake)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # so that a user's own module:attribute is found
    if arguments[:1] == ["train"] and len(arguments) > 1 and not arguments[1].startswith("-"):
        arguments.insert(1, "--config")
    parser, commands = _parsers()
    options = parser.parse_args(arguments)
    console = Console()
    warnings.showwarning = _show_warning
    try:
        done = commands[options.command](options[options.command], console)
    except KeyboardInterrupt:
        fail("stopped at once; the last checkpoint is whole")
    except BrokenPipeError:
        sys.exit(1)
    except _USERS_MISTAKES as error:
        if os.environ.get("TOKENGYM_TRACEBACK"):
            raise
        fail(str(error), hint="for the traceback set TOKENGYM_TRACEBACK=1")
    sys.exit(0 if done is None or done else 1)


def fail(message: str, hint: str = "") -> NoReturn:
    """Print an error and exit with 2."""
    print(f"error: {message}" + (f"\n{hint}" if hint else ""), file=sys.stderr)
    sys.exit(2)


Command = Callable[[Namespace, Console], "bool | None"]


def _parsers() -> tuple[Parser, dict[str, Command]]:
    set_parsing_settings(docstring_parse_attribute_docstrings=True)  # a sentence under each field
    parser = Parser(prog="tokengym", description=_DESCRIPTION)
    subcommands = parser.add_subcommands(dest="command", metavar="COMMAND")
    commands: dict[str, Command] = {}

    def add(name: str, run: Command, help: str) -> Parser:
        made = Parser(description=inspect.cleandoc(run.__doc__ or ""))
        commands[name] = run
        subcommands.add_subcommand(name, made, help=help)
        return made

    p = add("train", _train, "train an agent, from a YAML file")
    p.add_argument("--config", action="config", help="a YAML file of the options below")
    p.add_class_arguments(TrainConfig, skip={"pretrain"})
    p.add_class_arguments(PretrainConfig, "pretrain")
    p.add_subclass_arguments(
        SequenceAgent,
        "agent",
        skip=_AGENT_SKIPS,
        required=True,
        help="who learns: ORGAN, SeqGAN, or a class of your own",
    )
    p.add_argument(
        "--skip-invalid",
        action="store_true",
        help="leave out lines of the data that cannot be used, and count them",
    )
    p.add_argument("--resume", action="store_true", help="go on with the run in its folder")

    p = add("sample", _sample, "write sequences with a trained agent")
    p.add_argument("run", type=Path, help="the folder of a run, or a checkpoint")
    p.add_argument("-n", "--number", type=int, default=100, help="how many sequences")
    p.add_argument("--output", type=Path, help="a CSV file; printed by default")
    p.add_argument("--seed", type=int, default=0, help="one seed, one result")
    p.add_argument("--prompt", type=str, help="what every sequence begins with")
    p.add_argument("--temperature", type=float, default=1.0, help="below 1 is sharper")
    p.add_argument(
        "--constraint", type=str, help="which tokens may come next; the run's by default"
    )

    p = add("evaluate", _evaluate, "figures of a run or of a file of samples")
    p.add_argument("target", type=Path, help="the folder of a run, or a file of samples")
    p.add_argument("--reference", type=Path, help="a file of known sequences, for novelty")
    p.add_argument(
        "-n", "--number", type=int, default=2000, help="how many samples to draw of a run"
    )
    p.add_argument("--seed", type=int, default=0, help="of these samples")
    p.add_argument("--json", action="store_true", help="print JSON instead of a table")

    p = add("report", _report, "write a run's report.html anew")
    p.add_argument("run", type=Path, help="the folder of a run")
    p = add("weigh", _weigh, "weigh a run's sequences by another reward")
    p.add_argument("run", type=Path, help="the folder of a run")
    p.add_argument("reward", type=str, help="an expression over the components that it recorded")
    p.add_argument("--output", type=Path, help="a CSV file of all; the best are printed by default")
    add("tasks", _tasks, "list the registered tasks")
    add("rewards", _rewards, "list the named rewards")
    return parser, commands


def _train(options: Namespace, console: Console) -> bool:
    """Train an agent: pretraining on real sequences, then learning from the reward.

    A YAML file holds the options (examples/ has some), anything after it overrides it:

      tokengym train examples/organ_molecules.yaml --data mine.smi --run runs/mine --seed 3

    Ctrl-C saves a checkpoint and says how to resume.
    """
    values = options.as_dict()
    resume, skip_invalid = values.pop("resume"), values["skip_invalid"]
    values.pop("config")
    agent = values["agent"]
    named = {k: v for k, v in values.items() if k not in ("agent", "skip_invalid", "pretrain")}
    return train(
        TrainConfig(**named, pretrain=PretrainConfig(**values["pretrain"])),
        (_import_class(agent["class_path"]), agent["init_args"]),
        yaml.safe_dump(values, sort_keys=False),
        resume=resume,
        skip_invalid=skip_invalid,
        console=console,
    )


def _sample(options: Namespace, console: Console) -> None:
    """Write sequences with the agent of a run, one a row of a CSV."""
    agent = load_agent(_checkpoint_of(options.run), constraint=options.constraint)
    sequences = agent.sample(
        options.number, seed=options.seed, prompt=options.prompt, temperature=options.temperature
    )
    name = "smiles" if sequences.vocabulary.tokenization.startswith("smiles") else "text"
    if options.output is None:
        print("\n".join(sequences.texts))
        return
    write_csv(options.output, [name], [[text] for text in sequences.texts])
    console.print(f"{len(sequences)} sequences in {options.output}", highlight=False)


def _evaluate(options: Namespace, console: Console) -> None:
    """Print figures with their standard errors: of new samples of a run, or of a file of samples.

    Novelty is told against --reference; for a run, against the data that it was trained on.
    """
    target: Path = options.target
    reference = None if options.reference is None else read_texts(options.reference)[0]
    if target.is_file() and target.suffix != ".safetensors":
        texts, domain = read_texts(target)
        figures = figures_of_texts(texts, reference or [], domain)
        if reference is None:
            figures.pop("novelty", None)  # nothing to be new against
    else:
        if not target.exists():
            raise RunError(f"there is no run and no file {target}; is the path right?")
        config = _config_of(target)
        task = make_task(config["task"], **task_options(config))
        agent = load_agent(_checkpoint_of(target), constraint=task.constraint)
        known = reference if reference is not None else task.data.texts if task.data else []
        sequences = agent.sample(options.number, seed=options.seed)
        figures = figures_of_samples(task, sequences, known, agent.policy)
    row = figures_as_json(figures)
    if options.json:
        print(json.dumps(row, indent=2, allow_nan=False))
    else:
        print_figures({target.name: row}, console)


def _report(options: Namespace, console: Console) -> None:
    """Write report.html of a finished run anew."""
    folder = RunFolder(options.run)
    config = _config_of(options.run)
    write_report(folder, make_task(config["task"], **task_options(config)), folder.read_summary())
    console.print(f"report {folder.report}", highlight=False)


def _weigh(options: Namespace, console: Console) -> None:
    """Say what a run's training sequences would have been worth by another reward.

    Nothing is scored again: scores.jsonl has every component's values.

      tokengym weigh runs/mine "0.2 * conv_discriminator + 0.8 * qed" --output weighed.csv
    """
    rounds = read_scores(options.run)
    rows = [
        (each.round, text, then, now)
        for each, scores in zip(rounds, weigh(rounds, options.reward), strict=True)
        for text, then, now in zip(
            each.texts, each.scores.values_B.tolist(), scores.values_B.tolist(), strict=True
        )
    ]
    header = ("round", "text", "then", "now")
    if options.output is not None:
        write_csv(options.output, header, rows)
        console.print(f"{len(rows)} sequences in {options.output}", highlight=False)
        return
    different = {text: (round, text, then, now) for round, text, then, now in rows if now == now}
    table = Table(*header, title=f"the best of {len(different)} different sequences")
    for round, text, then, now in sorted(different.values(), key=lambda row: -row[3])[:10]:
        table.add_row(str(round), text, f"{then:.4g}", f"{now:.4g}")
    console.print(table)


def _tasks(options: Namespace, console: Console) -> None:
    """List the registered tasks with their options, and the constraints that each can be given."""
    table = Table("task", "what is written", "options")
    for id in registered_tasks():
        factory = task_factory(id)
        summary = (factory.__doc__ or "").strip().splitlines()[0]
        taken = "\n".join(f"{k}={v!r}" for k, v in options_of(factory).items())
        table.add_row(id, summary.partition(": ")[2] or summary, taken)
    console.print(table)
    table = Table("constraint", "what it asks")
    for name, kind in CONSTRAINTS.items():
        parameters = inspect.signature(kind).parameters.values()
        taken = ", ".join(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)
        what = (kind.__doc__ or "").strip().splitlines()[0]
        table.add_row(f"{name}({taken})" if taken else name, what)
    console.print(table)
    console.print(
        "Combine them: 'minimum_length(8) & no_repetition(3)'. One of your own is "
        "'module:attribute'.",
        highlight=False,
    )


def _rewards(options: Namespace, console: Console) -> None:
    """List the named rewards: kind, range, microseconds a sequence, credit, what they are."""
    table = Table(Column("name", no_wrap=True), "kind", "range", "µs each", "credit", "what it is")
    for name, target in reward_targets().items():
        try:
            table.add_row(name, *_about_reward(name, target))
        except (ImportError, ValueError, TypeError) as error:
            table.add_row(name, "-", "-", "-", "-", f"not available: {error}")
    console.print(table)
    console.print(
        "Combine them: '0.5 * conv_discriminator + 0.5 * sigmoid(qed, low=0.2, high=0.8)'. "
        "One of your own is 'module:attribute'.",
        highlight=False,
    )


def _about_reward(name: str, target: str) -> tuple[str, str, str, str, str]:
    """A row of the list; how a reward is called, where it is made of others."""
    found = load_target(target)
    if not (isinstance(found, type) and issubclass(found, Reward)):
        found = make_reward(name)
    first_line = (found.__doc__ or "").strip().partition("\n")[0]
    if found.kind != "component":
        assert isinstance(found, type)
        parameters = inspect.signature(found).parameters.values()
        bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters]
        call = f"{name}{inspect.Signature(bare)}"
        return found.kind, "-", "-", "theirs", f"{call}: {first_line}"
    low, high = found.range
    cost = "-" if found.microseconds is None else f"{found.microseconds:,.0f}"
    what = first_line + _options_needed(found)
    return found.kind, f"{low:g} .. {high:g}", cost, found.credit, what


def _options_needed(found: object) -> str:
    """What a reward cannot be made without, as in 'Needs target='; empty for most."""
    if not isinstance(found, type):
        return ""
    parameters = inspect.signature(found).parameters.values()
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = [f"{p.name}=" for p in parameters if p.default is p.empty and p.kind in plain]
    return f" Needs {', '.join(needed)}." if needed else ""


def _checkpoint_of(path: Path) -> Path:
    return RunFolder(path).checkpoint if path.is_dir() else path


def _config_of(run: Path) -> dict[str, Any]:
    path = RunFolder(run).config
    if not path.exists():
        raise RunError(f"{run} is no folder of a run: it has no {path.name}")
    try:
        config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise RunError(f"{path} is no YAML: {error}") from error
    return config


def _import_class(path: str) -> type[SequenceAgent]:
    module, _, name = path.rpartition(".")
    found: type[SequenceAgent] = getattr(importlib.import_module(module), name)
    return found


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _explain(message: str, parser: ArgumentParser) -> str:
    """Jsonargparse's message in a line or two, with the nearest names for a misspelt one."""
    known = [option for action in parser._actions for option in action.option_strings]
    if found := re.search(r"unrecognized arguments: (.*)", message):
        wrong = found.group(1).split()[0].partition("=")[0]
        return f"unknown option {wrong}{_nearest(wrong, known)}"
    if found := re.search(r"Option '([^']+)' is not accepted", message):
        names = {name for agent in AGENTS.values() for name in inspect.signature(agent).parameters}
        where = f" in {m.group(1)}" if (m := re.search(r'Parser key "([^"]+)"', message)) else ""
        return f"unknown option {found.group(1)!r}{where}{_nearest(found.group(1), names)}"
    if found := re.search(r'Key "([^"]+)" is not expected|No action for key "([^"]+)"', message):
        wrong = found.group(1) or found.group(2)
        return f"unknown option {wrong!r}{_nearest(wrong, [k.lstrip('-') for k in known])}"
    if found := re.search(r'Parser key "agent":.*Given value: (\S+)\s*$', message, re.DOTALL):
        return f"unknown agent {found.group(1)!r}{_nearest(found.group(1), AGENTS)}"
    if found := re.search(r"invalid choice: '([^']+)' \(choose from (.*)\)", message):
        choices = re.findall(r"\w+", found.group(2))
        return f"unknown command {found.group(1)!r}{_nearest(found.group(1), choices)}"
    return message


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""
