"""The command line under torchrun: one run of several processes."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tokengym.train import training
from tokengym.train.command_line import main
from tqdm import tqdm

ROOT = Path(__file__).parent.parent
CONFIG = """
task: tokengym/Text-v0
data: lines.txt
reward: 0.5 * conv_discriminator(embedding=4, widths=(1,), filters=(4,)) + 0.5 * mine:short
agent:
  class_path: ORGAN
  init_args: {policy_kwargs: {hidden: 8, embedding: 4}, batch_size: 4, completions: 2}
pretrain: {epochs: 1, batch_size: 8, discriminator_steps: 2}
total_timesteps: 100
samples: 10
save_every: 0
"""
MINE = """
import os
import tokengym
from tokengym.train import training

training.write_report = lambda *_: None  # charts are most of the work

@tokengym.objective
def short(texts):
    with open("asked.txt", "a") as file:
        file.write(os.environ.get("RANK", "alone") + "\\n")
    if os.path.exists("fail.txt"):
        raise OSError("the laboratory is closed")
    return [1 / (1 + len(text)) for text in texts]
"""


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT / ".namespace"), *filter(None, [os.getenv("PYTHONPATH")])])
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "--"]
    return subprocess.run(
        [sys.executable, *launcher, "tokengym", *arguments],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def side_by_side(*arguments: str) -> list[tuple[int, str]]:
    """The exit codes and messages of two processes, without torchrun: copies of this one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    children = []
    for rank in "01":
        if (child := os.fork()) == 0:
            os.environ |= common | {"RANK": rank, "LOCAL_RANK": rank, "MASTER_PORT": port}
            os._exit(command(arguments, Path(f"said{rank}")))
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return [(code, Path(f"said{rank}").read_text()) for rank, code in enumerate(codes)]


def command(arguments: Sequence[str], output: Path) -> int:
    """The command line's exit code; what it prints goes to a file."""
    with (
        open(output, "w") as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("always")
        try:
            main(arguments)
        except SystemExit as ended:
            return int(ended.code or 0)
        except BaseException:
            traceback.print_exc()
    return 99


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the run is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "write_report", lambda *_: None)
    monkeypatch.setattr(tqdm, "monitor_interval", 0)  # a thread, which a copy would not have
    Path("small.yaml").write_text(CONFIG)
    Path("mine.py").write_text(MINE)
    Path("lines.txt").write_text("the sea\na boat\nthe boat\na sea\n" * 10)
    yield tmp_path
    sys.modules.pop("mine", None)


@pytest.mark.slow
def test_torchrun_trains_one_run() -> None:
    done = torchrun("train", "small.yaml", "--run", "two")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("checkpoint  two/checkpoint.safetensors") == 1
    assert set(Path("asked.txt").read_text().split()) == {"0"}
    rows = json.loads(Path("two/summary.json").read_text())
    assert list(rows) == ["data", "pretrained", "trained"]
    assert command(["train", "small.yaml", "--run", "one"], Path("said")) == 0
    # Rounding turns one of these few hundred draws into another with a probability below 1e-3.
    for alone, together in zip(rounds_of("one"), rounds_of("two"), strict=True):
        assert together["texts"] == alone["texts"]
        assert together["total"] == pytest.approx(alone["total"], rel=1e-4)


def rounds_of(run: str) -> list[Any]:
    return [json.loads(line) for line in Path(run, "scores.jsonl").read_text().splitlines()]


def test_a_run_goes_on_with_another_number_of_processes() -> None:
    assert [code for code, _ in side_by_side("train", "small.yaml", "--run", "a")] == [0, 0]
    for count, run in (("200", side_by_side), ("300", None)):
        arguments = ["train", "--resume", "--run", "a", "--total_timesteps", count]
        if run is None:
            assert command(arguments, Path("said")) == 0
        else:
            assert [code for code, _ in run(*arguments)] == [0, 0]
        rounds = rounds_of("a")
        assert [each["round"] for each in rounds] == list(range(len(rounds)))
        assert rounds[-1]["timesteps"] >= int(count)


def test_a_failure_ends_all_with_a_message() -> None:
    Path("fail.txt").touch()
    (code, said), (other_code, other_said) = side_by_side("train", "small.yaml", "--run", "a")
    assert (code, other_code) == (2, 2)
    assert "the laboratory is closed" in said
    assert "tokengym train a/config.yaml --resume" in said
    assert "error: the first process failed" in other_said or "ended, or does not" in other_said
    Path("fail.txt").unlink()
    assert [code for code, _ in side_by_side("train", "--resume", "--run", "a")] == [0, 0]


def test_a_mistake_is_said_by_all_and_nobody_waits() -> None:
    for code, said in side_by_side("train", "--resume", "--run", "nowhere"):
        assert code == 2
        assert "there is no checkpoint in nowhere to resume from" in said
