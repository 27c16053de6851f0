"""The command line: ``tokengym train | fit | sample | evaluate | report | weigh | tasks ...``.

Options come from type hints, through jsonargparse: a YAML file, and anything overridden after it.
A mistake of the user's ends in one message and exit code 2, not in a traceback.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace, set_parsing_settings
from rich.console import Console

from .. import __version__
from ..agents import AGENTS, SequenceAgent
from ..agents.parallel import ProcessError
from ..rewards import ObjectiveError
from ..rewards.crew import WorkerError
from .assessing import assess
from .commands import evaluate, report, sample
from .config import FitConfig, PretrainConfig, TrainConfig, with_absolute_paths
from .fitting import fit
from .lists import list_rewards, list_tasks
from .mistakes import AGENT_SKIPS, LEARNER_SKIPS, Parser, fail, show_warning
from .reward_commands import check, weigh_run
from .run_folder import RunFolder
from .supervised import Learner
from .training import train

# What a user can mend; anything else is a defect of ours and shows its traceback.
_USERS_MISTAKES = (
    *(ValueError, TypeError, ImportError, OSError),
    *(ObjectiveError, WorkerError, FloatingPointError),
)
_DEFAULTS = {"train": ("agent", "ORGAN"), "fit": ("learner", "TeacherForcing")}
_DESCRIPTION = """
Write discrete sequences (molecules, melodies, sentences) and learn to write what scores well.

  tokengym train examples/organ_molecules.yaml --run runs/mine
  tokengym sample runs/mine -n 1000 --output out.csv
  tokengym evaluate runs/mine

`tokengym COMMAND --help` describes a command and all of its options.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits with 0, 1 (stopped before the end) or 2 (a mistake)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # so that a user's own module:attribute is found
    parser, commands = _parsers()
    # Paths and expressions are printed as they are: no markup, no colours of their own.
    console = Console(markup=False, highlight=False)
    warnings.showwarning = show_warning
    try:
        options = parser.parse_args(_with_config(arguments))
        done = commands[options.command](options[options.command], console)
    except KeyboardInterrupt:
        fail("stopped at once")
    except ProcessError as error:
        fail(str(error))
    except BrokenPipeError:
        sys.exit(1)
    except _USERS_MISTAKES as error:
        if os.environ.get("TOKENGYM_TRACEBACK"):
            raise
        fail(str(error), hint="for the traceback set TOKENGYM_TRACEBACK=1")
    sys.exit(0 if done is None or done else 1)


Command = Callable[[Namespace, Console], "bool | None"]


def _parsers() -> tuple[Parser, dict[str, Command]]:
    set_parsing_settings(docstring_parse_attribute_docstrings=True)  # a sentence under each field
    parser = Parser(prog="tokengym", description=_DESCRIPTION)
    parser.add_argument("--version", action="version", version=__version__)
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
        skip=AGENT_SKIPS,
        help=f"who learns: {', '.join(AGENTS)}, or a class of your own (default: ORGAN); see "
        "--agent.help ORGAN",
    )
    p.add_argument(
        "--skip-invalid",
        action="store_true",
        help="leave out lines of the data that cannot be used, and count them",
    )
    p.add_argument("--resume", action="store_true", help="go on with the run in its folder")

    p = add("fit", _fit, "fit a policy to real sequences, from a YAML file")
    p.add_argument("--config", action="config", help="a YAML file of the options below")
    p.add_class_arguments(FitConfig)
    p.add_subclass_arguments(
        Learner,
        "learner",
        skip=LEARNER_SKIPS,
        help="how: TeacherForcing, its kin, or a class of your own (default: TeacherForcing); see "
        "--learner.help TeacherForcing",
    )
    p.add_argument(
        "--skip-invalid",
        action="store_true",
        help="leave out lines of the data that cannot be used, and count them",
    )
    p.add_argument("--resume", action="store_true", help="go on with the fit in its folder")

    p = add("sample", sample, "write sequences with a trained agent or a fitted policy")
    p.add_argument("run", type=Path, help="the folder of a run, or a checkpoint")
    p.add_argument("-n", "--number", type=int, default=100, help="how many sequences")
    p.add_argument("--output", type=Path, help="a CSV file; printed by default")
    p.add_argument("--seed", type=int, default=0, help="one seed, one result")
    p.add_argument("--prompt", type=str, help="what every sequence begins with")
    p.add_argument("--temperature", type=float, default=1.0, help="below 1 is sharper")
    p.add_argument(
        "--condition",
        type=float,
        nargs="+",
        help="the class, or the properties, of a conditional fit",
    )
    p.add_argument(
        "--beams", type=int, help="the most probable that a search of so many beams finds"
    )
    p.add_argument("--top-k", type=int, help="draw from the k most probable tokens only")
    p.add_argument(
        "--top-p", type=float, help="draw from the fewest tokens of this probability together only"
    )
    p.add_argument(
        "--constraint", type=str, help="which tokens may come next; the run's by default"
    )

    p = add("evaluate", evaluate, "figures of a run or of a file of samples")
    p.add_argument("target", type=Path, help="the folder of a run, or a file of samples")
    p.add_argument("--reference", type=Path, help="a file of sequences to compare with")
    p.add_argument(
        "--metrics", type=str, default="", help="moses, fcd, bleu, ... or all, see above"
    )
    p.add_argument("--statistics", type=Path, help="a file that keeps what --reference comes to")
    p.add_argument(
        "-n", "--number", type=int, default=2000, help="how many samples to draw of a run"
    )
    p.add_argument("--seed", type=int, default=0, help="of these samples")
    p.add_argument("--json", action="store_true", help="print JSON instead of a table")

    p = add("report", report, "write a run's report.html anew")
    p.add_argument("run", type=Path, help="the folder of a run")
    p = add("weigh", weigh_run, "weigh a run's sequences by another reward")
    p.add_argument("run", type=Path, help="the folder of a run")
    p.add_argument("reward", type=str, help="an expression over the components that it recorded")
    p.add_argument("--output", type=Path, help="a CSV file of all; the best are printed by default")
    p = add("assess", assess, "let people rate what a run writes")
    p.add_argument("run", type=Path, help="the folder of a run")
    p.add_argument("--assessors", type=str, default="me", help="who gets a link: anna,ben")
    p.add_argument("--host", type=str, default="127.0.0.1", help="the address to serve on")
    p.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    p.add_argument("--revoke", type=str, help="take the link from this assessor, and end")
    p.add_argument("--export", type=Path, help="write all ratings to a .csv or .jsonl, and end")
    p.add_argument("--component", type=str, help="which assessors, where the reward has several")
    p = add("check", check, "say what a run would meet in a reward")
    p.add_argument("reward", type=str, help="a name, 'module:attribute' or an expression")
    p.add_argument("--task", type=str, default=TrainConfig.task, help="whose data are the examples")
    p.add_argument("--data", type=str, help="a file of examples, or a built-in name")
    p.add_argument("-n", "--number", type=int, default=64, help="how many examples")
    p.add_argument("--seed", type=int, default=0, help="which examples")
    add("tasks", list_tasks, "list the registered tasks")
    add("rewards", list_rewards, "list the named rewards")
    return parser, commands


def _train(options: Namespace, console: Console) -> bool:
    """Train an agent: pretraining on real sequences, then learning from the reward.

    A YAML file holds the options (examples/ has some), anything after it overrides it:

      tokengym train examples/organ_molecules.yaml --data mine.smi --run runs/mine --seed 3

    Ctrl-C saves a checkpoint and says how to resume, `tokengym train --resume --run runs/mine`. The
    options of agents are listed by `tokengym train --agent.help ORGAN`.
    """
    values = options.as_dict()
    resume, skip_invalid = values.pop("resume"), values["skip_invalid"]
    values.pop("config")
    _refuse_nothing(values, TrainConfig, "agent")
    values |= _files_in_full(values)
    if values["policy"] is not None:
        values["policy"] = str(Path(values["policy"]).resolve())
    agent = values["agent"]
    named = {k: v for k, v in values.items() if k not in ("agent", "skip_invalid", "pretrain")}
    return train(
        TrainConfig(**named, pretrain=PretrainConfig(**values["pretrain"])),
        (_import_class(agent["class_path"]), agent["init_args"]),
        values,
        resume=resume,
        skip_invalid=skip_invalid,
        console=console,
    )


def _fit(options: Namespace, console: Console) -> bool:
    """Fit a policy to real sequences, without any reward.

    A YAML file holds the options (examples/ has some), anything after it overrides it:

      tokengym fit examples/teacher_forcing_text.yaml --data mine.txt --run runs/fitted
      tokengym train --policy runs/fitted --data mine.txt

    Ctrl-C saves a checkpoint and says how to resume. The options of learners are listed by
    `tokengym fit --learner.help TeacherForcing`.
    """
    values = options.as_dict()
    resume, skip_invalid = values.pop("resume"), values["skip_invalid"]
    values.pop("config")
    _refuse_nothing(values, FitConfig, "learner")
    values |= _files_in_full(values)
    learner = values["learner"]
    named = {k: v for k, v in values.items() if k not in ("learner", "skip_invalid")}
    return fit(
        FitConfig(**named),
        (_import_class(learner["class_path"]), learner["init_args"]),
        values,
        resume=resume,
        skip_invalid=skip_invalid,
        console=console,
    )


def _refuse_nothing(values: dict[str, Any], config: type, who: str) -> None:
    """Refuse an option without a value, as ``task:`` alone is in YAML, where one is needed."""
    wanted = [who, *(field.name for field in fields(config) if field.default is not None)]
    for name in wanted:
        if values[name] is None:
            raise ValueError(f"{name} has no value; give it one, or leave the option out")


def _files_in_full(values: dict[str, Any]) -> dict[str, Any]:
    data = with_absolute_paths({"data": values["data"]})
    return {**data, "task_options": with_absolute_paths(values["task_options"])}


def _with_config(arguments: list[str]) -> list[str]:
    """A file after `train` or `fit` is its configuration; resumed from its own, where it lies."""
    if arguments[:1] not in (["train"], ["fit"]):
        return arguments
    command, *rest = arguments
    if rest and not rest[0].startswith("-"):
        rest.insert(0, "--config")
    config, run = _given("--config", rest), _given("--run", rest)
    if "--resume" in rest and config is None:
        config = str(RunFolder(Path(run or TrainConfig.run)).config)
        rest = [*(["--config", config] if Path(config).exists() else []), *rest]
    elif "--resume" in rest and run is None:
        folder = RunFolder(Path(str(config)).parent)
        rest += ["--run", str(folder.path)] if folder.has_checkpoint else []
    [(other, (whose, _))] = [item for item in _DEFAULTS.items() if item[0] != command]
    if config is not None and _names_class(Path(config), whose):
        raise ValueError(f"{config} is of a run of tokengym {other}; go on with tokengym {other}")
    return [command, *_with_default(*_DEFAULTS[command], rest, config)]


def _with_default(who: str, default: str, arguments: list[str], config: str | None) -> list[str]:
    """The default class in front, where neither the arguments nor the file name one.

    As a default of the parser its options would be kept by every other class that is named.
    """
    names = (_given(f"--{who}", arguments), _given(f"--{who}.class_path", arguments))
    if any(names) or (config is not None and _names_class(Path(config), who)):
        return arguments
    return [f"--{who}", default, *arguments]


def _names_class(config: Path, who: str) -> bool:
    try:
        chosen = yaml.safe_load(config.read_text(encoding="utf-8"))[who]
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return False  # what is wrong with it, the parser says
    return isinstance(chosen, str) or (isinstance(chosen, dict) and "class_path" in chosen)


def _given(option: str, arguments: list[str]) -> str | None:
    """The value of an option among arguments, the last one."""
    found = [value for name, value in pairwise([*arguments, ""]) if name == option]
    found += [a.partition("=")[2] for a in arguments if a.startswith(f"{option}=")]
    return found[-1] if found else None


def _import_class(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)
