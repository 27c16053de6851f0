"""The page on scoring: its Python runs, and its table is what the code says."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from tokengym.rewards import Objective
from tokengym.rewards.objective import ObjectiveOptions

TEXT = (Path(__file__).parents[1] / "docs" / "scoring.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(compile(block.replace("budget=1000", "budget=30"), "scoring.md", "exec"), names)
    assert {path.name for path in tmp_path.iterdir()} >= {"scores.sqlite", "spent.zip"}


def test_its_table_has_every_keyword_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?)[;|]", TEXT, re.MULTILINE))
    parameters = inspect.signature(Objective.__init__).parameters
    defaults = {name: parameters[name].default for name in ObjectiveOptions.__annotations__}
    shown = {
        k: "none" if v is None else f'`"{v}"`' if isinstance(v, str) else f"`{v}`"
        for k, v in defaults.items()
    }
    assert {name: text.strip() for name, text in rows.items()} == shown
