"""One training run, from a configuration to a folder of results.

Pretraining, adversarial rounds, evaluation. Each part knows how far it has come, so a stopped run
is resumed by running the same thing again on the saved agent.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat

from ..agents import SequenceAgent
from ..envs import Sequences, Task, TokenEnv, make_task
from ..rewards import MemoError, ObjectiveError
from .evaluation import figures_as_json, figures_of_samples, figures_of_texts, print_figures
from .report import write_report
from .run_folder import RunFolder, write_csv
from .scores import ScoreLog
from .stopping import StopRequest

_SAVE_EVERY = 60.0  # seconds between checkpoints
_VALIDATION_SHARE = 0.02


class RunError(ValueError):
    """A run cannot start or go on as it is asked to; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """The supervised beginning."""

    epochs: int = 10
    """Passes over the real sequences by teacher forcing."""
    batch_size: int = 64
    """Sequences a step."""
    learning_rate: float = 2e-3
    """Of Adam at the first step; it falls linearly to a hundredth."""
    discriminator_steps: int = 100
    """Updates of each discriminator after that."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What a training run is told."""

    task: str = "tokengym/Molecules-v0"
    """The registered id of the task; `tokengym tasks` lists them."""
    data: str | None = None
    """The real sequences: a built-in set's name or a file; the task's own by default."""
    reward: str | None = None
    """A name, 'module:attribute', or an expression of these; `tokengym rewards` lists the names."""
    constraint: str | None = None
    """Which tokens may come next: a name or an expression; `tokengym tasks` lists the names."""
    task_options: dict[str, Any] = field(default_factory=dict)
    """More options of the task, such as max_length."""
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    """The supervised beginning."""
    total_timesteps: int = 200_000
    """Tokens of training sequences to write while learning from the reward."""
    samples: int = 2000
    """How many sequences the figures of the table are computed from."""
    seed: int = 0
    """Of everything random: one seed, one result."""
    run: str = "runs/latest"
    """The folder of the results."""
    threads: int | None = None
    """CPU threads of torch; its own choice by default."""


AgentSpec = tuple[type[SequenceAgent], dict[str, Any]]


def train(
    config: TrainConfig,
    agent_spec: AgentSpec,
    config_text: str,
    *,
    resume: bool,
    skip_invalid: bool,
    console: Console,
) -> bool:
    """Do a run, or what is left of it.

    Returns:
        Whether it came to its end; False when the user stopped it, with everything saved.

    Raises:
        RunError: the folder already holds a run and ``resume`` was not asked for, or the reverse.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    folder = RunFolder(Path(config.run))
    env = make_env(config, skip_invalid)
    if resume != folder.checkpoint.exists():
        raise RunError(
            f"there is no checkpoint in {folder.path} to resume from; start without --resume"
            if resume
            else f"{folder.path} already holds a run; go on with --resume, or name another --run"
        )
    agent_class, options = agent_spec
    if resume:
        changed = {k: v for k, v in options.items() if k not in ("policy", "policy_kwargs")}
        agent = agent_class.load(folder.checkpoint, env, **changed)
    else:
        agent = agent_class(env=env, seed=config.seed, **options)
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.config.write_text(config_text, encoding="utf-8")
    agent.set_logger(Logger(str(folder.path), [TensorBoardOutputFormat(str(folder.tensorboard))]))
    with StopRequest() as stop:
        run = _Run(config, folder, agent, stop, console)
        try:
            return run.do()
        except (ObjectiveError, MemoError) as error:
            agent.save(folder.checkpoint)  # a round changes nothing before it is scored
            folder.write_summary(run.summary, stopped=str(error))
            run.say_how_to_resume("the run stopped at the error below; what was learnt is saved")
            raise
        finally:
            agent.logger.close()


def make_env(config: TrainConfig, skip_invalid: bool) -> TokenEnv:
    """The environment that a configuration describes."""
    options = task_options({**vars(config), "skip_invalid": skip_invalid})
    return TokenEnv(make_task(config.task, **options))


def task_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The task's options in a configuration."""
    options = {str(name): value for name, value in (config.get("task_options") or {}).items()}
    for name in ("data", "reward", "constraint", "skip_invalid"):
        if config.get(name):
            options[name] = config[name]
    return options


class _Run:
    def __init__(
        self,
        config: TrainConfig,
        folder: RunFolder,
        agent: SequenceAgent,
        stop: StopRequest,
        console: Console,
    ) -> None:
        assert agent.task is not None
        self.config, self.folder, self.agent, self.console = config, folder, agent, console
        self.task: Task = agent.task
        self._stop = stop
        self._saved_at = time.monotonic()
        self.real, self.validation = split(self.task)
        self.summary = folder.read_summary()

    def do(self) -> bool:
        """All parts that are not done yet."""
        for part in (self._pretrain, self._learn):
            part()
            self.agent.save(self.folder.checkpoint)
            if self._stop:
                self.say_how_to_resume("stopped; what was learnt is saved")
                return False
        self._finish()
        return True

    def _pretrain(self) -> None:
        self.agent.pretrain(
            self.real,
            validation=self.validation,
            callback=lambda _: self._go_on(),
            reset=False,
            progress_bar=True,
            **asdict(self.config.pretrain),
        )
        if not self._stop and "pretrained" not in self.summary:
            reference = self.task.data.texts if self.task.data else []
            if reference:
                data = figures_of_texts(reference, reference, self.task.domain)
                self.summary["data"] = figures_as_json(data)
            self._evaluate("pretrained")

    def _learn(self) -> None:
        left = self.config.total_timesteps - self.agent.num_timesteps
        if left > 0:
            self.agent.learn(
                left,
                callback=[ScoreLog(self.folder.scores), _WholeRounds(self._go_on)],
                reset_num_timesteps=False,
                progress_bar=True,
            )

    def _evaluate(self, name: str) -> Sequences:
        sequences = self.agent.sample(self.config.samples, seed=self.config.seed)
        reference = self.task.data.texts if self.task.data else []
        figures = figures_of_samples(self.task, sequences, reference, self.agent.policy)
        self.summary[name] = figures_as_json(figures)
        self.folder.write_summary(self.summary, self.agent.stopped)
        return sequences

    def _finish(self) -> None:
        if self.agent.stopped:
            self.console.print(f"stopped: {self.agent.stopped}", highlight=False, soft_wrap=True)
        sequences = self._evaluate("trained")
        write_samples(self.folder.samples, self.task, sequences)
        write_report(self.folder, self.task, self.summary)
        self.console.print()
        print_figures(self.summary, self.console)
        folder = self.folder
        places = {
            "checkpoint": folder.checkpoint,
            "samples": folder.samples,
            "figures": folder.summary,
            "scores": folder.scores,
            "report": folder.report,
            "curves": f"tensorboard --logdir {folder.tensorboard}",
        }
        for what, place in places.items():
            self.console.print(f"{what:11} {place}", highlight=False, soft_wrap=True)

    def _go_on(self) -> bool:
        """Save now and then; False when the user wants to stop."""
        if time.monotonic() - self._saved_at > _SAVE_EVERY:
            self.agent.save(self.folder.checkpoint)
            self._saved_at = time.monotonic()
        return not self._stop

    def say_how_to_resume(self, why: str) -> None:
        """Where things are, and the command that goes on."""
        self.console.print(
            f"{why} in {self.folder.checkpoint}\ngo on with: tokengym train {self.folder.config} "
            "--resume",
            highlight=False,
            soft_wrap=True,
        )


class _WholeRounds(BaseCallback):
    """Asks once a round whether to go on."""

    def __init__(self, go_on: Any) -> None:
        super().__init__()
        self._ask = go_on
        self._round = -1

    def _on_step(self) -> bool:
        rounds = getattr(self.model, "rounds", 0)
        if rounds == self._round:
            return True
        self._round = rounds
        return bool(self._ask())


def split(task: Task) -> tuple[Sequences, Sequences | None]:
    """The real sequences without, and with only, the every-fiftieth that are held out."""
    if task.data is None:
        raise RunError(f"the task {task.name} has no data to pretrain on; name some with --data")
    every = int(1 / _VALIDATION_SHARE)
    held_out = torch.arange(len(task.data)) % every == every - 1
    if not held_out.any():
        return task.data, None
    return task.data[~held_out], task.data[held_out]


def write_samples(path: str | Path, task: Task, sequences: Sequences) -> None:
    """A CSV: the text, whether it is valid, and every part of the reward, empty where it failed."""
    scores = task.reward(sequences)
    parts: Mapping[str, Any] = {k: v.tolist() for k, v in scores.parts.items() if k != "valid"}
    text_name = "smiles" if task.domain == "molecules" else "text"
    columns: dict[str, list[Any]] = {text_name: sequences.texts}
    if task.canonical is not None:
        columns["valid"] = [int(task.canonical(text) is not None) for text in sequences.texts]
    columns |= {
        name: ["" if math.isnan(value) else f"{value:.6g}" for value in values]
        for name, values in parts.items()
    }
    rows = list(zip(*columns.values(), strict=True))
    write_csv(path, list(columns), rows)
