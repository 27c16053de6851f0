"""The command line under torchrun: one run of several processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def launch(*arguments: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
    command = [sys.executable]
    if processes > 1:
        count = f"--nproc_per_node={processes}"
        command += ["-m", "torch.distributed.run", "--standalone", count, "-m", "--"]
    else:
        command += ["-m"]
    path = os.pathsep.join([str(ROOT / ".namespace"), *filter(None, [os.getenv("PYTHONPATH")])])
    return subprocess.run(
        [*command, "tokengym", *arguments],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.slow
def test_torchrun_trains_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(CONFIG)
    Path("mine.py").write_text(MINE)
    Path("lines.txt").write_text("the sea\na boat\nthe boat\na sea\n" * 10)
    together = launch("train", "small.yaml", "--run", "two")
    assert together.returncode == 0, together.stderr
    assert together.stdout.count("checkpoint  two/checkpoint.safetensors") == 1
    assert set(Path("asked.txt").read_text().split()) == {"0"}
    rows = json.loads(Path("two/summary.json").read_text())
    assert list(rows) == ["data", "pretrained", "trained"]

    # Resumed with another number of processes, to where neither has been.
    more = launch("train", "--resume", "--run", "two", "--total_timesteps", "200", processes=1)
    assert more.returncode == 0, more.stderr
    rounds = [json.loads(line) for line in Path("two/scores.jsonl").read_text().splitlines()]
    assert [each["round"] for each in rounds] == list(range(len(rounds)))
    assert rounds[-1]["timesteps"] >= 200

    Path("fail.txt").touch()
    failed = launch("train", "--resume", "--run", "two", "--total_timesteps", "300")
    assert failed.returncode != 0
    assert "the laboratory is closed" in failed.stderr
    assert "goes on" not in failed.stderr
