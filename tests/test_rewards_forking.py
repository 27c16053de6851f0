"""A fork scores with workers of its own, and leaves those of its parent alone."""

from __future__ import annotations

import multiprocessing
import pickle
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import pytest
from tokengym.rewards import Objective
from tokengym.rewards.workers import ExternalProgram

from .test_rewards_workers import FAULTY, children, is_alive

pytestmark = [
    pytest.mark.skipif(
        "fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here"
    ),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),  # Python 3.12
]
SECONDS = 120.0  # for a fork to answer


class Lengths(Objective):
    """Travels by its state."""

    name = "lengths"

    def score(self, texts: list[str]) -> list[float]:
        """The length."""
        return [float(len(text)) for text in texts]


def program(mode: str = "answers", **options: Any) -> ExternalProgram:
    return ExternalProgram([sys.executable, FAULTY, mode, "no mark"], **options)


class Fork:
    """A fork that calls a function; ``result`` is what it returned or raised."""

    def __init__(self, function: Callable[[], object], *, daemon: bool = True) -> None:
        context = multiprocessing.get_context("fork")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_answer, args=(theirs, function), daemon=daemon)
        self._process.start()
        theirs.close()

    def result(self) -> Any:
        try:
            assert self._ours.poll(SECONDS), "the fork hangs"
            return self._ours.recv()
        finally:
            self._process.kill()
            self._process.join()
            self._ours.close()


def _answer(connection: Connection, function: Callable[[], object]) -> None:
    try:
        connection.send(function())
    except Exception as error:
        connection.send(f"{type(error).__name__}: {error}")


def all_right(reward: Objective, mark: str) -> tuple[bool, int]:
    """Whether each of 50 scores is right, and how many children of this process answer."""
    before = children()
    right = all(
        reward.score_texts([mark * (1 + i) + str(k) for k in range(4)]) == [2.0 + i] * 4
        for i in range(50)
    )
    started = len(children() - before)
    reward.close()
    return right, started


@pytest.mark.parametrize("copies", [1, 2])
def test_each_fork_has_programs_of_its_own(copies: int) -> None:
    before = children()
    reward = program(copies=copies)
    reward.score_texts(list("abcdefgh"))
    started = children() - before
    assert len(started) == copies
    forks = [Fork(partial(all_right, reward, mark)) for mark in "xyz"]
    assert reward.score_texts(["w" * i for i in range(1, 100)]) == list(range(1, 100))
    assert [fork.result() for fork in forks] == [(True, copies)] * 3
    assert children() - before == started  # they were neither ended nor started again
    assert all(map(is_alive, started))
    assert reward.score_texts(["v" * i for i in range(1, 100)]) == list(range(1, 100))
    reward.close()


@pytest.mark.filterwarnings("ignore:objective")
def test_a_fork_does_not_wait_for_what_its_parent_waits_for() -> None:
    reward = program("hangs_over_bb", timeout=5.0, on_error="skip")
    thread = threading.Thread(target=reward.score_texts, args=(["bb"],))
    thread.start()
    time.sleep(0.5)
    assert thread.is_alive()
    assert Fork(lambda: reward.score_texts(["a", "ccc"])).result() == [1.0, 3.0]
    thread.join()
    reward.close()


@pytest.mark.slow
def test_each_fork_has_worker_processes_of_its_own() -> None:
    reward = Lengths(executor=1)
    assert reward.score_texts(["a"]) == [1.0]
    (started,) = multiprocessing.active_children()
    fork = Fork(partial(all_right, reward, "x"), daemon=False)
    assert reward.score_texts(["dddd"]) == [4.0]
    assert fork.result() == (True, 1)
    assert reward.score_texts(["eeeee"]) == [5.0]
    assert multiprocessing.active_children() == [started]
    reward.close()


@pytest.mark.parametrize("options", [{"executor": 1}, {"timeout": 5.0}])
def test_a_daemonic_process_that_starts_none_says_what_to_do(options: dict[str, Any]) -> None:
    reward = Lengths(on_error="skip", **options)
    said = Fork(lambda: reward.score_texts(["a"])).result()
    assert said.startswith("ObjectiveError: objective 'lengths': this process is daemonic")
    assert "leave out executor= and timeout=" in said
    assert "daemon=False" in said


def test_an_executor_that_a_fork_has_not_is_refused_or_made() -> None:
    with ThreadPoolExecutor(1) as executor:
        given = Lengths(executor=executor)
        makes = Lengths(executor=partial(ThreadPoolExecutor, 1))
        unused = Lengths(executor=partial(ThreadPoolExecutor, 1))
        for reward in (given, makes):
            assert reward.score_texts(["a"]) == [1.0]
        assert Fork(lambda: makes.score_texts(["bb"])).result() == [2.0]
        assert Fork(lambda: unused.score_texts(["bb"])).result() == [2.0]
        said = Fork(lambda: given.score_texts(["bb"])).result()
        assert "let executor= be a function that makes one" in said
        assert given.score_texts(["bb"]) == [2.0]
        makes.close()


@pytest.mark.parametrize("copied", [lambda reward: pickle.loads(pickle.dumps(reward)), deepcopy])
def test_a_copy_of_a_program_starts_its_own(copied: Callable[[Objective], Objective]) -> None:
    before = children()
    reward = program(copies=2, timeout=30.0)
    started = children() - before
    other = copied(reward)
    assert children() - before == started
    assert (other.name, other.range) == (reward.name, reward.range)
    texts = ["x" * (1 + i) for i in range(20)]
    assert other.score_texts(texts) == reward.score_texts(texts) == list(range(1, 21))
    assert len(children() - before) == 4
    other.close()
    assert reward.score_texts(["y" * 30]) == [30.0]
    reward.close()
