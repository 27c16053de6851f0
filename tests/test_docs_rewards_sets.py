"""The page on rewards of sets: its tables are what the classes say, its Python runs."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from tokengym.rewards import DiversityMemory, SetObjective, reward_targets
from tokengym.rewards.expressions import load_target

PAGE = (Path(__file__).parents[1] / "docs" / "rewards_sets.md").read_text(encoding="utf-8")


def test_the_page_says_what_the_classes_say() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| (\S+) to (\S+) \| ([\d,]+) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 5
    for name, low, high, cost in rows:
        try:
            kind = load_target(reward_targets()[name])
        except ImportError:
            continue  # an extra that is not installed
        assert isinstance(kind, type)
        assert issubclass(kind, SetObjective)
        assert kind.range == tuple(float(end.replace("∞", "inf")) for end in (low, high))
        assert kind.microseconds == float(cost.replace(",", ""))


def test_the_pages_own_objective_runs() -> None:
    names: dict[str, Any] = {"__name__": "page"}
    exec(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0], names)
    # of four, one with a ring: 1/2; without it 0, without one of the others 2/3
    assert names["Balance"]().pseudo_values(["C1CC1", "C", "CC", "O"]) == pytest.approx(
        [2, 0, 0, 0]
    )
    assert names["Balance"]().pseudo_values(["C"]) == [0.0]


def test_the_page_has_the_memorys_options_with_their_defaults() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `(.*?)` \|", PAGE, re.MULTILINE))
    parameters = inspect.signature(DiversityMemory).parameters
    defaults = {name: p.default for name, p in parameters.items() if name != "reward"}
    shown = {name: f'"{v}"' if isinstance(v, str) else str(v) for name, v in defaults.items()}
    assert rows == shown
