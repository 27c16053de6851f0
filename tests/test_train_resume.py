"""Beginning and resuming runs: what may change, what is never written over, what stays true."""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tokengym.agents import ORGAN
from tokengym.agents.checkpoint import CheckpointError, load_checkpoint
from tokengym.agents.divergence import load_divergence
from tokengym.train import training
from tokengym.train.command_line import main
from tokengym.train.run_folder import RunFolder
from tokengym.train.stopping import StopRequest

CONFIG = """
task: tokengym/Text-v0
data: mine.txt
reward: 0.5 * conv_discriminator(embedding=4, widths=(1,), filters=(4,)) + 0.5 * mine:short
agent:
  class_path: ORGAN
  init_args:
    policy_kwargs: {hidden: 8, embedding: 4}
    batch_size: 4
    completions: 1
    discriminator_steps: 1
pretrain: {epochs: 1, batch_size: 8, discriminator_steps: 1}
total_timesteps: 60
samples: 10
"""
MINE = """
import tokengym

@tokengym.objective(memo=False)
def short(texts):
    return [1 / (1 + len(text)) for text in texts]

@tokengym.objective(memo=False)
def constant(texts):
    return [0.5] * len(texts)

@tokengym.objective(memo=False)
def endless(texts):
    return [(-1) ** place * 3e38 for place in range(len(texts))]
"""
Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> Run:
    """The command line in a folder of its own; gives what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(training, "write_report", lambda *_: None)  # charts are most of the work
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "mine", raising=False)
    (tmp_path / "small.yaml").write_text(CONFIG)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "mine.txt").write_text("the sea\na boat\nthe boat\na sea\n" * 4)

    def command(*arguments: str, code: int = 0, errors: bool = False) -> str:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        printed = capfd.readouterr()
        assert ended.value.code == code, printed.err
        return str(printed.err if errors or code == 2 else printed.out)

    return command


def test_a_resumed_run_is_read_where_it_lies(run: Run, tmp_path: Path) -> None:
    printed = run("train", "small.yaml", "--run", "a b")
    assert "pretrained" in printed
    config = yaml.safe_load(Path("a b/config.yaml").read_text())
    assert config["data"] == str(tmp_path / "mine.txt")  # found from any folder
    assert config["threads"] == 1
    os.rename("a b", "moved")
    os.mkdir("elsewhere")
    os.chdir("elsewhere")
    before = load_checkpoint("../moved/checkpoint.safetensors")[1]["num_timesteps"]
    printed = run("train", "../moved/config.yaml", "--resume", "--total_timesteps", "120")
    assert "goes on with total_timesteps=120, before 60" in printed
    after = load_checkpoint("../moved/checkpoint.safetensors")[1]["num_timesteps"]
    assert after >= 120 > before >= 60
    assert not Path("../a b").exists()
    run("train", "--resume", "--run", "../moved", "--total_timesteps", "180")
    assert load_checkpoint("../moved/checkpoint.safetensors")[1]["num_timesteps"] >= 180
    run("evaluate", "../moved", "-n", "5")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", "3"], "seed=0 and cannot go on with 3"),
        (["--agent.policy", "LSTM"], "agent.init_args.policy='GRU' and cannot go on with 'LSTM'"),
        (["--agent.policy_kwargs", "{hidden: 9}"], "agent.init_args.policy_kwargs.hidden=8"),
        (["--task", "tokengym/Copy-v0"], "task='tokengym/Text-v0'"),
        (["--task_options", "{max_length: 30}"], "task_options.max_length=None and cannot go on"),
        (["--pretrain.epochs", "2"], "pretrain.epochs=1 and cannot go on with 2"),
    ],
)
def test_what_makes_another_run_is_refused(run: Run, options: list[str], message: str) -> None:
    run("train", "small.yaml", "--run", "a")
    before = Path("a/config.yaml").read_bytes(), Path("a/checkpoint.safetensors").read_bytes()
    assert message in run("train", "--resume", "--run", "a", *options, code=2)
    after = Path("a/config.yaml").read_bytes(), Path("a/checkpoint.safetensors").read_bytes()
    assert after == before


def test_figures_are_of_whom_they_say(run: Run) -> None:
    run("train", "small.yaml", "--run", "a")
    rows = json.loads(Path("a/summary.json").read_text())
    assert list(rows) == ["data", "pretrained", "trained"]
    for row in rows.values():  # what was learnt from, and every part of it
        names = {"reward", "reward/conv_discriminator", "reward/short"}
        assert names | {f"{name}_se" for name in names} <= set(row)
    for broken in ("{", "[]", '{"data": 3}'):
        Path("a/summary.json").write_text(broken)
        message = run("report", "a", code=2)
        assert "a/summary.json" in message
        assert "resume the run, and it is written anew" in message
    Path("a/summary.json").unlink()
    assert "has no figures" in run("report", "a", code=2)
    run("train", "--resume", "--run", "a")
    assert json.loads(Path("a/summary.json").read_text()) == rows


def test_a_folder_of_something_else_is_left_alone(run: Run) -> None:
    Path("config.yaml").write_text("mine: 1\n")
    Path("samples.csv").write_text("text\n")
    message = run("train", "small.yaml", "--run", ".", code=2)
    assert "it has no checkpoint.safetensors, but it holds config.yaml, samples.csv" in message
    assert Path("config.yaml").read_text() == "mine: 1\n"
    assert not Path("tensorboard").exists()


@pytest.mark.parametrize("when", ["scores", "update", "start"])
def test_any_error_leaves_a_whole_round(run: Run, monkeypatch: Any, when: str) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise ValueError("the laboratory is closed")

    names = {"scores": "_value", "update": "_update_discriminators", "start": "pretrain"}
    real, calls = getattr(ORGAN, names[when]), []

    def third(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        return fail() if len(calls) >= 3 or when == "start" else real(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(ORGAN, names[when], third)
        message = run("train", "small.yaml", "--run", "a", code=2)
    assert "the laboratory is closed" in message
    run("train", "--resume", "--run", "a")
    run("train", "small.yaml", "--run", "whole")
    for name in ("samples.csv", "scores.jsonl"):
        assert (Path("a") / name).read_bytes() == (Path("whole") / name).read_bytes()


def full(*_: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def unwritable(*_: Any) -> Any:
    raise PermissionError(errno.EACCES, "Permission denied")


@pytest.mark.parametrize("refuse", [full, unwritable])
def test_a_disk_that_takes_no_checkpoint(run: Run, monkeypatch: Any, refuse: Any) -> None:
    """It is said, the run goes on and tries again, and what was saved before stays whole."""
    real, calls, kept = os.fsync, [], []

    def refuse_for_a_while(number: int) -> None:
        calls.append(number)
        if 9 <= len(calls) < 11:
            kept.append(Path("a/checkpoint.safetensors").read_bytes())
            refuse()
        real(number)

    with warnings.catch_warnings(), monkeypatch.context() as patched:
        warnings.simplefilter("always")
        patched.setattr(os, "fsync", refuse_for_a_while)
        printed = run("train", "small.yaml", "--run", "a", "--save_every", "0", errors=True)
    assert printed.count("no checkpoint could be written") == 1
    assert len(kept) == 2
    assert len(set(kept)) == 1
    assert not list(Path("a").glob(".*"))
    run("train", "small.yaml", "--run", "b")
    for name in ("summary.json", "samples.csv", "scores.jsonl"):
        assert (Path("a") / name).read_bytes() == (Path("b") / name).read_bytes()


def test_a_run_whose_end_could_not_be_saved_says_so(run: Run, monkeypatch: Any) -> None:
    def refuse(self: RunFolder, agent: object) -> None:
        if self.checkpoint.exists():
            full()
        real(self, agent)  # type: ignore[arg-type]

    real = RunFolder.save
    with warnings.catch_warnings(), monkeypatch.context() as patched:
        warnings.simplefilter("ignore")
        patched.setattr(RunFolder, "save", refuse)
        message = run("train", "small.yaml", "--run", "a", code=2)
    assert "the last checkpoint could not be written: [Errno 28] No space left" in message
    run("train", "--resume", "--run", "a")
    run("train", "small.yaml", "--run", "b")
    assert Path("a/samples.csv").read_bytes() == Path("b/samples.csv").read_bytes()


def test_a_folder_that_cannot_be_written_ends_before_the_work(run: Run, monkeypatch: Any) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", unwritable)
        assert "Permission denied" in run("train", "small.yaml", "--run", "a", code=2)
    message = run("train", "small.yaml", "--run", "a")
    assert "trained" in message


def test_a_run_stopped_before_its_first_checkpoint_begins(run: Run, monkeypatch: Any) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "save", full)
        run("train", "small.yaml", "--run", "a", code=2)
    assert "or --resume a run that was stopped" in run("train", "small.yaml", "--run", "a", code=2)
    run("train", "--resume", "--run", "a")
    assert Path("a/samples.csv").exists()


def test_what_leads_out_of_the_folder_is_not_written(run: Run, tmp_path: Path) -> None:
    run("train", "small.yaml", "--run", "a", "--total_timesteps", "0")
    (outside := tmp_path / "precious").write_text("mine\n")
    os.symlink(outside, "a/scores.jsonl")
    message = run("train", "--resume", "--run", "a", "--total_timesteps", "60", code=2)
    assert "a/scores.jsonl is a link to" in message
    Path("a/scores.jsonl").unlink()
    os.replace("a/checkpoint.safetensors", tmp_path / "elsewhere.safetensors")
    os.symlink(tmp_path / "elsewhere.safetensors", "a/checkpoint.safetensors")
    before = (tmp_path / "elsewhere.safetensors").read_bytes()
    run("train", "--resume", "--run", "a", "--total_timesteps", "60")
    assert (tmp_path / "elsewhere.safetensors").read_bytes() == before
    assert outside.read_text() == "mine\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_asks_to_stop_and_a_second_one_stops(number: int) -> None:
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop
        os.kill(os.getpid(), number)
        assert stop
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before


def test_a_divergence_keeps_what_was_good_and_the_batch(run: Run) -> None:
    message = run("train", "small.yaml", "--run", "a", "--reward", "mine:endless", code=2)
    assert "the gradient's norm is" in message
    assert "in round 0" in message
    error = load_divergence("a/diverged.safetensors")
    assert str(error) in message
    batch = error.batches["sequences"]
    assert len(batch) == 4
    assert torch.equal(error.values["endless"], torch.tensor([3e38, -3e38] * 2))
    _, state = load_checkpoint("a/checkpoint.safetensors")  # refuses what is not finite
    assert state["rounds"] == 0
    assert str(error) in Path("a/summary.json").read_text()
    assert str(error) in run("train", "--resume", "--run", "a", code=2)
    run("train", "--resume", "--run", "a", "--reward", "mine:short")


@pytest.mark.parametrize(
    ("place", "what", "where", "batches"),
    [
        ("agents.pretraining", "token_log_probs", "in teacher forcing (loss nan)", {"real"}),
        (
            "rewards.discriminators.base",
            "adversarial_loss",
            "in update 2 of conv_discriminator (loss nan)",
            {"real", "generated"},
        ),
    ],
)
def test_a_divergence_before_the_first_round(
    run: Run, monkeypatch: Any, place: str, what: str, where: str, batches: set[str]
) -> None:
    module = importlib.import_module(f"tokengym.{place}")
    real, calls = getattr(module, what), []

    def third_is_nan(*arguments: Any) -> Any:
        calls.append(1)
        return real(*arguments) * (torch.nan if len(calls) == 3 else 1)

    options = ["--pretrain.epochs", "2", "--pretrain.discriminator_steps", "4"]
    with monkeypatch.context() as patched:
        patched.setattr(module, what, third_is_nan)
        message = run("train", "small.yaml", "--run", "a", *options, code=2)
    assert where in message
    assert load_divergence("a/diverged.safetensors").batches.keys() == batches
    run("train", "--resume", "--run", "a")
    run("train", "small.yaml", "--run", "b", *options)
    assert Path("a/samples.csv").read_bytes() == Path("b/samples.csv").read_bytes()


def test_what_is_no_batch_of_a_divergence(run: Run) -> None:
    run("train", "small.yaml", "--run", "a", "--total_timesteps", "0")
    Path("broken").write_bytes(b"x" * 99)
    for path in ("missing", "broken", "a/checkpoint.safetensors"):
        with pytest.raises(CheckpointError, match=f"{path} holds no batch of a divergence"):
            load_divergence(path)


SAME = "warning: in every round all sequences were worth the same"


def test_a_reward_that_tells_nothing_apart_is_said(run: Run) -> None:
    arguments = ["train", "small.yaml", "--agent.repetition_penalty", "false", "--reward"]
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert SAME in run(*arguments, "mine:constant", "--run", "a", errors=True)
        assert SAME not in run(*arguments, "mine:short", "--run", "b", errors=True)


def test_samples_come_with_what_they_are_worth(run: Run) -> None:
    run("train", "small.yaml", "--run", "a", "--total_timesteps", "0")
    printed = run("sample", "a", "-n", "10").splitlines()
    assert printed == Path("a/samples.csv").read_text().splitlines()
    assert printed[0].replace('"', "") == "text,reward,conv_discriminator,short"
    for line in printed[1:]:
        text, *values = [cell.strip('"') for cell in line.split(",")]
        total, discriminator, short = map(float, values)
        assert short == pytest.approx(1 / (1 + len(text)), rel=1e-5)
        assert total == pytest.approx(0.5 * discriminator + 0.5 * short, rel=1e-5)
    alone = run("sample", "a/checkpoint.safetensors", "-n", "10").splitlines()
    assert alone == [line.split(",")[0] for line in printed]


def test_a_task_of_ones_own_is_imported(run: Run) -> None:
    Path("mytasks.py").write_text(
        "import tokengym\nfrom tokengym.envs.text import text\n"
        "tokengym.register_task('mine/Waves-v0', text)\n"
    )
    task = "mytasks:mine/Waves-v0"
    run("train", "small.yaml", "--task", task, "--run", "a", "--total_timesteps", "0")
    assert "length" in run("evaluate", "a", "-n", "5")
    message = run("train", "--task", "mytask:mine/Waves-v0", code=2)
    assert "no module 'mytask' for the task" in message
    message = run("train", "--task", "mine/Wave-v0", code=2)
    assert "did you mean mine/Waves-v0" in message
    assert "(one of your own is written 'module:mine/Wave-v0'" in message
