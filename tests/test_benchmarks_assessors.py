"""Raters at once: no acknowledged answer is lost or doubled, though the server is killed."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra 'assessors'")

from benchmarks import assessors


@pytest.fixture(autouse=True)
def our_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """For other processes: they import what this one does."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))


@pytest.mark.slow
def test_none_lost_and_none_doubled_when_the_server_is_killed(database: str) -> None:
    load = assessors.Load(database, raters=8, pairs=500, wanted=2, seconds=120)
    for kill in range(1, 4):
        while sum(len(rater.kept) for rater in load.raters) < 25 * kill:
            assert not any(rater.refused for rater in load.raters)
            time.sleep(0.005)
        load.server.kill()
        load.server.start()
    for rater in load.raters:
        rater.deadline = time.monotonic() + 0.5
    result = load.result()
    assert result.exact, result
    assert result.ratings >= 75
    assert result.resent >= 3  # there were requests on the way as it died


@pytest.mark.slow
def test_the_benchmark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written = tmp_path / "assessors.json"
    arguments = ["--seconds", "1", "--raters", "5", "--json", str(written)]
    monkeypatch.setattr(sys, "argv", ["assessors", *arguments])
    monkeypatch.setattr(assessors, "SLOWEST", 600.0)  # how busy this machine is, is no matter here
    assert assessors.main() == 0
    found = json.loads(written.read_text())
    assert found["ratings"] >= 5
    assert found["lost"] == found["doubled"] == found["too_many"] == 0


def test_a_load_that_is_not_exact_is_told() -> None:
    good = {"database": "sqlite", "raters": 1, "seconds": 1.0, "ratings": 1, "milliseconds": {}}
    good |= {"resent": 0, "lost": 0, "doubled": 0, "too_many": 0, "refused": []}
    assert assessors.Result(**good).exact  # type: ignore[arg-type]
    for wrong in ({"lost": 1}, {"doubled": 1}, {"too_many": 1}, {"refused": ["x"]}, {"ratings": 0}):
        assert not assessors.Result(**{**good, **wrong}).exact  # type: ignore[arg-type]
