"""Each task's page has Gymnasium's sections and says what is true of the task."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tokengym.envs import make_task, options_of, task_factory
from tokengym.envs.constraints import CONSTRAINTS
from tokengym.envs.registration import BUILT_IN_TASKS

FOLDER = Path(__file__).parents[1] / "docs" / "tasks"
SECTIONS = [
    *("Description", "Observation Space", "Action Space", "Rewards", "Starting State"),
    *("Episode End", "Arguments", "Version History"),
]


def page(id: str) -> str:
    name = id.removeprefix("tokengym/").removesuffix("-v0").lower()
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("id", BUILT_IN_TASKS)
def test_a_page_has_the_sections_in_their_order(id: str) -> None:
    text = page(id)
    assert text.startswith(f"# {id}: ")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS


@pytest.mark.parametrize("id", BUILT_IN_TASKS)
def test_a_page_lists_every_argument_with_its_default(id: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(.*?)` \| .+ \|$", page(id), re.MULTILINE)
    defaults = options_of(task_factory(id))
    shown = {k: f'"{v}"' if isinstance(v, str) else repr(v) for k, v in defaults.items()}
    assert dict(rows) == shown


@pytest.mark.parametrize("id", BUILT_IN_TASKS)
def test_a_page_states_the_spaces(id: str) -> None:
    needed = {"Molecules": "rdkit", "Melodies": "music21"}
    for name, module in needed.items():
        if name in id:
            pytest.importorskip(module)
    task = make_task(id)
    A, T = task.vocabulary.num_actions, task.max_length
    assert f"`Box(0, {A + 1}, ({T},), int64)`" in page(id)
    assert f"`Discrete({A})`" in page(id)


def test_the_index_lists_every_constraint() -> None:
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)\b.*?` \| `(\w+)` \|", index, re.MULTILINE)
    assert dict(rows) == {name: kind.__name__ for name, kind in CONSTRAINTS.items()}


def test_the_index_links_every_page() -> None:
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    for id in BUILT_IN_TASKS:
        assert f"[{id}](" in index
    assert all((FOLDER / link).exists() for link in re.findall(r"\]\(([^)#]+)\)", index))
