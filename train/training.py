"""One training run, from a configuration to a folder of results.

Pretraining, adversarial rounds, evaluation. Each part knows how far it has come, so a stopped run
is resumed by running the same thing again on the saved agent.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat

from ..agents import SequenceAgent
from ..agents.divergence import DivergenceError, save_divergence
from ..agents.parallel import joined, world
from ..envs import Sequences, Task, TokenEnv, make_task
from ..rewards import Assessors, Objective, Scores
from ..rewards.failures import first_failures
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
from .run_folder import RunError, RunFolder, checked_rows
from .samples import write_samples
from .saving import Saver
from .scores import ScoreLog
from .stopping import StopRequest
from .writers import load_writer

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
    with joined() as processes, warnings.catch_warnings():
        if not processes.is_first:  # which says all that there is to be said
            console = Console(quiet=True)
            warnings.simplefilter("ignore")
        return _train(config, agent_spec, options, resume, skip_invalid, console)


def _train(
    config: TrainConfig,
    agent_spec: AgentSpec,
    options: Mapping[str, Any],
    resume: bool,
    skip_invalid: bool,
    console: Console,
) -> bool:
    folder = RunFolder(Path(config.run))
    newest, changed = world().first(lambda: _beginning(folder, resume, options))
    env = make_env(config, skip_invalid)
    agent_class, chosen = agent_spec
    if newest is not None:
        others = {k: v for k, v in chosen.items() if k not in ("policy", "policy_kwargs")}
        agent = agent_class.load(newest, env, **others)
        world().all(True)  # have read it
        if world().is_first:
            folder.tidy(newest)
    else:
        if config.policy is not None:
            fitted = load_writer(Path(config.policy)).policy
            chosen = {**chosen, "policy": fitted, "policy_kwargs": None}
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


def _beginning(
    folder: RunFolder, resume: bool, options: Mapping[str, Any]
) -> tuple[Path | None, Changes]:
    """The checkpoint to go on from, None begins a run; and which options have changed since."""
    newest = folder.beginning(resume)
    changed = changes(folder.read_config(), options) if folder.config.exists() else {}
    refuse_changes(changed, FIXED, folder.path)
    return newest, changed


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
        self.task.reward.adopt_folder(folder.path)
        self._stop, self._is_first = stop, world().is_first
        self._saver = Saver(folder, agent, config.save_every, console)
        self.real, self.validation = split(self.task)
        self.summary = checked_rows(agent.notes.setdefault("figures", {}), folder.checkpoint)

    def begin(self, options: Mapping[str, Any], changed: Changes) -> None:
        """Write what a run that is killed can be resumed from, and say what has changed."""
        if self.agent.num_timesteps or "pretrained" in self.summary:
            refuse_changes(changed, ["pretrain"], self.folder.path)
        if not self._is_first:
            self.agent.set_logger(Logger(None, []))
            return
        if "reward" in changed:  # what the last one was worth does not compare with this one
            for row in self.summary.values():
                for name in [name for name in row if re.match("reward(_|/|$)", name)]:
                    del row[name]
        self.folder.write_config(options)
        if not self.folder.checkpoint.exists():
            self.folder.save(self.agent)
        curves = TensorBoardOutputFormat(str(self.folder.tensorboard))
        self.agent.set_logger(Logger(str(self.folder.path), [curves]))
        for name, (old, new) in changed.items():
            self.console.print(f"goes on with {name}={new!r}, before {old!r}")

    def do(self) -> bool:
        """All parts that are not done yet."""
        for each in self.task.reward.components():
            if isinstance(each, Assessors) and self._is_first:
                each.open()  # a mistake there shows before pretraining, not after it
        for part in (self._pretrain, self._learn):
            part()
            self._save()
            if self._asked_to_stop():
                self._saver.ensure_saved()
                self.say_how_to_resume("stopped; what was learnt is saved")
                return False
        if self._is_first:
            self._finish()
            self._saver.ensure_saved()
        return True

    def _asked_to_stop(self) -> bool:
        """Whether any of the processes was."""
        return not world().all(not self._stop)

    def _pretrain(self) -> None:
        options = asdict(self.config.pretrain)
        if self.config.policy is not None:
            options["epochs"] = 0  # it was fitted before
        self.agent.pretrain(
            self.real,
            validation=self.validation,
            callback=lambda _: self._go_on(),
            reset=False,
            progress_bar=self._is_first,
            **options,
        )
        if self._asked_to_stop() or not self._is_first:
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
            callback=[ScoreLog(self.folder.scores), rounds] if self._is_first else rounds,
            reset_num_timesteps=False,
            progress_bar=self._is_first,
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
        for name, first in first_failures(self.task.reward).items():
            self.console.print(f"{name} failed, first on {first}", soft_wrap=True)
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
        if self._is_first:
            self._saver.save_if_due()
        return not self._stop

    def _save(self) -> None:
        if self._is_first:
            self._saver.save()

    def keep(self, error: Exception) -> None:
        """After an error, save what is whole as far as it can be, and say how to go on."""
        why = "the run stopped at the error below; the last checkpoint is"
        with contextlib.suppress(OSError):
            if not self._is_first:
                return
            if not self.agent.within_update:
                self.folder.save(self.agent)
                why = "the run stopped at the error below; what was learnt is saved"
            self.folder.write_summary(self.summary, stopped=str(error))
            if isinstance(error, DivergenceError):
                save_divergence(self.folder.diverged, error)
                self.console.print(f"the batch that did it is in {self.folder.diverged}")
        self.say_how_to_resume(why)

    def say_how_to_resume(self, why: str) -> None:
        """Where things are, and the command that goes on."""
        self.console.print(
            f"{why} in {self.folder.checkpoint}\ngo on with: tokengym train "
            f"{shlex.quote(str(self.folder.config))} --resume",
            soft_wrap=True,
        )
