"""One supervised fit, from a configuration to a folder of results.

The learner knows how far it has come, so a stopped fit is resumed by running the same thing again
on the saved learner.
"""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat

from ..envs import Task, make_task
from .config import FIXED_FIT, Changes, FitConfig, changes, refuse_changes, task_options
from .evaluation import figures_as_json, figures_of_samples, print_entropy, print_figures
from .held_out import split
from .report import write_report
from .run_folder import RunFolder
from .samples import write_samples
from .saving import Saver
from .stopping import StopRequest
from .supervised import Learner

LearnerSpec = tuple[type[Learner], dict[str, Any]]


def fit(
    config: FitConfig,
    learner_spec: LearnerSpec,
    options: Mapping[str, Any],
    *,
    resume: bool,
    skip_invalid: bool,
    console: Console,
) -> bool:
    """Do a fit, or what is left of it.

    Args:
        config: what to do.
        learner_spec: the learner's class and options.
        options: all of it as config.yaml keeps it.
        resume: go on with the fit in its folder.
        skip_invalid: leave out lines of the data that cannot be used.
        console: where to print.

    Returns:
        Whether it came to its end; False when the user stopped it, with everything saved.

    Raises:
        RunError: the folder already holds a run and ``resume`` was not asked for, or the reverse;
            it holds something else; or a resumed fit would be another one.
    """
    torch.set_num_threads(config.threads)
    folder = RunFolder(Path(config.run))
    newest = folder.beginning(resume)
    changed = changes(folder.read_config(), options) if folder.config.exists() else {}
    refuse_changes(changed, FIXED_FIT, folder.path)
    task = make_task(config.task, **task_options({**vars(config), "skip_invalid": skip_invalid}))
    kind, chosen = learner_spec
    if newest is not None:
        learner = kind.load(newest, chosen["device"])
        folder.tidy(newest)
    else:
        learner = kind(vocabulary=task.vocabulary, seed=config.seed, **chosen)
    learner.use_task(task)
    with StopRequest() as stop:
        return _Fit(config, folder, learner, task, stop, console).do(options, changed)


class _Fit:
    def __init__(
        self,
        config: FitConfig,
        folder: RunFolder,
        learner: Learner,
        task: Task,
        stop: StopRequest,
        console: Console,
    ) -> None:
        self.config, self.folder, self.learner, self.task = config, folder, learner, task
        self.console, self._stop = console, stop
        self._saver = Saver(folder, learner, config.save_every, console)

    def do(self, options: Mapping[str, Any], changed: Changes) -> bool:
        """Begin or go on, and report at the end."""
        self.folder.write_config(options)
        if not self.folder.checkpoint.exists():
            self.folder.save(self.learner)
        for name, (old, new) in changed.items():
            self.console.print(f"goes on with {name}={new!r}, before {old!r}")
        curves = TensorBoardOutputFormat(str(self.folder.tensorboard))
        self.learner.logger = Logger(str(self.folder.path), [curves])
        try:
            self._fit()
        except KeyboardInterrupt:
            self._say_how_to_resume("stopped at once; the last checkpoint is")
            raise
        except Exception as error:
            self._keep(error)
            raise
        finally:
            self.learner.logger.close()
        self._saver.ensure_saved()
        if self._stop:
            self._say_how_to_resume("stopped; what was learnt is saved")
            return False
        self._finish()
        return True

    def _fit(self) -> None:
        data, held_out = split(self.task)
        self.learner.fit(
            data,
            held_out,
            max_epochs=self.config.max_epochs,
            max_seconds=self.config.max_seconds,
            callback=lambda _: self._go_on(),
            reset=False,
            progress_bar=True,
        )
        self._saver.save()

    def _go_on(self) -> bool:
        """Save now and then; False when the user wants to stop."""
        self._saver.save_if_due()
        return not self._stop

    def _finish(self) -> None:
        """Figures, samples and a report."""
        learner, task, folder = self.learner, self.task, self.folder
        if learner.progress.stopped:
            self.console.print(f"stopped: {learner.progress.stopped}", soft_wrap=True)
        _, held_out = split(task)
        assert task.data is not None
        real = task.data[: self.config.samples]
        written = learner.sample(self.config.samples, seed=self.config.seed)
        known = task.data.texts
        figures = figures_of_samples(task, written, known, learner.policy)
        if held_out is not None:
            figures |= learner.evaluate(held_out)
        summary = {
            "data": figures_as_json(figures_of_samples(task, real, known)),
            "fitted": figures_as_json(figures),
        }
        folder.write_summary(summary, learner.progress.stopped)
        write_samples(folder.samples, task, written, task.reward(written))
        write_report(folder, task, summary)
        self.console.print()
        print_figures(summary, self.console)
        print_entropy(task, self.console)
        places = {
            "checkpoint": folder.checkpoint,
            "samples": folder.samples,
            "figures": folder.summary,
            "report": folder.report,
            "curves": f"tensorboard --logdir {folder.tensorboard}",
            "go on by": self._training_command(),
        }
        for what, place in places.items():
            self.console.print(f"{what:11} {place}", soft_wrap=True)

    def _training_command(self) -> str:
        """What trains an agent that begins with what was fitted, on the same task."""
        config = self.config
        words = ["tokengym", "train", "--policy", str(self.folder.path), "--task", config.task]
        words += ["--data", config.data] if config.data else []
        words += ["--constraint", config.constraint] if config.constraint else []
        options = json.dumps(config.task_options) if config.task_options else ""
        return shlex.join([*words, *(["--task_options", options] if options else [])])

    def _keep(self, error: Exception) -> None:
        """After an error, save what is whole, and say how to go on."""
        why = "the fit stopped at the error below; the last checkpoint is"
        with contextlib.suppress(OSError):
            if not self.learner.within_update:
                self.folder.save(self.learner)
                why = "the fit stopped at the error below; what was learnt is saved"
            self.folder.write_summary(self.folder.read_summary(), stopped=str(error))
        self._say_how_to_resume(why)

    def _say_how_to_resume(self, why: str) -> None:
        """Where things are, and the command that goes on."""
        self.console.print(
            f"{why} in {self.folder.checkpoint}\ngo on with: tokengym fit "
            f"{shlex.quote(str(self.folder.config))} --resume",
            soft_wrap=True,
        )
