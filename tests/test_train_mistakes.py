"""What a user may get wrong on the command line: one message, exit code 2, and no traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tokengym
from tokengym.train.command_line import main

CONFIG = "task: tokengym/Text-v0\ndata: mine.txt\nreward: conv_discriminator\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "small.yaml").write_text(CONFIG)
    (tmp_path / "latin.yaml").write_bytes(b"data: \xe9.txt\n")
    (tmp_path / "nothing.yaml").write_text("data: mine.txt\ntask:\n")
    (tmp_path / "typo.yaml").write_text(CONFIG + "total_timestep: 3\n")
    (tmp_path / "env.yaml").write_text(CONFIG + "agent: {class_path: ORGAN, init_args: {env: 3}}")
    (tmp_path / "mine.txt").write_text("the sea\na boat\nthe boat\na sea\n" * 4)
    for name, text in {"empty": "", "list": "- 1\n", "other": "a: 1\n", "latin": None}.items():
        (tmp_path / name).mkdir()
        content = b"task: \xe9\n" if text is None else text.encode()
        (tmp_path / name / "config.yaml").write_bytes(content)


TRAIN = ["train", "small.yaml", "--run", "a"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*TRAIN, "--samples", "0"], "samples is 0; expected at least 1"),
        ([*TRAIN, "--samples", "-1"], "samples is -1; expected at least 1"),
        ([*TRAIN, "--samples", "null"], "samples"),
        ([*TRAIN, "--threads", "0"], "threads is 0; expected at least 1"),
        ([*TRAIN, "--total_timesteps", "-5"], "total_timesteps is -5; expected at least 0"),
        ([*TRAIN, "--pretrain.batch_size", "0"], "batch_size is 0; expected at least 1"),
        ([*TRAIN, "--pretrain.epochs", "-1"], "epochs is -1; expected at least 0"),
        ([*TRAIN, "--pretrain.learning_rate", "-1"], "learning_rate is -1.0; expected more than 0"),
        ([*TRAIN, "--agent.device", "foo"], "device is 'foo'; expected one that is here"),
        ([*TRAIN, "--agent.discriminator_steps", "-1"], "discriminator_steps is -1"),
        ([*TRAIN, "--agent.policy_kwargs", "{hiddens: 3}"], "did you mean hidden?"),
        ([*TRAIN, "--task_options", "{vocabulary: 3}"], "task_options {'vocabulary': 3}"),
        (["train", "nothing.yaml"], "task has no value; give it one, or leave the option out"),
        (["fit", "nothing.yaml"], "task has no value; give it one, or leave the option out"),
        (["check", "qed", "-n", "-5"], "number is -5; expected at least 1"),
        (["fit", "--learner.patience", "0"], "patience is 0; expected at least 1"),
        (["fit", "--learner.device", "xpu:7"], "device is 'xpu:7'; expected one that is here"),
        (["sample", "a", "--output", "out.smi"], "a table is written as a CSV; call it out.csv"),
        ([*TRAIN, "--agent.sigma", "3"], "unknown option 'sigma'; AugmentedHillClimb and Reinvent"),
        ([*TRAIN, "--agent", "Organ"], "unknown agent 'Organ'; did you mean ORGAN or"),
        ([*TRAIN, "--agent", "x.y.Q"], "unknown agent 'x.y.Q'; there are "),
        (["train", "latin.yaml"], "utf-8"),
        (["train", "typo.yaml"], "did you mean total_timesteps"),
        (["train", "env.yaml"], "unknown option 'env'"),
        (["train", "small.yaml", "--run", "[/red]", "--resume"], "no checkpoint in [/red]"),
        (["evaluate", "small.yaml", "-n", "0"], "number is 0; expected at least 1"),
        (["sample", "a", "-n", "-1"], "number is -1; expected at least 1"),
        (["report", "empty"], "config.yaml is no configuration of a run"),
        (["report", "list"], "config.yaml is no configuration of a run"),
        (["evaluate", "other"], "config.yaml is no configuration of a run"),
        (["sample", "latin"], "config.yaml is no YAML"),
        ([], "expected a command: train, fit, sample, evaluate, report, weigh, assess, check"),
        (["train", "small.yaml", "--reward", "qe"], "(one of your own is written 'module:attr"),
    ],
    ids=str,
)
def test_a_mistake_is_one_message(arguments: list[str], message: str, capfd: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    errors = capfd.readouterr().err
    assert message in errors
    assert "did you mean env" not in errors
    assert ended.value.code == 2
    assert not Path("a").exists()


def test_version_and_help(capsys: Any) -> None:
    for arguments, expected in [
        (["--version"], tokengym.__version__),
        (["train", "--help"], "Who writes, and learns"),
        (["train", "--agent.help", "ORGAN"], "SeqGAN that pursues an objective as well"),
    ]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
        printed = capsys.readouterr().out
        assert expected in printed
        assert "_train_round" not in printed
