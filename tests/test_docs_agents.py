"""The page on agents: its agents are there, and no option of theirs is missing."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import get_args

from tokengym.agents import AGENTS, Reinforce, Reinvent
from tokengym.agents.assembled import AssembledAgent
from tokengym.agents.completions import Scheme

PAGE = (Path(__file__).parents[1] / "docs" / "agents.md").read_text(encoding="utf-8")


def test_agents_and_their_options_are_there() -> None:
    listed = [name for name in re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) if name in AGENTS]
    assert len(listed) >= 5
    words = set(re.findall(r"`(\w+)`", PAGE))
    for name in listed:
        known = set(AGENTS[name].keywords()) - {"env", "_init_setup_model"}
        assert known <= words, f"{name}: {known - words}"


def test_defaults_are_as_it_says() -> None:
    for kind in (AssembledAgent, Reinforce):
        for name, parameter in inspect.signature(kind).parameters.items():
            row = re.search(rf"^\|[^|]*`{name}`[^|]*\| ([^|]*)\|", PAGE, re.MULTILINE)
            if row and row.group(1).strip() and isinstance(parameter.default, int | float | str):
                said = row.group(1).replace("`", "").replace('"', "").strip().split(", ")
                assert str(parameter.default) in [_plain(value) for value in said], name


def test_every_scheme_was_measured() -> None:
    for scheme in get_args(Scheme):
        assert f"`{scheme}`" in PAGE


def test_the_agent_that_it_names_for_the_command_line_is_one() -> None:
    assert Reinvent.__name__ in re.findall(r"--agent (\w+)", PAGE)


def _plain(value: str) -> str:
    return str(float(value)) if "e" in value and value[0].isdigit() else value
