"""Every built-in id passes the checkers of Gymnasium and of Stable-Baselines3."""

from __future__ import annotations

import warnings

import gymnasium as gym
import pytest
import tokengym  # noqa: F401 - registers the ids
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common import env_checker
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
