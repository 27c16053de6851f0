"""Executors and time-outs: the same scores as at home, whatever happens to a worker."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tokengym.rewards import FunctionObjective, Objective, ObjectiveError, objective
from tokengym.rewards.crew import SequenceError, gather

from .test_rewards_workers import children, environment, is_alive, wait_until

TEXTS = ["a" * (1 + i % 7) + str(i) for i in range(100)]
LENGTHS = [float(len(text)) for text in TEXTS]
spawn = multiprocessing.get_context("spawn")


@objective
def length(texts: list[str]) -> list[float]:
    """The length; module-level, and its name means the objective, not the function."""
    return [float(len(text)) for text in texts]


@objective(per_sequence=True, executor=2)
def length_elsewhere(text: str) -> float:
    return float(len(text))


@objective(per_sequence=True, timeout=0.5, on_error="skip", memo=False)
def awkward(text: str) -> float:
    """One text that hangs, one that kills the process, one that raises."""
    if text == "hang":
        time.sleep(1000)
    if text == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if text == "raise":
        raise ValueError("no")
    return float(len(text))


@objective(per_sequence=True, timeout=0.5)
def strict(text: str) -> float:
    return awkward.function(text)  # type: ignore[return-value, arg-type]


class Marks(Objective):
    """Dies once, over the text ``kill``; the file says that it has."""

    name = "marks"

    def __init__(self, mark: Path, **options: Any) -> None:
        super().__init__(**options)
        self.mark = mark
        self.unpicklable: object = None

    def score(self, texts: list[str]) -> list[float]:
        """The length."""
        if "kill" in texts and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return [float(len(text)) for text in texts]


class UnsendableError(Exception):
    """An exception that pickle cannot make again."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


@objective(executor=1)
def raises_unsendable(texts: list[str]) -> list[float]:
    raise UnsendableError("it is ", "so")


def number(text: str) -> float:
    return float(text)


def by_place(texts: list[str]) -> Any:
    return {place: 0.5 for place, _ in enumerate(texts)}


def in_no_order(texts: list[str]) -> Any:
    return {0.5 + place for place, _ in enumerate(texts)}


def with_executor(reward: FunctionObjective, where: Any, **options: Any) -> FunctionObjective:
    return FunctionObjective(reward.function, executor=where, **options)


class Lengths(Objective):
    """A class, so that it travels by its state."""

    name = "lengths"

    def score(self, texts: list[str]) -> list[float]:
        """The length."""
        return [float(len(text)) for text in texts]


def process_pool(workers: int = 1) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=spawn)


def test_threads_score_in_order() -> None:
    with ThreadPoolExecutor(4) as executor:
        asked: list[str] = []

        def slow(texts: list[str]) -> list[float]:
            time.sleep(0.002 * (len(asked) % 3))
            asked.extend(texts)
            return [float(len(text)) for text in texts]

        reward = FunctionObjective(slow, executor=executor)
        assert reward.score_texts(TEXTS + TEXTS) == LENGTHS + LENGTHS
        assert sorted(asked) == sorted(TEXTS)  # unique texts alone went out
        assert reward.score_texts(TEXTS) == LENGTHS
        assert len(asked) == len(TEXTS)


def test_a_named_objective_pickles_by_its_name() -> None:
    assert pickle.loads(pickle.dumps(length)) is length
    assert len(pickle.dumps(length)) < 200
    travelled = pickle.loads(pickle.dumps(FunctionObjective(number, per_sequence=True)))
    assert travelled.score(["1.5"]) == [1.5]
    with pytest.raises((pickle.PicklingError, AttributeError), match="local"):
        pickle.dumps(FunctionObjective(lambda texts: [0.0]))


def test_the_memo_stays_at_home() -> None:
    reward = Lengths()
    reward.score_texts(TEXTS)
    assert reward.memo is not None
    assert len(reward.memo) == len(TEXTS)
    assert len(pickle.loads(pickle.dumps(reward)).memo) == 0
    assert len(pickle.dumps(reward)) < 500


@pytest.mark.slow
@pytest.mark.parametrize("where", ["processes", "pool", "makes_pool"])
def test_processes_score_in_order(where: str) -> None:
    pool = process_pool() if where == "pool" else None
    executor: Any = {"processes": 2, "pool": pool, "makes_pool": process_pool}[where]
    rewards: list[Objective] = [Lengths(executor=executor)]
    if where == "processes":
        rewards.append(length_elsewhere)
    for reward in rewards:
        assert reward.score_texts(TEXTS) == LENGTHS
        assert reward.score_texts([*TEXTS[::-1], "new"]) == [*LENGTHS[::-1], 3.0]
        reward.close()
    if pool is not None:
        pool.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:objective")
def test_a_hanging_sequence_is_killed_and_named() -> None:
    texts = ["a", "hang", "bb", "kill", "ccc", "raise", "dddd"]
    expected = [1.0, None, 2.0, None, 3.0, None, 4.0]
    assert awkward.score_texts(texts) == expected
    assert awkward.score_texts(["a", "bb"]) == [1.0, 2.0]
    awkward.close()
    messages = {
        "hang": "objective 'strict' took longer than 0.5 s for 'hang'",
        "raise": "'strict' raised ValueError: no for 'raise'",
    }
    for text, message in messages.items():
        with pytest.raises(ObjectiveError, match=message):
            strict.score_texts(["a", text, "bb"])
    assert strict.score_texts(["a", "bb"]) == [1.0, 2.0]
    strict.close()


@pytest.mark.slow
@pytest.mark.parametrize("where", [1, process_pool], ids=["processes", "makes_pool"])
def test_a_worker_that_dies_loses_nothing(where: Any, tmp_path: Path) -> None:
    reward = Marks(tmp_path / "mark", executor=where)
    texts = ["kill" if i == 50 else text for i, text in enumerate(TEXTS)]
    assert reward.score_texts(texts) == [float(len(text)) for text in texts]
    assert reward.mark.exists()
    reward.close()


@pytest.mark.slow
def test_a_broken_pool_that_is_not_ours_says_what_to_do(tmp_path: Path) -> None:
    with process_pool() as pool:
        reward = Marks(tmp_path / "mark", executor=pool)
        with pytest.raises(ObjectiveError, match="executor= is a function that makes it"):
            reward.score_texts(["a", "kill", "b"])


@pytest.mark.slow
@pytest.mark.parametrize("where", [1, process_pool], ids=["processes", "makes_pool"])
def test_what_cannot_travel_is_an_error_even_where_failures_are_skipped(where: Any) -> None:
    def local(texts: list[str]) -> list[float]:
        return [0.0 for _ in texts]

    reward = FunctionObjective(local, executor=where, on_error="skip")
    with pytest.raises(ObjectiveError, match=r"'local'.* cannot travel"):
        reward.score_texts(["a"])
    reward.close()


@pytest.mark.slow
@pytest.mark.parametrize("where", [1, process_pool], ids=["processes", "makes_pool"])
def test_what_cannot_be_loaded_there_is_an_error(where: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(Lengths, "__reduce__", lambda self: (Exploding, ()), raising=False)
    reward = Lengths(executor=where, on_error="skip")
    with pytest.raises(ObjectiveError, match=r"cannot be loaded .*: RuntimeError: not here"):
        reward.score_texts(["a"])
    reward.close()


class Exploding:
    """Cannot be made."""

    def __init__(self) -> None:
        raise RuntimeError("not here")


@pytest.mark.parametrize(
    ("function", "shown"), [(by_place, r"\{0: 0.5\} \(dict\)"), (in_no_order, r"\{0.5\} \(set\)")]
)
def test_what_is_no_list_is_refused_as_at_home(function: Any, shown: str) -> None:
    with ThreadPoolExecutor(1) as executor:
        for where in (None, executor):
            reward = FunctionObjective(function, executor=where)
            with pytest.raises(ObjectiveError, match=f"returned {shown}.* for 'a';"):
                reward.score_texts(["a", "bb"])
        skips = FunctionObjective(function, executor=executor, on_error="skip")
        with pytest.warns(UserWarning, match=f"returned {shown}"):
            assert skips.score_texts(["a", "bb"]) == [None, None]


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"executor": 1}, {"timeout": 30.0}])
def test_what_is_no_list_is_refused_by_worker_processes(options: dict[str, Any]) -> None:
    reward = FunctionObjective(by_place, **options)
    with pytest.raises(ObjectiveError, match=r"returned \{0: 0.5\} \(dict\).* for 'a';"):
        reward.score_texts(["a", "bb"])
    reward.close()


@pytest.mark.slow
def test_an_exception_that_cannot_travel_is_told() -> None:
    with pytest.raises(ObjectiveError, match="RuntimeError: UnsendableError: it is so"):
        raises_unsendable.score_texts(["a"])
    raises_unsendable.close()


@pytest.mark.slow
def test_no_process_is_left_after_close_or_garbage_collection() -> None:
    reward = Lengths(executor=2)
    reward.score_texts(TEXTS)
    started = {p.pid for p in multiprocessing.active_children()}
    assert len(started) == 2
    reward.close()
    assert not started & children()
    reward.score_texts(["new"])
    (again,) = (p.pid for p in multiprocessing.active_children())
    del reward
    gc.collect()
    assert again not in children()


ENDS = """
import multiprocessing, os, sys, time, signal
from tests.test_rewards_executing import Lengths, strict, awkward
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    reward = Lengths(executor=2)
    reward.score_texts(list("abcdefgh"))
    print(*(p.pid for p in multiprocessing.active_children()), flush=True)
    {then}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("then", "code"),
    [
        ("pass", 0),
        ("reward.score_texts(['x' * 10]); os.kill(os.getpid(), signal.SIGKILL)", -9),
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(10)", -2),
    ],
    ids=["exit", "killed", "interrupted"],
)
def test_no_process_is_left_when_the_interpreter_ends(then: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDS.format(then=then)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        timeout=120,
    )
    assert done.returncode == code
    started = [int(pid) for pid in done.stdout.split()]
    assert len(started) == 2
    wait_until(lambda: not any(map(is_alive, started)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"executor": 0}, "executor is 0; expected a whole number, at least 1"),
        ({"executor": True}, "executor is True; expected a whole number"),
        ({"timeout": 0}, "expected seconds, more than 0"),
        ({"timeout": "5"}, "timeout is '5'; expected seconds"),
        ({"timeout": 1, "executor": process_pool}, "not ours to kill"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Lengths(**options)
    with pytest.raises(TypeError, match=r"a concurrent\.futures\.Executor"):
        Lengths(executor="threads")  # type: ignore[arg-type]


def test_one_sequence_that_raises_costs_its_chunk_nothing() -> None:
    sent: list[list[str]] = []

    def submit(texts: list[str]) -> Future[list[float | None]]:
        sent.append(texts)
        future: Future[list[float | None]] = Future()
        if "bad" in texts:
            future.set_exception(ValueError("no"))
        else:
            future.set_result([float(len(text)) for text in texts])
        return future

    texts = ["a", "bb", "bad", "dddd", "e"]
    answers = gather(submit, texts, 2, isolate=True)
    assert [answer if isinstance(answer, float) else "failed" for answer in answers] == [
        1.0,
        2.0,
        "failed",
        4.0,
        1.0,
    ]
    assert sent == [["a", "bb", "bad"], ["dddd", "e"], ["a"], ["bb"], ["bad"]]
    with pytest.raises(SequenceError) as caught:
        gather(submit, texts, 2, isolate=False)
    assert caught.value.texts == ("a", "bb", "bad")  # one of the chunk, not of the batch
    assert isinstance(caught.value.__cause__, ValueError)


# --- Dask -----------------------------------------------------------------------------------------

SLOWLY = 0.02  # seconds a sequence, so that there is a middle to kill a worker in


@objective(per_sequence=True)
def slow_length(text: str) -> float:
    time.sleep(SLOWLY)
    return float(len(text))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_dask_survives_the_death_of_a_worker() -> None:
    distributed = pytest.importorskip("distributed")
    path = {"PYTHONPATH": environment()["PYTHONPATH"]}
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1",
            dashboard_address=None, env=path,
        ) as cluster,
        distributed.Client(cluster) as client,
        ThreadPoolExecutor(1) as thread,
    ):  # fmt: skip
        executor: Executor = client.get_executor()
        reward = with_executor(slow_length, executor, per_sequence=True)
        pids = client.run(os.getpid)
        assert len(set(pids.values())) == 2
        texts = TEXTS * 2 + [text + "x" for text in TEXTS]
        scoring = thread.submit(reward.score_texts, texts)
        time.sleep(1.0)
        assert not scoring.done()
        os.kill(min(pids.values()), signal.SIGKILL)
        assert scoring.result(timeout=120) == [float(len(text)) for text in texts]
        both = Marks(Path("/nowhere"), executor=executor)
        assert both.score_texts(TEXTS) == LENGTHS
