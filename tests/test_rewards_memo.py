"""Memos: what is kept, by whom it is seen, and that a killed process loses nothing it was told."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tokengym.rewards import FunctionObjective, Memo, MemoError, ObjectiveError, SQLiteMemo
from tokengym.rewards.memo import _CHUNK

ODD = ["", " ", "a\nb", "a\0b", "Ä", "🎵", "'; DROP TABLE scores; --", "a" * 5000, "C\ud800"]


def memos(path: Path) -> list[Memo]:
    return [Memo(), SQLiteMemo(path / "a.sqlite", "here")]


def test_both_memos_answer_alike(tmp_path: Path) -> None:
    for memo in memos(tmp_path):
        assert memo.get_many([]) == []
        memo.put_many({key: float(len(key)) for key in ODD})
        assert memo.get_many([*ODD, "unknown", ODD[3]]) == [*map(len, ODD), None, 3.0]
        many = [str(number) for number in range(3 * _CHUNK + 1)]
        memo.put_many({key: float(key) / 7 for key in many})
        assert memo.get_many(many) == [float(key) / 7 for key in many]
        assert len(memo) == len(ODD) + len(many)


def test_the_memory_memo_goes_into_tensors_and_back() -> None:
    memo, again = Memo(), Memo()
    memo.put_many({key: index / 3 for index, key in enumerate(ODD)})
    again.restore(memo.state())
    assert again.get_many(ODD) == memo.get_many(ODD)
    again.restore(Memo().state())
    assert len(again) == 0


def test_a_file_keeps_scores_for_later_and_namespaces_apart(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    first = SQLiteMemo(path, "one")
    first.put_many({"a": 1.0})
    first.put_many({"a": 9.0})  # what was read once stays what it was
    assert SQLiteMemo(path, "one").get_many(["a"]) == [1.0]
    assert SQLiteMemo(path, "two").get_many(["a"]) == [None]
    for other in (copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        assert other.get_many(["a", "b"]) == [1.0, None]
    first.close()
    assert first.get_many(["a"]) == [1.0]


def test_half_a_pair_of_utf_16_is_a_key_on_disk_too(tmp_path: Path) -> None:
    texts = ["\ud800", "a\udfff", "a"]
    for _ in range(2):
        reward = FunctionObjective(
            length_unless_bad, memo=tmp_path / "scores.sqlite", version="odd"
        )
        ASKED.clear()
        assert reward.score_texts(texts) == [1.0, 2.0, 1.0]
    assert not ASKED


def test_anybody_can_read_the_file(tmp_path: Path) -> None:
    SQLiteMemo(tmp_path / "scores.sqlite", "one").put_many({"CCO": 0.5})
    with sqlite3.connect(tmp_path / "scores.sqlite") as connection:
        query = "SELECT name, key, value FROM scores JOIN namespaces ON namespace = id"
        assert connection.execute(query).fetchall() == [("one", "CCO", 0.5)]
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_files_that_are_something_else(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, but long enough to have a header" * 100)
    with sqlite3.connect(tmp_path / "other") as connection:
        connection.execute("CREATE TABLE scores (name TEXT)")
    connection.close()
    for name in ("text", "other", "missing/folder"):
        with pytest.raises(MemoError, match=f"{name} cannot be used"):
            SQLiteMemo(tmp_path / name, "one")
    assert sqlite3.connect(tmp_path / "other").execute("SELECT * FROM scores").fetchall() == []


def test_threads_share_a_memo(tmp_path: Path) -> None:
    memo = SQLiteMemo(tmp_path / "scores.sqlite", "one")

    def write(number: int) -> None:
        for step in range(20):
            memo.put_many({f"{number} {step}": float(number)})
            assert memo.get_many([f"{number} {step}"]) == [number]

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(memo) == 80


def write_and_read(path: Path, number: int) -> bool:
    memo = SQLiteMemo(path, "one")
    for step in range(25):
        memo.put_many({f"{number} {step} {i}": number + step / 100 for i in range(20)})
        memo.put_many({f"all {step}": 0.5})
        if memo.get_many([f"{number} {step} 19", f"all {step}"]) != [number + step / 100, 0.5]:
            return False
    return True


@pytest.mark.slow
def test_several_processes_write_one_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"  # all of them make it, too
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert all(pool.starmap(write_and_read, [(path, number) for number in range(4)]))
    assert len(SQLiteMemo(path, "one")) == 4 * 25 * 20 + 25


def test_a_forked_child_opens_the_file_for_itself(tmp_path: Path) -> None:
    memo = SQLiteMemo(tmp_path / "scores.sqlite", "one")
    memo.put_many({"parent": 1.0})
    child = multiprocessing.get_context("fork").Process(target=memo.put_many, args=({"child": 2},))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert memo.get_many(["parent", "child"]) == [1.0, 2.0]


WRITER = """
import sys
from tokengym.rewards import SQLiteMemo
memo = SQLiteMemo(sys.argv[1], "one")
for step in range(int(sys.argv[2]), 10**9):
    memo.put_many({f"{step} {i}": step + i / 100 for i in range(50)})
    print(step, flush=True)
"""


@pytest.mark.slow
def test_a_killed_writer_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    program = f"import sys; sys.path[:0] = {sys.path!r}\n" + WRITER
    rng, step = random.Random(0), 0
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(path), str(step)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        step = int(process.stdout.readline())  # it writes
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        printed = process.stdout.read().split("\n")[:-1]  # the last line may be cut
        process.stdout.close()
        assert process.wait() == -signal.SIGKILL
        step = max(step, *map(int, printed), 0)
        keys = [f"{done} {i}" for done in range(step + 1) for i in range(50)]
        wanted = [done + i / 100 for done in range(step + 1) for i in range(50)]
        memo = SQLiteMemo(path, "one")
        assert memo.get_many(keys) == wanted
        with memo._connected() as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        memo.close()
        step += 1


@pytest.mark.parametrize("value", ["abc", float("inf"), 1e300, b"blob"])
def test_a_file_with_what_is_no_score_says_so(tmp_path: Path, value: object) -> None:
    path = tmp_path / "scores.sqlite"
    SQLiteMemo(path, "mine").put_many({"CCO": 0.5, "CC": 0.25})
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE scores SET value = ? WHERE key = 'CCO'", (value,))
    connection.close()
    memo = SQLiteMemo(path, "mine")
    assert memo.get_many(["CC"]) == [0.25]
    with pytest.raises(MemoError, match=r"scores.sqlite holds .* as the score of 'CCO', which is"):
        memo.get_many(["CC", "CCO"])
    memo.close()


ASKED: deque[str] = deque()  # no plain value, so it does not tell scores apart


def length_unless_bad(texts: list[str]) -> list[float | None]:
    ASKED.extend(texts)
    return [None if text == "bad" else float(len(text)) for text in texts]


def test_an_objective_reads_what_another_run_has_scored(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    ASKED.clear()
    first = FunctionObjective(length_unless_bad, memo=path, version=1)
    assert first.score_texts(["a", "bad", "a"]) == [1.0, None, 1.0]
    assert list(ASKED) == ["a", "bad"]
    again = FunctionObjective(length_unless_bad, memo=str(path), version=1)
    assert again.score_texts(["a", "bad", "cc"]) == [1.0, None, 2.0]
    assert list(ASKED) == ["a", "bad", "bad", "cc"]  # failures are not kept
    FunctionObjective(length_unless_bad, memo=path, version=2).score_texts(["a"])
    assert ASKED[-1] == "a"


def length_of_good(text: str) -> float:
    ASKED.append(text)
    if text == "bad":
        raise ValueError("no")
    if text == "slow":
        time.sleep(600)
    return float(len(text))


def lengths_of_good(texts: list[str]) -> list[float]:
    return [length_of_good(text) for text in texts]


def not_a_number(texts: list[str]) -> list[float]:
    return [float("nan") if text == "bad" else float(len(text)) for text in texts]


GOOD = [f"good {number}" for number in range(10)]


def in_threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(2)


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (length_of_good, {"per_sequence": True}),
        (length_of_good, {"per_sequence": True, "budget": 20}),
        (length_of_good, {"per_sequence": True, "executor": in_threads}),
        (lengths_of_good, {}),
        (not_a_number, {}),
        (not_a_number, {"budget": 20}),
        (not_a_number, {"executor": in_threads}),
        pytest.param(length_of_good, {"per_sequence": True, "executor": 1}, marks=pytest.mark.slow),
        pytest.param(length_of_good, {"per_sequence": True, "executor": 2}, marks=pytest.mark.slow),
        pytest.param(length_of_good, {"per_sequence": True, "timeout": 60}, marks=pytest.mark.slow),
    ],
)
def test_an_error_of_one_sequence_keeps_the_scores_of_the_others(
    tmp_path: Path, function: Any, options: dict[str, Any]
) -> None:
    memo = tmp_path / "scores.sqlite"
    reward = FunctionObjective(function, memo=memo, version=1, **options)
    with pytest.raises(ObjectiveError, match="for 'bad'"):
        reward.score_texts([*GOOD, "bad"])
    reward.close()
    again = FunctionObjective(function, memo=memo, version=1, **options)
    ASKED.clear()
    assert again.score_texts(GOOD) == [6.0] * 10
    assert not ASKED
    assert len(again.memo or ()) == 10


@pytest.mark.slow
def test_a_sequence_that_hangs_keeps_the_scores_of_the_others(tmp_path: Path) -> None:
    options: dict[str, Any] = {"per_sequence": True, "timeout": 5, "executor": 2, "version": 1}
    reward = FunctionObjective(length_of_good, memo=tmp_path / "scores.sqlite", **options)
    with pytest.raises(ObjectiveError, match="took longer than 5 s for 'slow'"):
        reward.score_texts([*GOOD, "slow"])
    reward.close()
    assert len(reward.memo or ()) == 10


def test_chunks_are_kept_as_they_come(tmp_path: Path) -> None:
    memo = SQLiteMemo(tmp_path / "scores.sqlite", "one")
    kept: list[int] = []
    scored = threading.Event()

    def waits_for_the_memo(text: str) -> float:
        if text == GOOD[-1]:
            scored.wait(60)
        return 1.0

    class Watched(SQLiteMemo):
        def put_many(self, scores: Mapping[str, float]) -> None:
            super().put_many(scores)
            kept.append(len(scores))
            if sum(kept) == len(GOOD) - 1:
                scored.set()

    with ThreadPoolExecutor(2) as executor:
        reward = FunctionObjective(waits_for_the_memo, per_sequence=True, executor=executor)
        reward.memo = Watched(memo.path, "one")
        assert reward.score_texts(GOOD) == [1.0] * 10
    assert scored.is_set()
    assert kept == [1] * 10
    assert len(memo) == 10


def test_a_memo_that_cannot_be_opened_says_so_before_the_work() -> None:
    reward = FunctionObjective(lambda texts: [0.0] * len(texts), memo="no/folder/scores.sqlite")
    with pytest.raises(MemoError, match="no/folder"):
        reward.prepare(None, 1, "cpu")
