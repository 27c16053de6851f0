"""What takes long is said, once, and what was asked when it ended."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from tokengym.train.watching import Watch

from .test_rewards_workers import wait_until


def test_what_hangs_is_said() -> None:
    said = io.StringIO()

    def hang() -> None:
        with Watch(Console(file=said), patience=0.02) as watch:
            watch.tell("''")
            wait_until(lambda: "still waiting for the score of ''; Ctrl-C" in said.getvalue())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hang()
    assert said.getvalue().count("still waiting") == 1
    assert said.getvalue().endswith("it ended while it was asked about ''\n")


def test_what_answers_is_not() -> None:
    said = io.StringIO()
    with Watch(Console(file=said)) as watch:
        watch.tell("'a'")
    assert said.getvalue() == ""
