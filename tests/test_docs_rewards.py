"""The page on composing rewards: its tables are what is computed, its expressions are read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml
from tokengym.rewards import Reward, Transform, make_reward, reward_targets
from tokengym.rewards.expressions import load_target

from .conftest import given

PAGE = (Path(__file__).parents[1] / "docs" / "rewards.md").read_text(encoding="utf-8")
CALLS = re.findall(r"^\| `(\w+\(.*?\))` \|", PAGE, re.MULTILINE)
ROWS = re.findall(r"^\| `(\w+\(.*?\))` \| ([0-9.]+(?: \| [0-9.]+)+) \|$", PAGE, re.MULTILINE)
A = B = C = R = given({}, name="any")


def reward_of(call: str) -> Reward:
    """The reward of a call whose rewards are called a, b, c or r."""
    return make_reward(re.sub(r"\b([abcr])(?=[,)])", lambda m: f"{__name__}:{m[1].upper()}", call))


@pytest.mark.parametrize("call", CALLS)
def test_every_call_of_the_tables_is_read(call: str) -> None:
    assert reward_of(call).kind != "component"


@pytest.mark.parametrize(("call", "cells"), ROWS)
def test_the_table_of_values(call: str, cells: str) -> None:
    made = reward_of(call)
    assert isinstance(made, Transform)
    x = torch.tensor([0, 1, 1.5, 2, 2.5, 3, 4], dtype=torch.float64)
    assert [f"{value:.3f}" for value in made.transform(x).tolist()] == cells.split(" | ")


def test_every_operator_transform_and_schedule_is_on_the_page() -> None:
    shown = {call.partition("(")[0] for call in CALLS}
    known = set()
    for name, target in reward_targets().items():
        try:
            found = load_target(target)
        except ImportError:
            continue  # an extra that is not installed
        if isinstance(found, type) and issubclass(found, Reward) and found.kind != "component":
            known.add(name)
    assert shown == known
    assert len(ROWS) == 11


def test_the_yaml_is_read() -> None:
    pytest.importorskip("rdkit")
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    reward = make_reward(yaml.safe_load(block)["reward"])
    assert [r.credit for _, r in reward.terms()] == ["rollouts", "terminal"]
    assert reward.range == pytest.approx((0.0, 1.0), abs=1e-5)
    with pytest.raises(ValueError, match="says nothing: qed lies in 0"):
        make_reward("sigmoid(qed, low=1, high=3)")
