"""``tokengym fit``: stopped and resumed to the bit, and what agents and commands make of it."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tokengym.agents import load_agent
from tokengym.agents.checkpoint import load_checkpoint
from tokengym.train.command_line import main
from tokengym.train.config import with_absolute_paths
from tokengym.train.supervised import Learner, TeacherForcing, load_learner

CONFIG = """
task: tokengym/Text-v0
data: mine.txt
learner:
  class_path: TeacherForcing
  init_args:
    policy_kwargs: {hidden: 8, embedding: 4, dropout: 0.1}
    batch_size: 8
    averaging: 0.9
    patience: 3
max_epochs: 4
samples: 20
"""
REWARD = "conv_discriminator(embedding=4, widths=(1,), filters=(4,))"
AGENT = [
    f"--reward={REWARD}",
    "--agent.batch_size=4",
    "--agent.completions=1",
    "--pretrain.discriminator_steps=1",
]
Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> Run:
    """The command line in a folder of its own; gives what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "small.yaml").write_text(CONFIG)
    (tmp_path / "mine.txt").write_text("the sea\na boat\nthe boat\na sea\n" * 20)

    def command(*arguments: str, code: int = 0) -> str:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        printed = capfd.readouterr()
        assert ended.value.code == code, printed.err
        return str(printed.err if code == 2 else printed.out)

    return command


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Press Ctrl-C in the middle of a fit."""
    step = Learner._step

    def interrupted(self: Learner, *args: Any) -> Any:
        figures = step(self, *args)
        if self.progress.step == steps:
            os.kill(os.getpid(), signal.SIGINT)
        return figures

    monkeypatch.setattr(Learner, "_step", interrupted)


@pytest.mark.slow
def test_a_fit_that_was_stopped_is_resumed_to_the_bit(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("fit", "small.yaml", "--run", "whole")
    with monkeypatch.context() as patched:
        stop_after(patched, 17)
        printed = run("fit", "small.yaml", "--run", "a b", code=1)
    assert "go on with: tokengym fit 'a b/config.yaml' --resume" in printed
    assert load_learner(Path("a b/checkpoint.safetensors")).progress.step == 17
    run("fit", "a b/config.yaml", "--resume")
    whole, resumed = (load_checkpoint(f"{at}/checkpoint.safetensors") for at in ("whole", "a b"))
    assert whole[0].keys() == resumed[0].keys()
    assert all(torch.equal(tensor, resumed[0][name]) for name, tensor in whole[0].items())
    for state in (whole[1], resumed[1]):
        state["progress"]["seconds"] = None
    assert whole[1] == resumed[1]
    rows = [json.loads(Path(f"{name}/summary.json").read_text()) for name in ("whole", "a b")]
    assert rows[0] == rows[1]
    assert {"nats_a_token", "bits_a_character_se", "novelty"} <= set(rows[0]["fitted"])
    assert Path("whole/samples.csv").read_bytes() == Path("a b/samples.csv").read_bytes()


@pytest.mark.slow
def test_what_a_fit_leaves_is_used_by_the_other_commands(run: Run) -> None:
    printed = run("fit", "small.yaml", "--run", "fitted")
    [line] = [line for line in printed.splitlines() if line.startswith("go on by")]
    report = Path("fitted/report.html").read_text()
    assert "TeacherForcing, GRU" in report
    assert "at most 4 epochs" in report
    assert "<b>Fit</b>" in report
    rows = list(csv.DictReader(io.StringIO(run("sample", "fitted", "-n", "7"))))
    assert len(rows) == 7
    alone = list(csv.DictReader(io.StringIO(run("sample", "fitted/checkpoint", "-n", "7"))))
    assert [row["text"] for row in alone] == [row["text"] for row in rows]
    best = list(csv.DictReader(io.StringIO(run("sample", "fitted", "-n", "2", "--beams", "5"))))
    assert len({row["text"] for row in best}) == 2
    message = run("sample", "fitted", "--beams", "5", "--temperature", "0", code=2)
    assert "a beam search draws nothing; leave --temperature" in message
    assert "uniqueness" in run("evaluate", "fitted", "-n", "10")
    run("report", "fitted")

    words = shlex.split(line.removeprefix("go on by"))
    assert words[:4] == ["tokengym", "train", "--policy", "fitted"]
    run(*words[1:], "--run", "trained", "--total_timesteps", "1", "--samples", "10", *AGENT)
    agent = load_agent("trained/checkpoint.safetensors")
    assert agent.pretraining.step == 0
    fitted = load_learner(Path("fitted/checkpoint.safetensors")).policy
    assert agent.policy.config() == fitted.config()
    differences = [
        float((weight - fitted.state_dict()[name]).abs().max())
        for name, weight in agent.policy.state_dict().items()
    ]
    assert 0 < max(differences) < 0.05  # some steps of Adam away
    config = yaml.safe_load(Path("trained/config.yaml").read_text())
    assert config["policy"] == str(Path("fitted").resolve())
    assert f"ORGAN, {config['policy']}" in Path("trained/report.html").read_text()
    run("train", "--resume", "--run", "trained", "--total_timesteps", "60")
    assert "tokengym fit; go on with tokengym fit" in run(
        "train", "--resume", "--run", "fitted", code=2
    )
    assert "fitted has no scores of rounds" in run("weigh", "fitted", "length", code=2)
    rows = json.loads(Path("trained/summary.json").read_text())
    assert {"reward", "reward_n"} <= set(rows["pretrained"]) & set(rows["trained"])
    other = "tests.test_train_fitting:how_long"
    printed = run("train", "--resume", "--run", "trained", "--total_timesteps", "90",
                  f"--reward={other}", "--agent.discriminator_steps=0")  # fmt: skip
    assert f"goes on with reward='{other}'" in printed
    rows = json.loads(Path("trained/summary.json").read_text())
    assert "reward" in rows["trained"]
    assert not [name for name in rows["pretrained"] if name.startswith("reward")]


def has_sea(texts: list[str]) -> list[float | None]:
    return [float("sea" in text) for text in texts]


def how_long(texts: list[str]) -> list[float]:
    return [len(text) / 100 for text in texts]


@pytest.mark.slow
def test_a_conditional_fit_writes_what_is_asked_for_and_says_how_well(run: Run) -> None:
    run("fit", "small.yaml", "--run", "fitted", "--max_epochs", "15", "--learner.classes", "2",
        "--learner.class_of", "tests.test_train_fitting:has_sea",
        "--learner.learning_rate", "0.03", "--learner.averaging", "0")  # fmt: skip
    figures = json.loads(Path("fitted/summary.json").read_text())["fitted"]
    assert figures["class_accuracy"] > 0.9
    assert figures["measured_n"] == figures["class_accuracy_n"] == 1  # of 80, one is held out
    assert "class accuracy" in Path("fitted/report.html").read_text()
    printed = run("evaluate", "fitted", "-n", "10", "--json")
    assert json.loads(printed)["class_accuracy"] == figures["class_accuracy"]
    for wanted in (0, 1):
        printed = run("sample", "fitted", "-n", "20", "--condition", str(wanted))
        rows = list(csv.DictReader(io.StringIO(printed)))
        assert sum(("sea" in row["text"]) == wanted for row in rows) > 16
    assert "a class is 0.5; expected" in run("sample", "fitted", "--condition", "0.5", code=2)
    message = run("sample", "fitted", "--condition", "1", "--beams", "3", code=2)
    assert "leave --condition or --beams out" in message
    run("fit", "small.yaml", "--run", "plain", "--max_epochs", "0")
    assert "takes no condition" in run("sample", "plain", "--condition", "1", code=2)


def test_files_of_a_run_are_found_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "corpus").write_text("a sea\n")
    (tmp_path / "named").mkdir()
    with contextlib.chdir(tmp_path):
        found = with_absolute_paths({"data": "corpus", "a": "named", "b": "./named", "n": 3})
    place = str(tmp_path / "corpus"), "named", str(tmp_path / "named"), 3
    assert tuple(found.values()) == place


def test_mistakes_are_told(run: Run, tmp_path: Path) -> None:
    assert "no checkpoint in none to resume from" in run("fit", "--resume", "--run", "none", code=2)
    run("fit", "small.yaml", "--run", "a", "--max_epochs", "0")
    assert "already holds a run" in run("fit", "small.yaml", "--run", "a", code=2)
    message = run("fit", "--resume", "--run", "a", "--learner.averaging", "0.5", code=2)
    assert "learner.init_args.averaging=0.9 and cannot go on with 0.5" in message
    message = run("fit", "--learner", "TeacherForcin", code=2)
    assert "unknown learner 'TeacherForcin'; did you mean TeacherForcing" in message
    message = run("fit", "small.yaml", "--learner.patienc", "5", code=2)
    assert "did you mean patience" in message
    (tmp_path / "other.txt").write_text("xyz\nzzz\n" * 50)
    message = run("train", "--task", "tokengym/Text-v0", "--data", "other.txt", "--policy", "a",
                  "--run", "b", code=2)  # fmt: skip
    assert "the policy writes" in message
    assert isinstance(load_learner("a/checkpoint"), TeacherForcing)
