"""The benchmarks of rollouts and of scoring work, and the engine's tokens are the reference's."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import rollouts, scoring


@pytest.mark.slow
def test_rollouts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written = tmp_path / "rollouts.json"
    arguments = ["--quick", "--settings", "S1", "--highways", "none", "--json", str(written)]
    monkeypatch.setattr(sys, "argv", ["rollouts", *arguments])
    assert rollouts.main() == 0
    found = json.loads(written.read_text())
    exact = [row for row in found["rollouts"] if row["dtype"] == "float32"]
    assert [row["setting"] for row in exact] == ["S1"]
    assert all(row["equal"] == row["compared"] > 0 for row in exact)
    assert all(0 < change["total_variation"] < 0.05 for change in found["bfloat16"].values())


@pytest.mark.slow
def test_scoring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written = tmp_path / "scoring.json"
    arguments = ["--quick", "--settings", "S1", "--json", str(written)]
    monkeypatch.setattr(sys, "argv", ["scoring", *arguments])
    assert scoring.main() == 0
    for row in json.loads(written.read_text()):
        assert row["change"] < (1e-6 if row["scoring"] == "float32" else 0.01)
