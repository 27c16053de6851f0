"""A program that reads a file and writes a file: its faults name it, and a line break its text."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from tokengym.rewards import ObjectiveError, make_reward
from tokengym.rewards.workers import FileProgram

from .test_rewards_workers import TEXTS, children

LENGTHS = "import sys; lines = open(sys.argv[1]).read().splitlines(); {then}"
WRITE = "open(sys.argv[2], 'w').write(''.join(f'{len(line)}\\n' for line in lines))"


def file_program(then: str, **options: Any) -> FileProgram:
    command = [sys.executable, "-c", LENGTHS.format(then=then), "{input}", "{output}"]
    return FileProgram(command, **options)


def test_a_program_reads_a_file_and_writes_a_file() -> None:
    assert file_program(WRITE).score_texts(["a", "éé", "", "a"]) == [1.0, 2.0, 0.0, 1.0]
    # The names of the files may be a part of an argument.
    copy = FileProgram(
        ["sh", "-c", 'cp "${0#--in=}" "${1#--out=}"', "--in={input}", "--out={output}"]
    )
    assert copy.score_texts(["0.5", "", "-1e3"]) == [0.5, None, -1000.0]
    for text in ("CCO", "1_000", "\u0663"):
        with pytest.raises(
            ObjectiveError, match=f"wrote '{text}', which is no number, for '{text}'"
        ):
            copy.score_texts(["1", text])


@pytest.mark.parametrize(
    ("then", "message"),
    [
        ("sys.exit('no licence')", "exit code 1; its last words: 'no licence'"),
        ("pass", "wrote no file"),
        ("open(sys.argv[2], 'w').write('1.0')", "returned 1 scores for 3 sequences"),
        ("open(sys.argv[2], 'w').write('x' * 10_000_000)", "wrote 10,000,000 bytes"),
        ("open(sys.argv[2], 'w').write('nan\\n' * 3)", "returned nan .* for 'a'"),
        ("import time; time.sleep(1000)", "took longer than 1 s"),
    ],
)
def test_faults_of_a_program_that_writes_a_file(then: str, message: str) -> None:
    before = children()
    with pytest.raises(ObjectiveError, match=message):
        file_program(then, timeout=1.0 if "sleep" in then else 60.0).score_texts(TEXTS)
    assert children() <= before


@pytest.mark.filterwarnings("ignore:objective")
def test_a_line_break_fails_alone() -> None:
    assert file_program(WRITE, on_error="skip").score_texts(["a\nb", "cc"]) == [None, 2.0]
    with pytest.raises(ObjectiveError, match=r"cannot write a line break .* for 'a\\nb'"):
        file_program(WRITE).score_texts(["cc", "a\nb"])


def test_both_files_have_a_place_in_the_command() -> None:
    with pytest.raises(ValueError, match=r"expected \{output\} in an argument"):
        FileProgram(["dock", "{input}"])
    with pytest.raises(ObjectiveError, match="cannot run 'no-such-program'"):
        FileProgram(["no-such-program", "{input}{output}"], on_error="skip").score_texts(["a"])


def test_a_file_program_in_an_expression() -> None:
    made = make_reward("file_program(command=['sh', 'a:b', '{input}', '{output}'])")
    assert isinstance(made, FileProgram)
    assert made.command[1] == "a:b"
