"""The README's Python runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import gymnasium as gym
import pytest

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("index", range(len(BLOCKS)))
def test_block_runs(index: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quick = BLOCKS[index].replace("5_000", "500").replace("_steps=20", "_steps=2")
    exec(compile(quick, f"README block {index}", "exec"), {"__name__": "readme"})
    gym.registry.pop("mine/Haiku-v0", None)
