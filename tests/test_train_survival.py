"""Runs that are killed, at any moment, end as the run that was never stopped, to the bit."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tokengym.agents import ORGAN
from tokengym.agents.checkpoint import load_checkpoint
from tokengym.train import training
from tokengym.train.command_line import main
from tqdm import tqdm

# All that a run can carry along: a memo, a diversity memory, old sequences of the discriminator, a
# schedule, a prior, a delayed rollout policy, two optimisers.
CONFIG = """
task: tokengym/Text-v0
data: lines.txt
reward: >-
  0.5 * conv_discriminator(embedding=4, widths=(1,), filters=(4,), replay=16, noise=0.1)
  + ramp(diversity_memory(scored:short, bucket_size=2, minimum=0.0), start=0.2, end=0.8, over=0.9)
agent:
  class_path: ORGAN
  init_args:
    policy_kwargs: {hidden: 8, embedding: 4}
    batch_size: 4
    completions: 2
    rollout_update: 0.5
    prior_coefficient: 0.1
    discriminator_steps: 2
pretrain: {epochs: 1, batch_size: 8, discriminator_steps: 4}
total_timesteps: 130
samples: 20
save_every: 0
"""
SCORED = """
import tokengym

@tokengym.objective
def short(texts):
    return [1 / (1 + len(text)) for text in texts]
"""


def forked(work: Callable[[], int]) -> int:
    """Do something in a copy of this process, whose imports are paid for; gives how it ended.

    0 or above is the exit code, below 0 the signal that ended it.
    """
    sys.stdout.flush()
    if (child := os.fork()) == 0:
        code = 99
        try:
            os.dup2(os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
            os.dup2(1, 2)
            sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - until the process ends
            sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
            warnings.simplefilter("always")
            code = work()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def train(*arguments: str) -> int:
    """The command line's exit code."""
    try:
        main(["train", *arguments])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 99


def train_to_the_end(run: str) -> None:
    """Begin or resume it, whichever its folder is ready for."""
    begun = Path(run, "config.yaml").exists()
    code = forked(lambda: train(*(["--resume"] if begun else ["small.yaml"]), "--run", run))
    assert code == 0, Path("output.txt").read_text()[-2000:]


@dataclass
class Whole:
    """The run that was never stopped."""

    tensors: dict[str, torch.Tensor]
    state: dict[str, object]
    files: dict[str, bytes]
    folder: Path
    seconds: float = 0.0


def read(run: str) -> Whole:
    tensors, state = load_checkpoint(Path(run, "checkpoint.safetensors"))
    names = ("summary.json", "scores.jsonl", "samples.csv")
    files = {name: Path(run, name).read_bytes() for name in names}
    return Whole(tensors, state, files, Path.cwd())


def assert_same(run: str, whole: Whole) -> None:
    """Weights, optimisers, rewards' state, counters, metrics and samples, to the bit."""
    here = read(run)
    assert here.files == whole.files
    assert here.tensors.keys() == whole.tensors.keys()
    for name, tensor in whole.tensors.items():
        assert torch.equal(here.tensors[name], tensor), name
    assert json.dumps(here.state) == json.dumps(whole.state)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """A folder to work in, with a whole run; and how much processor time that took."""
    folder = tmp_path_factory.mktemp("survival")
    (folder / "small.yaml").write_text(CONFIG)
    (folder / "scored.py").write_text(SCORED)
    (folder / "lines.txt").write_text("the sea\na boat\nthe boat\na sea\n" * 10)
    before = os.getcwd()
    os.chdir(folder)
    tqdm.monitor_interval = 0  # a thread, which a copy of this process would not have
    patch = pytest.MonkeyPatch()
    patch.setattr(training, "write_report", lambda *_: None)  # charts would be most of the work
    assert train("small.yaml", "--run", "warm", "--total_timesteps", "20") == 0  # imports
    sys.modules.pop("scored")  # with what its objective remembers
    start = os.times()
    train_to_the_end("whole")
    end = os.times()
    made = read("whole")
    made.seconds = sum(end[2:4]) - sum(start[2:4])  # of children
    os.chdir(before)
    yield made
    patch.undo()


@pytest.fixture
def folder(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the runs are."""
    monkeypatch.chdir(whole.folder)
    return whole.folder


@pytest.mark.slow
def test_killed_at_twenty_random_moments(whole: Whole, folder: Path) -> None:
    """The kernel ends the process when it has had so much processor time, whatever it is at."""
    moments = random.Random(0)
    stages: set[str] = set()
    for number in range(20):
        run, seconds = f"killed{number}", moments.uniform(0, whole.seconds)

        def work(run: str = run, seconds: float = seconds) -> int:
            signal.setitimer(signal.ITIMER_PROF, seconds)
            return train("small.yaml", "--run", run)

        ended = forked(work)
        assert ended in (-signal.SIGPROF, 0), Path("output.txt").read_text()[-2000:]
        stages.add("finished" if ended == 0 else stage(run))
        train_to_the_end(run)
        assert_same(run, whole)
        shutil.rmtree(run)
    assert {"pretraining", "learning"} <= stages


def stage(run: str) -> str:
    if not (checkpoint := Path(run, "checkpoint.safetensors")).exists():
        return "beginning"
    return "learning" if load_checkpoint(checkpoint)[1]["rounds"] else "pretraining"


@pytest.mark.slow
@pytest.mark.parametrize("call", ["write", "fsync", "replace", "second replace", "third replace"])
def test_killed_within_a_save(call: str, whole: Whole, folder: Path) -> None:
    """With half of a file written, all of it, or some of the files in their places."""
    name, nth = ("replace", call.split()[0]) if "replace" in call else (call, "")
    target = 3 * 4 + ("", "second", "third").index(nth if nth != "replace" else "")

    def work() -> int:
        calls = 0
        real = getattr(os, name) if name != "write" else os.fsync

        def fatal(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls < target:
                return real(*arguments)
            if name == "write":  # what a kill in the middle of it leaves
                os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(os, "fsync" if name == "write" else name, fatal)
        return train("small.yaml", "--run", run)

    run = call.replace(" ", "-")
    assert forked(work) == -signal.SIGKILL
    train_to_the_end(run)
    assert_same(run, whole)
    assert not list(Path(run).glob(".*"))


def stopped(run: str) -> None:
    """A run that was killed in its learning, with two checkpoints."""

    def work() -> int:
        real = ORGAN._train_round

        def fatal(self: ORGAN) -> Any:
            if self.rounds == 4:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(self)

        ORGAN._train_round = fatal  # type: ignore[assignment, method-assign]
        return train("small.yaml", "--run", run)

    assert forked(work) == -signal.SIGKILL


def test_a_damaged_newest_is_passed_over(whole: Whole, folder: Path) -> None:
    stopped("damaged")
    newest = Path("damaged/checkpoint.safetensors")
    half = newest.read_bytes()[: newest.stat().st_size // 2]
    newest.write_bytes(half)
    before = load_checkpoint("damaged/checkpoint.previous.safetensors")[1]["rounds"]
    assert before == 3
    Path("output.txt").write_text("")
    train_to_the_end("damaged")
    printed = Path("output.txt").read_text()
    assert "warning: damaged/checkpoint.safetensors is no whole checkpoint" in printed
    assert "going on from the one before, damaged/checkpoint.previous.safetensors" in printed
    assert Path("damaged/checkpoint.damaged.safetensors").read_bytes() == half
    assert_same("damaged", whole)


def test_with_nothing_whole_it_does_not_begin_anew(whole: Whole, folder: Path) -> None:
    stopped("lost")
    for name in ("checkpoint", "checkpoint.previous"):
        Path(f"lost/{name}.safetensors").write_bytes(b"x")
    Path("output.txt").write_text("")
    assert forked(lambda: train("--resume", "--run", "lost")) == 2
    assert "lost/checkpoint.safetensors is no whole checkpoint" in Path("output.txt").read_text()
    assert forked(lambda: train("small.yaml", "--run", "lost")) == 2
    assert Path("lost/checkpoint.safetensors").read_bytes() == b"x"
