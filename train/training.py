"""One training run, from a configuration to a folder of results.

Pretraining, adversarial rounds, evaluation. Each part knows how far it has come, so a stopped run
is resumed by running the same thing again on the saved agent.
"""

from __future__ import annotations

import contextlib
import shlex
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat

from ..agents import SequenceAgent
from ..envs import Sequences, Task, TokenEnv, make_task
from ..rewards import Objective, Scores
from .config import FIXED, Changes, TrainConfig, changes, refuse_changes, task_options
from .evaluation import (
    figures_as_json,
    figures_of_samples,
    figures_of_scores,
    print_entropy,
    print_figures,
)
from .held_out import split
from .report import write_report
from .rounds import Rounds
from .run_folder import RunError, RunFolder
from .samples import write_samples
from .scores import ScoreLog
from .stopping import StopRequest

_SAVE_EVERY = 60.0  # seconds between checkpoints

AgentSpec = tuple[type[SequenceAgent], dict[str, Any]]


def train(
    config: TrainConfig,
    agent_spec: AgentSpec,
    options: Mapping[str, Any],
    *,
    resume: bool,
    skip_invalid: bool,
    console: Console,
) -> bool:
    """Do a run, or what is left of it.

    Args:
        config: what to do.
        agent_spec: the agent's class and options.
        options: all of it as config.yaml keeps it.
        resume: go on with the run in its folder.
        skip_invalid: leave out lines of the data that cannot be used.
        console: where to print.

    Returns:
        Whether it came to its end; False when the user stopped it, with everything saved.

    Raises:
        RunError: the folder already holds a run and ``resume`` was not asked for, or the reverse;
            it holds something else; or a resumed run would be another one.
    """
    torch.set_num_threads(config.threads)
    folder = RunFolder(Path(config.run))
    if resume != folder.checkpoint.exists():
        raise RunError(
            f"there is no checkpoint in {folder.path} to resume from; start without --resume"
            if resume
            else f"{folder.path} already holds a run; go on with --resume, or name another --run"
        )
    if not resume:
        folder.refuse_foreign()
    changed = changes(folder.read_config(), options) if folder.config.exists() else {}
    refuse_changes(changed, FIXED, folder.path)
    env = make_env(config, skip_invalid)
    agent_class, chosen = agent_spec
    if resume:
        others = {k: v for k, v in chosen.items() if k not in ("policy", "policy_kwargs")}
        agent = agent_class.load(folder.checkpoint, env, **others)
    else:
        agent = agent_class(env=env, seed=config.seed, **chosen)
    with StopRequest() as stop:
        run = _Run(config, folder, agent, stop, console)
        run.begin(options, changed)
        try:
            return run.do()
        except KeyboardInterrupt:
            run.say_how_to_resume("stopped at once; the last checkpoint is")
            raise
        except Exception as error:
            run.keep(error)
            raise
        finally:
            agent.logger.close()


def make_env(config: TrainConfig, skip_invalid: bool) -> TokenEnv:
    """The environment that a configuration describes."""
    options = task_options({**vars(config), "skip_invalid": skip_invalid})
    try:
        return TokenEnv(make_task(config.task, **options))
    except AttributeError as error:  # an option of another type, as a YAML file may have
        if not config.task_options:
            raise
        raise RunError(
            f"{config.task} cannot be made with task_options {config.task_options}: {error}"
        ) from error


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

    def begin(self, options: Mapping[str, Any], changed: Changes) -> None:
        """Write what a run that is killed can be resumed from, and say what has changed."""
        if self.agent.num_timesteps or "pretrained" in self.summary:
            refuse_changes(changed, ["pretrain"], self.folder.path)
        if not self.folder.checkpoint.exists():
            self.agent.save(self.folder.checkpoint)
        self.folder.write_config(options)
        curves = TensorBoardOutputFormat(str(self.folder.tensorboard))
        self.agent.set_logger(Logger(str(self.folder.path), [curves]))
        for name, (old, new) in changed.items():
            self.console.print(f"goes on with {name}={new!r}, before {old!r}")

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
        if self._stop:
            return
        if "data" not in self.summary and self.task.data:
            data = self.task.data
            self._add_row("data", data, self._free_scores(data[: self.config.samples]))
        if "pretrained" not in self.summary and self.agent.num_timesteps == 0:
            written = self._sample()
            self._add_row("pretrained", written, self._free_scores(written))

    def _learn(self) -> None:
        left = self.config.total_timesteps - self.agent.num_timesteps
        if left <= 0:
            return
        rounds = Rounds(self._go_on)
        self.agent.learn(
            left,
            callback=[ScoreLog(self.folder.scores), rounds],
            reset_num_timesteps=False,
            progress_bar=True,
        )
        if rounds.flat:
            warnings.warn(
                f"in every round all sequences were worth the same, so nothing was learnt from the "
                f"reward {self.task.reward.name!r}; does any sequence get another value?",
                stacklevel=2,
            )

    def _sample(self) -> Sequences:
        return self.agent.sample(self.config.samples, seed=self.config.seed)

    def _add_row(self, name: str, sequences: Sequences, scores: Scores | None) -> None:
        known = self.task.data.texts if self.task.data else []
        policy = None if name == "data" else self.agent.policy
        figures = figures_of_samples(self.task, sequences, known, policy, self.validation)
        if scores is not None:
            figures |= figures_of_scores(scores)
        self.summary[name] = figures_as_json(figures)
        self.folder.write_summary(self.summary, self.agent.stopped)

    def _free_scores(self, sequences: Sequences) -> Scores | None:
        """What they are worth; None where that would be paid for from a budget."""
        components = self.task.reward.components()
        if any(isinstance(each, Objective) and each.budget for each in components):
            return None
        scores = self.task.reward(sequences)
        for reward in self.task.reward.walk():
            reward.take_statistics()  # the log is of rounds
        return scores

    def _finish(self) -> None:
        if self.agent.stopped:
            self.console.print(f"stopped: {self.agent.stopped}", soft_wrap=True)
        sequences = self._sample()
        scores = self.task.reward(sequences)
        self._add_row("trained", sequences, scores)
        write_samples(self.folder.samples, self.task, sequences, scores)
        write_report(self.folder, self.task, self.summary)
        self.console.print()
        print_figures(self.summary, self.console)
        print_entropy(self.task, self.console)
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
            self.console.print(f"{what:11} {place}", soft_wrap=True)

    def _go_on(self) -> bool:
        """Save now and then; False when the user wants to stop."""
        if time.monotonic() - self._saved_at > _SAVE_EVERY:
            self.agent.save(self.folder.checkpoint)
            self._saved_at = time.monotonic()
        return not self._stop

    def keep(self, error: Exception) -> None:
        """After an error, save what is whole as far as it can be, and say how to go on."""
        why = "the run stopped at the error below; the last checkpoint is"
        with contextlib.suppress(OSError):
            if not self.agent.within_update:
                self.agent.save(self.folder.checkpoint)
                why = "the run stopped at the error below; what was learnt is saved"
            self.folder.write_summary(self.summary, stopped=str(error))
        self.say_how_to_resume(why)

    def say_how_to_resume(self, why: str) -> None:
        """Where things are, and the command that goes on."""
        self.console.print(
            f"{why} in {self.folder.checkpoint}\ngo on with: tokengym train "
            f"{shlex.quote(str(self.folder.config))} --resume",
            soft_wrap=True,
        )
