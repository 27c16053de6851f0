"""A scorer that is a program which reads a file and writes a file, started anew for every batch.

The file to read has one sequence a line, the file to write one number a line in the same order, in
UTF-8; an empty line says that a sequence cannot be scored. Starting a program costs milliseconds to
seconds a batch: one that can go on running is better served by ``ExternalProgram``.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from ..checks import check_name, check_seconds, checked_range
from ..crew import (
    Answer,
    DeadWorkerError,
    Failure,
    WorkerError,
    WorkerStartError,
    WorkerTimeoutError,
)
from ..executing import Where
from ..objective import KeepingOptions, Objective
from .lines import checked_command, kill_group
from .protocol import largest_answer

_LAST_WORDS = 1000  # bytes of what a program said that an error message repeats


class FileProgram(Objective):
    """An objective that a program computes from one file into another; no shell is involved.

    Args:
        command: the program and its arguments, of which ``{input}`` and ``{output}`` are a part:
            ``["dock", "--ligands={input}", "--scores={output}"]``.
        timeout: seconds that a run may take, then it is killed with its process group.
        name: in logs and errors.
        range: the lowest and the highest score, as far as they are known.
        executor: a ``ThreadPoolExecutor`` runs the program several times at once.
        **options: as for ``Objective``.
    """

    changes_no_score = ("timeout", "range")

    def __init__(
        self,
        command: Sequence[str],
        *,
        timeout: float = 600.0,
        name: str = "file_program",
        range: tuple[float, float] = (-float("inf"), float("inf")),
        executor: Where | None = None,
        **options: Unpack[KeepingOptions],
    ) -> None:
        super().__init__(executor=executor, **options)
        self.command = checked_command(command)
        for place in ("{input}", "{output}"):
            if not any(place in part for part in self.command):
                raise ValueError(f"command is {self.command}; expected {place} in an argument")
        check_seconds(timeout=timeout)
        check_name(name)
        self.timeout = timeout
        self.name = name
        self.range = checked_range(range)

    def score(self, texts: list[str]) -> Sequence[Answer]:
        """Write the file, run the program, read the file."""
        answers: list[Answer] = [
            Failure("cannot write a line break into a file of one line a sequence") for _ in texts
        ]
        places = [place for place, text in enumerate(texts) if not set(text) & set("\r\n")]
        if places:
            scores = self._scores([texts[place] for place in places])
            for place, score in zip(places, scores, strict=True):
                answers[place] = score
        return answers

    def _scores(self, texts: list[str]) -> list[Answer]:
        with tempfile.TemporaryDirectory(prefix="tokengym-") as folder:
            given, made = Path(folder, "input.txt"), Path(folder, "output.txt")
            given.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
            names = {"{input}": str(given), "{output}": str(made)}
            command = [_filled_in(part, names) for part in self.command]
            _run(command, self.timeout, Path(folder, "said.txt"))
            return [_number(line) for line in _lines(made, len(texts))]


def _filled_in(argument: str, names: dict[str, str]) -> str:
    for place, name in names.items():
        argument = argument.replace(place, name)
    return argument


def _run(command: list[str], timeout: float, words: Path) -> None:
    """Run a program to its end; what it says goes to the file ``words``."""
    with words.open("wb") as said:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise WorkerStartError(f"cannot run {command[0]!r}: {error}") from error
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        raise WorkerTimeoutError(f"{command[0]!r} took longer than {timeout:g} s") from None
    finally:
        kill_group(process)
        process.wait()
    if process.returncode:
        with words.open("rb") as said:
            said.seek(-min(words.stat().st_size, _LAST_WORDS), os.SEEK_END)
            last = said.read().decode(errors="replace").strip()
        raise DeadWorkerError(
            f"{command[0]!r} ended with exit code {process.returncode}; its last words: {last!r}"
        )


def _lines(file: Path, count: int) -> list[str]:
    if not file.is_file():
        raise WorkerError("wrote no file")
    if (size := file.stat().st_size) > largest_answer(count):
        raise WorkerError(f"wrote {size:,} bytes for {count} sequences")
    lines = file.read_text(encoding="utf-8").splitlines()
    if len(lines) != count:
        raise WorkerError(f"returned {len(lines)} scores for {count} sequences")
    return lines


def _number(line: str) -> float | Failure | None:
    if not line.strip():
        return None
    try:
        if "_" in line or not line.isascii():  # though Python reads 1_000 and digits of any script
            raise ValueError
        return float(line)
    except ValueError:
        return Failure(f"wrote {line[:80]!r}, which is no number,")
