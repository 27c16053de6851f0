"""Every built-in id passes the checkers of Gymnasium, of Stable-Baselines3 and our own."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import tokengym
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common import env_checker
from tokengym.envs import check_vector_env
from tokengym.envs.registration import BUILT_IN_TASKS

NEEDS = {"tokengym/Molecules-v0": "rdkit", "tokengym/Melodies-v0": "music21"}


@pytest.mark.parametrize("id", BUILT_IN_TASKS)
@pytest.mark.parametrize("render_mode", [None, "ansi", "rgb_array"])
def test_ids_pass_the_checkers(id: str, render_mode: str | None) -> None:
    if id in NEEDS:
        pytest.importorskip(NEEDS[id])
    with gym.make(id, render_mode=render_mode) as env:
        env_checker.check_env(env.unwrapped, warn=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that an environment made by hand has no spec
            check_env(env.unwrapped)


@pytest.mark.slow
@pytest.mark.parametrize("id", BUILT_IN_TASKS)
@pytest.mark.parametrize("constraint", [None, "minimum_length(3) & no_repetition"])
def test_the_vector_form_of_every_id_is_the_single_one(id: str, constraint: str | None) -> None:
    if id in NEEDS:
        pytest.importorskip(NEEDS[id])

    # The tasks' own rewards cost seconds, and are tested beside their tasks.
    options: dict[str, Any] = {
        "constraint": constraint,
        "reward": lambda texts: [len(text) / 9 for text in texts],
    }

    def make(mode: AutoresetMode) -> VectorEnv[Any, Any, Any]:
        return gym.make_vec(id, num_envs=3, autoreset_mode=mode, **options).unwrapped

    check_vector_env(make, gym.make(id, **options).unwrapped, steps=140)


@pytest.mark.slow
def test_an_id_can_name_its_module(tmp_path: Path) -> None:
    # What tokengym:... is for: a program that does not import tokengym, nor knows of it.
    program = (
        "import gymnasium as gym; id = 'tokengym:tokengym/Markov-v0'; "
        "print(gym.make(id).unwrapped, gym.make_vec(id, num_envs=2).unwrapped)"
    )
    root = str(Path(tokengym.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "TokenEnv" in done.stdout
    assert "TokenVectorEnv" in done.stdout
