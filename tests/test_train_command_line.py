"""The command line as a user runs it, in a temporary folder."""

from __future__ import annotations

import csv
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tokengym.agents import AGENTS
from tokengym.train.command_line import _parsers, _with_config

ROOT = Path(__file__).parent.parent
CONFIG = """
task: tokengym/Molecules-v0
data: mine.smi
reward: >-
  0.5 * conv_discriminator(embedding=4, widths=(1, 2), filters=(4, 4)) + 0.5 * qed * valid
agent:
  class_path: ORGAN
  init_args:
    policy: GRU
    policy_kwargs: {hidden: 16, embedding: 8}
    batch_size: 8
    completions: 2
    discriminator_steps: 1
pretrain: {epochs: 2, batch_size: 8, discriminator_steps: 3}
total_timesteps: 300
samples: 60
threads: 1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "small.yaml").write_text(CONFIG)
    smiles = ["CCO", "CCN", "c1ccccc1", "CC(C)O", "CCCl", "CC(=O)O", "C1CCCC1", "CN"] * 8
    (tmp_path / "mine.smi").write_text("\n".join(smiles) + "\n")
    return tmp_path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tokengym", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / ".namespace"), "COLUMNS": "120"}


def run(folder: Path, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        command(*arguments), cwd=folder, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr if code == 2 else done.stdout


def test_train_sample_evaluate_report(folder: Path) -> None:
    printed = run(folder, "train", "small.yaml", "--run", "runs/a", "--seed", "3")
    for name in ("checkpoint.safetensors", "samples.csv", "report.html", "tensorboard"):
        assert str(Path("runs/a") / name) in printed
    summary = json.loads((folder / "runs/a/summary.json").read_text())
    assert list(summary) == ["data", "pretrained", "trained"]
    names = ["validity", "uniqueness", "novelty", "internal_diversity", "qed"]
    figures = [*names, "reward", "reward/conv_discriminator", "reward/qed", "reward/valid"]
    for label, row in summary.items():
        likelihoods = [] if label == "data" else ["nll_data", "own_entropy"]
        expected = [name + end for name in figures + likelihoods for end in ("", "_se", "_n")]
        assert set(row) == set(expected)
    assert summary["data"]["validity"] == 1.0
    report = (folder / "runs/a/report.html").read_text()
    assert report.count("<figure>") == 24
    assert "Teacher forcing" in report
    assert "http://" not in report.replace("http://www.w3.org", "").replace(
        "http://purl.org", ""
    ).replace("http://creativecommons.org", "").replace("http://www.rdkit.org", "")
    with open(folder / "runs/a/samples.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    parts = ["conv_discriminator", "qed", "reward/valid"]
    assert list(rows[0]) == ["smiles", "valid", "reward", *parts]

    sharper = "--top-k", "20", "--top-p", "0.95"
    run(folder, "sample", "runs/a", "-n", "25", *sharper, "--output", "out.csv")
    assert len((folder / "out.csv").read_text().splitlines()) == 26
    found = json.loads(run(folder, "evaluate", "out.csv", "--reference", "mine.smi", "--json"))
    assert set(names) <= set(found)
    assert "novelty" not in json.loads(run(folder, "evaluate", "out.csv", "--json"))
    further = ["--metrics", "ngrams,mmd", "--json"]
    again = json.loads(run(folder, "evaluate", "runs/a", "-n", "60", "--seed", "3", *further))
    assert {name: again[name] for name in summary["trained"]} == pytest.approx(summary["trained"])
    assert {"mmd", "distinct_2", "jsd_1"} <= set(again)
    assert "report" in run(folder, "report", "runs/a")

    message = run(folder, "train", "small.yaml", "--run", "runs/a", code=2)
    assert "already holds a run; go on with --resume" in message


def test_options_override_the_file(folder: Path) -> None:
    run(
        folder, "train", "small.yaml", "--run", "b", "--total_timesteps", "50",
        "--agent.batch_size", "4", "--pretrain.epochs", "1", "--reward", "qed",
    )  # fmt: skip
    config = (folder / "b/config.yaml").read_text()
    assert "batch_size: 4" in config
    assert "total_timesteps: 50" in config
    assert "reward: qed" in config


@pytest.mark.slow
def test_a_constraint_holds_in_training_and_after_it(folder: Path) -> None:
    (folder / "mine.py").write_text(
        "import torch\nimport tokengym\n\nclass NoOxygen(tokengym.Constraint):\n"
        "    def mask(self, tokens_BT, lengths_B):\n"
        "        ids = torch.arange(self.vocabulary.num_actions)\n"
        "        oxygen = self.vocabulary.tokens.index('O')\n"
        "        return (ids != oxygen).expand(len(tokens_BT), -1)\n"
    )
    few = ["--total_timesteps", "50", "--pretrain.epochs", "1", "--reward", "qed"]
    run(folder, "train", "small.yaml", *few, "--run", "a", "--constraint", "smiles_syntax")
    assert "constraint: smiles_syntax" in (folder / "a/config.yaml").read_text()
    atoms = "CNOlc"
    written = [row["smiles"] for row in csv.DictReader(run(folder, "sample", "a").splitlines())]
    assert len(written) == 100
    for text in written:
        assert text[0] in atoms
        assert text.count("(") == text.count(")")
    both = "smiles_syntax & forbidden_tokens(['O'])"
    assert "O" not in run(folder, "sample", "a", "-n", "60", "--constraint", both)
    own = "minimum_length(2) & mine:NoOxygen"
    run(folder, "train", "small.yaml", *few, "--run", "b", "--constraint", own)
    with open(folder / "b/samples.csv", newline="") as file:
        texts = [row["smiles"] for row in csv.DictReader(file)]
    assert texts
    assert not any("O" in text for text in texts)
    assert "give it again" in run(folder, "sample", "b/checkpoint.safetensors", code=2)
    assert "O" not in run(folder, "sample", "b")  # its configuration names it
    assert "O" not in run(folder, "sample", "b", "--constraint", own)
    figures = json.loads(run(folder, "evaluate", "b", "-n", "60", "--seed", "0", "--json"))
    summary = json.loads((folder / "b/summary.json").read_text())
    assert figures["validity"] == summary["trained"]["validity"]


def test_ctrl_c_saves_and_resume_ends_as_if_never_stopped(folder: Path) -> None:
    run(folder, "train", "small.yaml", "--run", "whole", "--total_timesteps", "3000")
    process = subprocess.Popen(
        command("train", "small.yaml", "--run", "cut", "--total_timesteps", "3000"),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (folder / "cut/checkpoint.safetensors").exists():  # saved after the pretraining
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    assert "stopped; what was learnt is saved" in printed
    assert "go on with: tokengym train cut/config.yaml --resume" in printed
    run(folder, "train", "cut/config.yaml", "--resume")
    for name in ("samples.csv", "summary.json", "scores.jsonl"):
        assert (folder / "cut" / name).read_bytes() == (folder / "whole" / name).read_bytes()


@pytest.mark.slow
def test_a_spent_budget_ends_a_run_with_everything_saved(folder: Path) -> None:
    reward = "0.5 * conv_discriminator(embedding=4, widths=(1,), filters=(4,)) + qed(budget={})"
    arguments = ["train", "small.yaml", "--run", "b", "--total_timesteps", "100000"]
    printed = run(folder, *arguments, "--reward", reward.format(30))
    assert "stopped: objective 'qed' has scored its budget of 30 sequences" in printed
    summary = json.loads((folder / "b/summary.json").read_text())
    assert list(summary) == ["data", "pretrained", "trained", "stopped"]
    for name in ("checkpoint.safetensors", "report.html"):
        assert (folder / "b" / name).exists()
    with open(folder / "b/samples.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    assert all(row["conv_discriminator"] for row in rows)
    assert any(not row["qed"] for row in rows)  # what was not paid for

    before = (folder / "b/scores.jsonl").read_text()
    assert 0 < len(before.splitlines()) < 30
    run(folder, "train", "b/config.yaml", "--resume", "--reward", reward.format(50))  # goes on
    first = (folder / "b/scores.jsonl").read_text()
    assert first.startswith(before)
    assert len(first) > len(before)

    weighed = "0.1 * qed + 0.9 * conv_discriminator"
    assert "the best of" in run(folder, "weigh", "b", weighed)
    run(folder, "weigh", "b", weighed, "--output", "weighed.csv")
    with open(folder / "weighed.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 8 * len(first.splitlines())
    message = run(folder, "weigh", "b", "logp", code=2)
    assert "no values of 'logp' were recorded; recorded: conv_disc" in message
    assert "no folder none for w.csv" in run(
        folder, "weigh", "b", "qed", "--output", "none/w.csv", code=2
    )
    assert not (folder / "none").exists()


@pytest.mark.slow
def test_a_run_that_cannot_be_scored_stops_and_says_why(folder: Path) -> None:
    (folder / "mine.py").write_text(
        "import tokengym\n\n@tokengym.objective(on_error='skip')\ndef broken(texts):\n"
        "    raise RuntimeError('the laboratory is closed')\n"
    )
    message = run(
        folder, "train", "small.yaml", "--run", "d", "--reward", "mine:broken",
        "--total_timesteps", "100000", code=2,
    )  # fmt: skip
    wanted = "objective 'broken' failed on 256 of the last 256 sequences"
    assert wanted in message
    assert "it raised RuntimeError: the laboratory is closed" in message
    assert json.loads((folder / "d/summary.json").read_text())["stopped"].startswith(wanted)
    assert len((folder / "d/scores.jsonl").read_text().splitlines()) == 1 + (256 - 64 - 60) // 8
    (folder / "mine.py").write_text(
        "import tokengym\n\n@tokengym.objective\ndef broken(texts):\n"
        "    return [float(len(text)) for text in texts]\n"
    )
    run(folder, "train", "d/config.yaml", "--resume", "--total_timesteps", "10000")  # mended
    assert "stopped" not in json.loads((folder / "d/summary.json").read_text())


def test_check_says_what_a_run_would_meet(folder: Path) -> None:
    (folder / "scorers.py").write_text(
        "import tokengym\n\n@tokengym.objective(range=(0, 1))\ndef sound(texts):\n"
        "    return [1 / (1 + len(text)) for text in texts]\n\n"
        "@tokengym.objective\ndef fragile(texts):\n    return [1 / len(text) for text in texts]\n"
    )
    printed = run(folder, "check", "scorers:sound")
    assert "order does not matter" in printed
    assert "problem" not in printed
    printed = " ".join(run(folder, "check", "0.5 * scorers:fragile + qed", code=1).split())
    assert "problem" in printed
    assert "ZeroDivisionError" in printed
    message = run(folder, "check", "conv_discriminator + uniqueness", code=2)
    assert (
        "nothing in the reward 'conv_discriminator + uniqueness' scores one text by it" in message
    )


def test_lists_and_help(folder: Path) -> None:
    tasks = run(folder, "tasks")
    assert "tokengym/Oracle-v0" in tasks
    assert "no_repetition(n)" in tasks
    listed = " ".join(run(folder, "rewards").replace("│", " ").split())
    assert re.search(r" synthetic_accessibility .{,130} 0 \.\. 1, about 400 µs each ", listed)
    assert "Needs target=" in listed
    assert "geometric_mean(*rewards, weights=None)" in listed
    text = run(folder, "--help")
    assert "tokengym train examples/organ_molecules.yaml" in text
    text = " ".join(run(folder, "train", "--help").split())
    assert "Passes over the real sequences by teacher forcing." in text
    assert "The folder of the results." in text


def defaults(kind: type) -> dict[str, object]:
    """Those of its constructor, and of those that it hands further options to."""
    found: dict[str, object] = {}
    for each in kind.__mro__:
        if "__init__" in vars(each):
            parameters = inspect.signature(vars(each)["__init__"]).parameters.values()
            found = {p.name: p.default for p in parameters if p.default is not p.empty} | found
            if all(p.kind is not p.VAR_KEYWORD for p in parameters):
                break
    return found


@pytest.mark.parametrize("file", [None, "agent: {class_path: %s}", "samples: 5"])
@pytest.mark.parametrize("kind", list(AGENTS.values()))
def test_defaults_on_the_command_line_are_those_of_the_class(
    kind: type, file: str | None, tmp_path: Path
) -> None:
    named = file is not None and "agent" in file
    arguments = ["train", *(() if named else ("--agent", kind.__name__))]
    if file is not None:
        (tmp_path / "a.yaml").write_text(file.replace("%s", kind.__name__))
        arguments += ["--config", str(tmp_path / "a.yaml")]
    parser, _ = _parsers()
    chosen = parser.parse_args(_with_config(arguments)).as_dict()["train"]["agent"]
    assert chosen["class_path"].endswith(f".{kind.__name__}")
    wanted = {k: v for k, v in defaults(kind).items() if k in chosen["init_args"]}
    assert len(wanted) > 10
    assert {k: chosen["init_args"][k] for k in wanted} == wanted


def test_who_learns_where_nobody_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("agent: {init_args: {batch_size: 3}}\n")
    for command, who, name in [("train", "agent", "ORGAN"), ("fit", "learner", "TeacherForcing")]:
        for more in ([], [f"--{who}.batch_size=5"]):
            parser, _ = _parsers()
            found = parser.parse_args(_with_config([command, *more])).as_dict()[command][who]
            assert found["class_path"].endswith(f".{name}")
            assert not more or found["init_args"]["batch_size"] == 5
    parser, _ = _parsers()
    found = parser.parse_args(_with_config(["train", str(tmp_path / "a.yaml")])).as_dict()
    assert found["train"]["agent"]["class_path"].endswith(".ORGAN")
    assert found["train"]["agent"]["init_args"]["batch_size"] == 3


def test_a_users_own_objective_is_found_in_the_current_folder(folder: Path) -> None:
    (folder / "mine.py").write_text(
        "import tokengym\n\n@tokengym.objective\ndef broken(texts):\n"
        "    return [1.0] * (len(texts) - 1)\n"
    )
    message = run(folder, "train", "small.yaml", "--run", "c", "--reward", "mine:broken", code=2)
    assert "objective 'broken' returned" in message
    assert (folder / "c/checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "none.yaml"], "none.yaml"),
        (
            ["train", "small.yaml", "--data", "none.smi"],
            "there is no file none.smi, and the built-in sets are wehi, nci",
        ),
        (["train", "small.yaml", "--reward", "qde"], "did you mean qed"),
        (
            ["train", "small.yaml", "--reward", "external_program(command=['nonexist'])"],
            "cannot run 'nonexist'",
        ),
        (["check", "external_program(command=['true'])"], "instead of a handshake such as"),
        (["train", "small.yaml", "--constraint", "smiles_sintax"], "did you mean smiles_syntax"),
        (["train", "small.yaml", "--task", "tokengym/Molecule-v0"], "did you mean tokengym/Mol"),
        (["train", "small.yaml", "--agent.batch_sise", "3"], "did you mean batch_size"),
        (["train", "small.yaml", "--taks", "x"], "did you mean --task"),
        (["train", "small.yaml", "--resume", "--run", "nothing"], "start without --resume"),
        (["trian"], "did you mean train"),
        (["sample", "nothing"], "there is no checkpoint nothing"),
        (["evaluate", "nothing"], "no run and no file nothing"),
        (["report", "."], "is no folder of a run"),
    ],
)
def test_mistakes_get_one_message(folder: Path, arguments: list[str], message: str) -> None:
    assert message in run(folder, *arguments, code=2)


def test_any_file_of_samples_is_evaluated(tmp_path: Path) -> None:
    (tmp_path / "M.SMI").write_text("CC\nCCO\n")
    assert json.loads(run(tmp_path, "evaluate", "M.SMI", "--json"))["validity"] == 1.0
