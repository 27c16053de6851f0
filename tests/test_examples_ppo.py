from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tokengym
import torch
from tokengym import Task, Vocabulary

from examples import ppo_gymnasium

EXAMPLES = Path(__file__).parents[1] / "examples"
TARGET = "bdaca"


def share_right(texts: list[str]) -> list[float | None]:
    return [sum(map(str.__eq__, text, TARGET)) / len(TARGET) for text in texts]


def target_task() -> Task:
    vocabulary = Vocabulary.from_tokens("abcd", "characters", eos=False)
    reward = tokengym.make_reward(share_right)
    return Task(name="target", vocabulary=vocabulary, max_length=5, reward=reward)


def test_ppo_in_one_file_learns(capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(1)
    tokengym.register_task("examples/Target-v0", target_task)
    options = (
        "--id examples/Target-v0 --total-timesteps 6400 --num-envs 16 --num-steps 20 --hidden 32 "
        "--learning-rate 3e-3"
    )
    curve = ppo_gymnasium.main(options.split())
    assert len(curve) == 20
    # At first 64 random sequences of 5 letters in 4: 0.25 within 4 standard errors of 0.024.
    random, optimum = 0.25, 1.0
    assert abs(curve[0] - random) < 0.1 < 0.75 <= np.mean(curve[-3:]) <= optimum
    assert capsys.readouterr().out.count("return") == 20


def test_ppo_in_one_file_runs_on_molecules() -> None:
    torch.set_num_threads(1)
    curve = ppo_gymnasium.main(["--total-timesteps", "512", "--num-steps", "4", "--hidden", "8"])
    assert len(curve) == 2


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--masks"]])
def test_stable_baselines3_runs_on_molecules(more: list[str], tmp_path: Path) -> None:
    root = str(Path(tokengym.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    script = str(EXAMPLES / "ppo_stable_baselines3.py")
    done = subprocess.run(
        [sys.executable, script, "--total-timesteps", "1024", *more],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ep_rew_mean" in done.stdout
