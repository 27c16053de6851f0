"""The checker for vector environments: ours pass it, and each kind of break is found."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tokengym
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from tokengym.envs import (
    BalancedBrackets,
    Constraint,
    MinimumLength,
    Task,
    TokenEnv,
    TokenVectorEnv,
    Vocabulary,
    check_vector_env,
)

torch.set_num_threads(1)

VOCABULARY = Vocabulary.from_tokens(["(", ")", "x", "y"], "characters")


@tokengym.objective
def share_of_x(texts: list[str]) -> list[float | None]:
    return [None if text.startswith("y") else text.count("x") / 7 for text in texts]


def make_task(constraint: Constraint | None = None) -> Task:
    return Task(
        name="Brackets",
        vocabulary=VOCABULARY,
        max_length=7,
        reward=share_of_x,
        constraint=constraint,
    )


BOTH = BalancedBrackets(on_empty="raise") & MinimumLength(2)


@pytest.mark.parametrize("constraint", [None, BOTH])
@pytest.mark.parametrize("options", [None, {"prompt": "x("}])
def test_ours_equal_the_single_one(
    constraint: Constraint | None, options: dict[str, str] | None
) -> None:
    task = make_task(constraint)
    check_vector_env(
        lambda mode: TokenVectorEnv(task, 4, autoreset_mode=mode),
        TokenEnv(task),
        steps=40,
        options=options,
    )


def test_gymnasiums_own_vector_form_passes() -> None:
    task = make_task(BOTH)
    check_vector_env(
        lambda mode: SyncVectorEnv([lambda: TokenEnv(task)] * 3, autoreset_mode=mode),
        TokenEnv(task),
        steps=30,
    )
    cart = gym.make("CartPole-v1")  # random starts, other spaces
    check_vector_env(gym.make_vec("CartPole-v1", 2, vectorization_mode="sync"), cart, steps=60)


class Broken(TokenVectorEnv):
    """Right but for one thing."""

    def __init__(self, fault: str, mode: AutoresetMode = AutoresetMode.SAME_STEP) -> None:
        self.fault = fault
        super().__init__(make_task(BOTH), 3, autoreset_mode=mode)
        self.constant = np.zeros(3, bool)
        self.calls = 0
        self.kept = np.zeros(1)
        if fault == "mode":
            self.metadata = {"autoreset_mode": "same"}
        if fault == "spaces":
            self.action_space = gym.spaces.MultiDiscrete([4, 4, 4])

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        options = kwargs.get("options") or {}
        if self.fault == "reset_mask" and "reset_mask" in options:
            options["reset_mask"] = np.ones(3, bool)
        observations, infos = super().reset(**kwargs)
        if self.fault == "reset info":
            del infos["action_mask"], infos["_action_mask"]
        return observations, infos

    def step(self, actions: Any) -> Any:
        self.calls += 1
        observations, rewards, terminated, truncated, infos = super().step(actions)
        late = self.calls > 5
        match self.fault:
            case "shared observations":
                observations = self._tokens_BT
            case "shared flags":
                truncated = self.constant
            case "observations" if late:
                observations[1, 0] = (observations[1, 0] + 1) % 4
            case "observations' range":
                observations = observations + 100
            case "rewards" if terminated.any():
                rewards = rewards + terminated
            case "rewards' type":
                rewards = rewards.tolist()
            case "ends" if late:
                terminated = terminated & False
            case "truncated" if late:
                truncated = ~truncated
            case "info value":
                infos["action_mask"] = 1 - infos["action_mask"] if late else infos["action_mask"]
            case "info more":
                infos |= {"more": np.ones(3), "_more": np.ones(3, bool)}
            case "info mask":
                del infos["_action_mask"]
            case "final_obs" if "final_obs" in infos:
                del infos["final_obs"], infos["_final_obs"]
            case "final_info" if "final_info" in infos:
                infos["final_info"]["text"][:] = "?"
            case "changed later" if late:
                self.kept[:] = 0  # an array that it gave before
        self.kept = observations
        return observations, rewards, terminated, truncated, infos

    @property
    def action_masks(self) -> Any:
        if self.fault == "no action_masks":
            raise AttributeError
        masks = super().action_masks
        if self.fault == "action_masks":
            return lambda: masks() | True
        return (lambda: masks().astype(np.int8)) if self.fault == "masks' type" else masks


SAME, NEXT, OFF = AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED


@pytest.mark.parametrize(
    ("fault", "mode", "message"),
    [
        ("mode", SAME, "metadata\\['autoreset_mode'\\] is 'same'"),
        ("spaces", SAME, "action_space is MultiDiscrete"),
        ("shared observations", SAME, "the observations shares memory with"),
        ("shared flags", SAME, "truncated shares memory with truncated of step 1"),
        ("changed later", SAME, "changed the observations that step 5 had given"),
        ("observations", SAME, "row 1: the observation is"),
        ("observations' range", SAME, "the observations are not in"),
        ("rewards", SAME, "rewards is .*; the single environment gives"),
        ("rewards' type", SAME, "expected an array of shape \\(3,\\), of floats"),
        ("ends", NEXT, "terminated is .*False.*; the single environment gives True"),
        ("truncated", SAME, "truncated is .*True.*; the single environment gives False"),
        ("info value", SAME, "info\\['action_mask'\\] is"),
        ("info more", SAME, "info has \\['more'\\]"),
        ("info mask", SAME, "has no bool array infos\\['_action_mask'\\]"),
        ("final_obs", SAME, "infos has no 'final_obs'"),
        ("final_info", SAME, "final_info\\['text'\\] is '\\?'"),
        ("reset info", SAME, "info lacks \\['action_mask'\\]"),
        ("reset_mask", OFF, "reset after step .*: the observation is"),
        ("no action_masks", SAME, "the vector form lacks it, the single environment has it"),
        ("action_masks", SAME, "action_masks\\(\\) is"),
        ("masks' type", SAME, "dtype int8; expected \\(3, A\\) bool"),
    ],
)
def test_each_kind_of_break_is_found(fault: str, mode: AutoresetMode, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_vector_env(Broken(fault, mode), TokenEnv(make_task(BOTH)), steps=40)


def test_the_broken_one_is_right_without_its_fault() -> None:
    for mode in AutoresetMode:
        check_vector_env(Broken("none", mode), TokenEnv(make_task(BOTH)), steps=40)


def test_the_wrong_mode_is_found() -> None:
    task = make_task()
    with pytest.raises(AssertionError, match=r"asked for .*NEXT_STEP, .*SAME_STEP"):
        check_vector_env(lambda mode: TokenVectorEnv(task, 2), TokenEnv(task), steps=20)


def test_a_run_without_an_end_says_too_little() -> None:
    task = make_task(MinimumLength(5))
    with pytest.raises(ValueError, match="no episode ended in 3 steps; give more steps"):
        check_vector_env(TokenVectorEnv(task, 2), TokenEnv(task), steps=3)
