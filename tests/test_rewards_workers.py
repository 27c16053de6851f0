"""Scorers that are other programs: whatever they do, no score is wrong and no process is left."""

from __future__ import annotations

import gc
import logging
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tokengym.envs import Vocabulary
from tokengym.rewards import ObjectiveError, make_reward
from tokengym.rewards.crew import WorkerStartError
from tokengym.rewards.workers import ExternalProgram, FileProgram
from tokengym.rewards.workers.protocol import ProtocolError, read_handshake
from tokengym.rewards.workers.serving import answer as serving_answer

ROOT = Path(__file__).parent.parent
FAULTY = str(ROOT / "tests/faulty_worker.py")
TEXTS = ["a", "bb", "ccc"]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Any]:
    made: list[ExternalProgram] = []

    def make(mode: str, **options: Any) -> ExternalProgram:
        command = [
            sys.executable,
            str(ROOT / "tests/faulty_worker.py"),
            mode,
            str(tmp_path / "mark"),
        ]
        made.append(ExternalProgram(command, **{"timeout": 30.0, **options}))
        return made[-1]

    yield make
    for one in made:
        one.close()


def environment() -> dict[str, str]:
    """For other processes: they import this checkout."""
    path = os.pathsep.join([str(ROOT / ".namespace"), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path}


def is_alive(pid: int) -> bool:
    """Whether there is such a process that is no zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return status.rsplit(")", 1)[1].split()[0] != "Z"


def children() -> set[int]:
    """The processes, zombies too, that this one has started and not waited for."""
    listed = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return {int(pid) for file in listed for pid in file.read_text(encoding="utf-8").split()}


def wait_until(holds: Any, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def test_a_program_says_its_name_and_range_and_scores(program: Any) -> None:
    reward = program("answers")
    assert (reward.name, reward.range) == ("faulty", (0.0, math.inf))
    assert reward.score_texts(["ccc", "a", 'é\n"\\', "a"]) == [3.0, 1.0, 4.0, 1.0]
    scores = reward(Vocabulary.from_tokens(["a", "b"], "characters").encode(["ab", "b"]))
    assert scores.parts["faulty"].tolist() == [2.0, 1.0]
    assert program("answers", name="length").name == "length"
    assert reward.stray_lines == 0


def test_several_copies_share_a_batch_in_order(program: Any) -> None:
    before = children()
    reward = program("answers", copies=3)
    texts = ["x" * (i % 17) + str(i) for i in range(200)]
    assert reward.score_texts(texts) == [float(len(text)) for text in texts]
    assert len(children() - before) == 3
    assert reward.namespace == program("answers", timeout=9).namespace  # of scores on disk


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("exits_at_start", "exit code 1; its last words .*\n.*no licence for this machine"),
        ("other_protocol", "speaks protocol 2; expected 1"),
        ("nameless", "says its name is None"),
        ("empty_range", r"says its range is \[1, 0\]"),
        ("says_nothing", "did not answer within 0.5 s"),
    ],
)
def test_a_program_that_does_not_shake_hands(program: Any, mode: str, message: str) -> None:
    before = children()
    with pytest.raises(WorkerStartError, match=message):
        program(mode, timeout=0.5 if mode == "says_nothing" else 30.0)
    assert children() <= before


@pytest.mark.parametrize("name", ["dock#1", "dock.raw"])
def test_a_handshake_with_a_name_that_parts_have(name: str) -> None:
    with pytest.raises(ProtocolError, match=f"says its name is '{name}'; expected"):
        read_handshake({"protocol": 1, "name": name})


def test_death_restarts_the_program_and_asks_once_more(program: Any, tmp_path: Path) -> None:
    assert program("dies_once").score_texts(TEXTS) == [1.0, 2.0, 3.0]
    assert (tmp_path / "mark").read_text() == "xx"


def test_death_twice_is_an_error_with_the_last_words(program: Any) -> None:
    reward = program("dies_over_bb")
    with pytest.raises(ObjectiveError, match=r"'faulty' .* exit code 7; .*\n.*too much.* for 'bb'"):
        reward.score_texts(TEXTS)
    assert reward.score_texts(["a", "dddd"]) == [1.0, 4.0]


@pytest.mark.filterwarnings("ignore:objective")
@pytest.mark.parametrize("copies", [1, 2])
def test_death_twice_skips_one_sequence_alone(program: Any, copies: int) -> None:
    reward = program("dies_over_bb", on_error="skip", copies=copies)
    assert reward.score_texts(TEXTS) == [1.0, None, 3.0]


@pytest.mark.filterwarnings("ignore:objective")
def test_a_program_that_hangs_is_killed(program: Any) -> None:
    reward = program("hangs_over_bb", timeout=1.0)
    with pytest.raises(ObjectiveError, match=r"did not answer within 1 s and was killed for 'bb'"):
        reward.score_texts(TEXTS)
    assert program("hangs_over_bb", timeout=1.0, on_error="skip").score_texts(TEXTS) == [
        1.0,
        None,
        3.0,
    ]


def test_what_a_program_has_started_dies_with_it(program: Any, tmp_path: Path) -> None:
    reward = program("starts_a_child", timeout=2.0)
    assert reward.score_texts(["a"]) == [1.0]
    with pytest.raises(ObjectiveError, match="did not answer"):
        reward.score_texts(["bb"])
    started = [int(pid) for pid in (tmp_path / "mark").read_text().split()]
    assert len(started) == 2
    wait_until(lambda: not any(map(is_alive, started)))


@pytest.mark.parametrize(
    ("mode", "strays"),
    [
        ("prints_garbage", 11),
        ("answers_twice", 1),
        ("answers_out_of_order", 3),
        ("prints_10_mb_of_lines", 200_000),
    ],
)
def test_stray_lines_are_ignored_and_counted(program: Any, mode: str, strays: int) -> None:
    reward = program(mode)
    assert reward.score_texts(TEXTS) == [1.0, 2.0, 3.0]
    time.sleep(0.3)  # what it writes after its answer arrives before the next request
    assert reward.score_texts(["dddd"]) == [4.0]
    assert reward.stray_lines == strays


def test_answers_to_other_requests_are_none(program: Any) -> None:
    reward = program("answers_a_wrong_id", timeout=0.5)
    message = r"did not answer within 0\.5 s .* wrote 3 other lines, the last: '\{\"id\": true"
    with pytest.raises(ObjectiveError, match=message):
        reward.score_texts(["a"])
    assert reward.stray_lines == 3


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("answers_10_mb", "a line of more than [0-9,]+ bytes"),
        ("answers_with_another_length", "returned 1 scores for 3 sequences"),
        ("answers_with_strings", "returned 'high' .str. for 'a'"),
        ("reports_errors", "'faulty' reported 'no bb' for 'bb'"),
        ("reports_errors_of_others", "errors {'1': 'who.'}"),
    ],
)
def test_bad_answers_are_errors_that_say_so(program: Any, mode: str, message: str) -> None:
    with pytest.raises(ObjectiveError, match=message):
        program(mode).score_texts(TEXTS)


@pytest.mark.filterwarnings("ignore:objective")
def test_reported_errors_leave_out_their_sequence_alone(program: Any) -> None:
    reward = program("reports_errors", on_error="skip")
    assert reward.score_texts(["bb", "a", "?", "ccc"]) == [None, 1.0, None, 3.0]
    assert program("reports_errors").score_texts(["?", "a"]) == [None, 1.0]  # null is no error


def test_a_program_that_never_reads_does_not_block_us(program: Any) -> None:
    reward = program("never_reads", timeout=1.0)
    with pytest.raises(ObjectiveError, match="did not answer within 1 s"):
        reward.score_texts(["x" * 100_000 + str(i) for i in range(100)])


def test_ten_megabytes_of_sequences_arrive(program: Any) -> None:
    texts = ["x" * 100_000 + "y" * i for i in range(100)]
    assert program("answers").score_texts(texts) == [100_000.0 + i for i in range(100)]


@pytest.mark.filterwarnings("ignore:objective")
def test_standard_error_goes_to_the_log(program: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tokengym.rewards.workers.lines"):
        program("dies_over_bb", on_error="skip").score_texts(["bb"])
    assert any(record.getMessage().endswith("bb is too much for me") for record in caplog.records)


def test_a_progress_bar_on_standard_error_does_not_stall_the_worker(program: Any) -> None:
    reward = program("draws_a_bar", timeout=5.0)  # 5 MB without a line feed, then the answer
    assert reward.score_texts(TEXTS) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("command", ["obabel --json", [], ["a", 1], [b"a"]])
def test_a_command_is_a_list_of_arguments(command: Any) -> None:
    with pytest.raises(TypeError, match="command is"):
        ExternalProgram(command)
    with pytest.raises(TypeError, match="command is"):
        FileProgram(command)


def test_no_shell_reads_the_arguments(tmp_path: Path) -> None:
    with pytest.raises(WorkerStartError, match="cannot run 'true;touch"):
        ExternalProgram([f"true;touch {tmp_path}/made"])
    assert not (tmp_path / "made").exists()


def test_no_process_is_left_after_close_or_garbage_collection(program: Any) -> None:
    before = children()
    reward = program("answers", copies=2)
    reward.score_texts(["a", "bb"])
    assert len(children() - before) == 2
    reward.close()
    assert children() <= before
    assert reward.score_texts(["ccc"]) == [3.0]  # it starts again
    reward.close()
    forgotten = ExternalProgram([sys.executable, FAULTY, "answers"], timeout=30.0)
    assert len(children() - before) == 1
    del forgotten
    gc.collect()
    assert children() <= before


def test_a_fork_that_ends_leaves_the_program_alone(program: Any) -> None:
    reward = program("answers")
    running = reward._copies[0]._process
    if (pid := os.fork()) == 0:
        running._end()  # what the end of an interpreter calls
        os._exit(0)
    os.waitpid(pid, 0)
    assert reward.score_texts(["ccc"]) == [3.0]
    assert reward._copies[0]._process is running


LEFT_ALONE = """
import os, signal, sys, threading
from tokengym.rewards.workers import ExternalProgram
from tests.test_rewards_workers import children
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    rewards = [ExternalProgram([sys.executable, {worker!r}, mode], timeout=600, copies=copies)
               for mode, copies in (("answers", 1), ("hangs_over_bb", {copies}))]
    print(*children(), flush=True)
    {then}
"""


@pytest.mark.slow
@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("end", ["exit", "interrupt"])
def test_no_process_is_left_when_the_interpreter_ends(end: str, copies: int) -> None:
    then = "rewards[1].score_texts(['bb', 'c'])" if end == "interrupt" else "pass"
    script = LEFT_ALONE.format(worker=FAULTY, copies=copies, then=then)
    running = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert running.stdout is not None
    started = [int(pid) for pid in running.stdout.readline().split()]
    assert len(started) == 2
    if end == "interrupt":
        time.sleep(1.0)
        running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == (0 if end == "exit" else -signal.SIGINT), said.decode()
    wait_until(lambda: not any(map(is_alive, started)))


# --- examples, the Python side ------------------------------------------------------------------


def test_example_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    monkeypatch.chdir(ROOT)
    rings = make_reward('external_program(command=["python3", "examples/workers/rings.py"])')
    assert (rings.name, rings.range) == ("rings", (0.0, 1.0))
    assert isinstance(rings, ExternalProgram)
    assert rings.score_texts(["c1ccccc1", "CCO", "C1CC2CC1CC2"]) == [0.25, 0.0, 0.5]
    vowels = make_reward("external_program(command=['sh', 'examples/workers/vowels.sh'])")
    assert isinstance(vowels, ExternalProgram)
    texts = ["hello", "", 'aé\n"xyz\\u', "AEI", "[b], a"]
    assert vowels.score_texts(texts) == [0.4, 0.0, 0.4, 1.0, 0.5]
    for reward in (rings, vowels):
        reward.close()


def test_the_python_side_imports_nothing_of_ours() -> None:
    code = "import sys, tokengym_worker; print([m for m in sys.modules if m.startswith('tok')])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    assert done.stdout.strip() == "['tokengym_worker']"


def test_the_python_side_answers() -> None:
    def inverse(texts: list[str]) -> list[float | None]:
        return [1 / len(text) if text != "?" else None for text in texts]

    def one(text: str) -> float:
        return float(text)

    assert serving_answer(inverse, ["ab", "", "?"], False) == {
        "scores": [0.5, None, None],
        "errors": {"1": "ZeroDivisionError: division by zero"},
    }
    found = serving_answer(one, ["1", "nan", "x"], True)
    assert found["scores"] == [1.0, None, None]
    assert set(found["errors"]) == {"1", "2"}  # type: ignore[call-overload]
    short = serving_answer(lambda texts: [1.0], ["a", "b"], False)
    assert short == {"scores": [1.0, 1.0], "errors": {}}


@pytest.mark.parametrize("scores", [{0: 0.5}, {0.5}, "1"], ids=["dict", "set", "text"])
def test_the_python_side_refuses_what_is_no_list(scores: object) -> None:
    assert serving_answer(lambda texts: scores, ["a"], False) == {
        "scores": [None],
        "errors": {"0": f"TypeError: returned {scores!r}; expected a list with one score for each"},
    }


def test_a_command_in_an_expression_is_a_list() -> None:
    with pytest.raises(ValueError, match="no shell is involved"):
        make_reward("external_program(command='obabel --json')")
