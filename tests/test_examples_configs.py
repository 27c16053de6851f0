"""The example configurations train, or fit, with little to do."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from tokengym.train.command_line import main

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.yaml"))
POLICY = "{hidden: 8, embedding: 4}"
TRAIN = (
    *("--agent.policy_kwargs", POLICY, "--agent.batch_size", "2"),
    *("--agent.discriminator_steps", "1", "--task_options", "{max_length: 20}"),
    *("--pretrain.epochs", "1", "--pretrain.discriminator_steps", "1"),
    *("--total_timesteps", "1", "--samples", "6"),
)
FIT = ("--learner.policy_kwargs", POLICY, "--max_epochs", "1", "--samples", "6")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:in every round all sequences were worth the same")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_trains(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rdkit")
    monkeypatch.chdir(tmp_path)
    Path("mine.smi").write_text("\n".join(["CCO", "CCN", "c1ccccc1", "CC(C)O"] * 4) + "\n")
    Path("mine.txt").write_text("\n".join(["C5:1/8 D5:1/8", "C5:1/4", "D5:1/8 C5:1/4"] * 4) + "\n")
    data = "mine.txt" if "Melodies" in path.read_text(encoding="utf-8") else "mine.smi"
    is_fit = "\nlearner:" in path.read_text(encoding="utf-8")
    command, small = ("fit", FIT) if is_fit else ("train", TRAIN)
    with pytest.raises(SystemExit) as ended:
        main([command, str(path), "--data", data, "--run", "a", *small])
    assert ended.value.code == 0
    with open("a/samples.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 6
