"""The page on scorers of one's own: its Python runs, its expressions are read."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .test_rewards_workers import environment

PAGE = (Path(__file__).parents[1] / "docs" / "objectives.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("index", range(len(BLOCKS)))
def test_block_runs(index: int, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(BLOCKS[index], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    expected = [
        "0.5 * halogens + 0.5 * short [0.3333333333333333, 0.0]\n",
        "[1.0, 0.6666666666666666, 0.0]\n",
        "True True\n",
        "[3.0, 3.0]\n",
    ]
    assert done.stdout == expected[index]
