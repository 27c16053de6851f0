"""Each task's page has Gymnasium's sections and says what is true of the task."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from tokengym.envs import make_task, options_of, task_factory
from tokengym.envs.constraints import CONSTRAINTS
from tokengym.envs.registration import BUILT_IN_TASKS

FOLDER = Path(__file__).parents[1] / "docs" / "tasks"
SOURCES = [id for id, factory in BUILT_IN_TASKS.items() if ".sources." in factory]
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
    need_for(id)
    task = make_task(id)
    A, T = task.vocabulary.num_actions, task.max_length
    assert f"`Box(0, {A + 1}, ({T},), int64)`" in page(id)
    assert f"`Discrete({A})`" in page(id)


def need_for(id: str) -> None:
    """Skip where an extra is not installed."""
    for name, module in {"Molecules": "rdkit", "Melodies": "music21"}.items():
        if name in id:
            pytest.importorskip(module)


@pytest.mark.parametrize("id", BUILT_IN_TASKS)
def test_a_page_names_a_prompt_that_can_be_begun_with(id: str) -> None:
    need_for(id)
    starting = page(id).partition("## Starting State")[2].partition("##")[0]
    prompts = re.findall(r'"([^"]+)"(?:\}\))?`', starting)
    assert len(prompts) == 1
    assert len(make_task(id).encode_prompt(prompts[0])) > 0


# The tasks that the columns of a page's table are of; one column, the defaults, for the others.
COLUMNS: dict[str, list[dict[str, str]]] = {
    "tokengym/Molecules-v0": [{}, {"representation": "selfies"}],
    "tokengym/Melodies-v0": [{}, {"data": "oneill"}, {"data": "ryan"}],
    "tokengym/Text-v0": [{}, {"tokenization": "words"}],
    "tokengym/Oracle-v0": [{}, {"source": "gru"}, {"source": "transformer"}],
}


@pytest.mark.slow
@pytest.mark.parametrize("id", BUILT_IN_TASKS)
def test_a_page_says_what_data_and_random_tokens_are_worth(id: str) -> None:
    # Within the rounding and 7 standard errors, 5 of the difference if the page's figure has as
    # large a one: a false alarm once in 10^5.
    need_for(id)
    row = r"^\| (?:the data|the source) \| (.*) \|\n\| uniformly random tokens \| (.*) \|$"
    found = re.search(row, page(id), re.MULTILINE)
    assert found is not None
    data, uniform = ([float(cell) for cell in cells.split(" | ")] for cells in found.groups())
    rng = np.random.default_rng(7)
    for options, *shown in zip(COLUMNS.get(id, [{}]), data, uniform, strict=True):
        task = make_task(id, **options)
        assert task.data is not None
        tokens_BT = rng.integers(task.vocabulary.num_actions, size=(2000, task.max_length))
        ends_BT = tokens_BT == (-1 if task.vocabulary.eos is None else task.vocabulary.eos)
        tokens_BT[(ends_BT.cumsum(axis=1) - ends_BT) > 0] = task.vocabulary.pad
        for scores, value in zip(
            (task.reward(task.data[:2000]), task.score(tokens_BT)[1]), shown, strict=True
        ):
            error = float(scores.values_B.std()) / len(scores.values_B) ** 0.5
            rounding = 0.005 if id in SOURCES else 0.0005
            assert float(scores.values_B.mean()) == pytest.approx(value, abs=rounding + 7 * error)


def test_the_index_lists_every_constraint() -> None:
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)\b.*?` \| `(\w+)` \|", index, re.MULTILINE)
    assert dict(rows) == {name: kind.__name__ for name, kind in CONSTRAINTS.items()}


def test_the_index_links_every_page() -> None:
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    for id in BUILT_IN_TASKS:
        assert f"[{id}](" in index
    assert all((FOLDER / link).exists() for link in re.findall(r"\]\(([^)#]+)\)", index))
