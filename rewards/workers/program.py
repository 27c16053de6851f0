"""A scorer that is another program, in any language, which runs as long as the run does.

It speaks the worker protocol (``protocol.py``) in lines on standard input and output. A round trip
costs a ten-thousandth of a second; starting Python with RDKit for every batch costs 0.2 s.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from typing import Unpack

from ..checks import check_name, check_seconds, check_whole
from ..crew import (
    Answer,
    Crew,
    DeadWorkerError,
    WorkerError,
    WorkerStartError,
    WorkerTimeoutError,
)
from ..objective import KeepingOptions, Objective
from .lines import LineProcess, checked_command
from .protocol import (
    Handshake,
    ProtocolError,
    is_answer,
    largest_answer,
    message,
    read_answer,
    read_handshake,
    request,
    shown,
)

log = logging.getLogger(__name__)


class ExternalProgram(Objective):
    """An objective that a program computes, in as many copies as are asked for.

    The program is started at once, without a shell, and says its name and range. It is started
    again when it dies, and what it had not answered is asked once more; when it answers too late it
    is killed. What it writes to standard error goes to the log ``tokengym.rewards.workers.lines``;
    what it writes to standard output besides answers is ignored and counted.

    Args:
        command: the program and its arguments, ``["obabel-score", "--json"]``.
        timeout: seconds that it may take to start, and to answer one request.
        copies: how many run; they share a batch.
        name: in logs and errors; what the program says by default.
        **options: as for ``Objective``. A program that does not start is never skipped.

    Raises:
        WorkerStartError: the program does not start, or shakes hands in another protocol.
    """

    changes_no_score = ("timeout", "copies")

    def __init__(
        self,
        command: Sequence[str],
        *,
        timeout: float = 60.0,
        copies: int = 1,
        name: str | None = None,
        **options: Unpack[KeepingOptions],
    ) -> None:
        super().__init__(**options)
        check_seconds(timeout=timeout)
        check_whole(1, copies=copies)
        if name is not None:
            check_name(name)
        self._copies = [ProgramCopy(checked_command(command), timeout) for _ in range(copies)]
        self._crew = Crew(self._copies)
        said = self._copies[0].start()
        self.name = name or said.name
        self.range = said.range

    @property
    def stray_lines(self) -> int:
        """Lines on standard output that were no answer to what was asked."""
        return sum(copy.stray_lines for copy in self._copies)

    def score(self, texts: list[str]) -> Sequence[Answer]:
        """Ask the program."""
        return self._crew.score(texts, isolate=self.on_error == "skip")

    def close(self) -> None:
        """End the program; the next batch would start it again."""
        for copy in self._copies:
            copy.close()


class ProgramCopy:
    """One running copy of a program."""

    def __init__(self, command: list[str], timeout: float) -> None:
        self._command = command
        self._timeout = timeout
        self._process: LineProcess | None = None
        self._requests = itertools.count(1)
        self._stopped = False
        self.stray_lines, self._last_stray = 0, ""

    def __reduce__(self) -> tuple[type[ProgramCopy], tuple[list[str], float]]:
        return type(self), (self._command, self._timeout)

    def start(self) -> Handshake:
        """Start the program and read its handshake.

        Raises:
            WorkerStartError: it says none.
        """
        self._process = LineProcess(self._command)
        try:
            for line in self._process.exchange(b"", self._timeout, 1 << 16):
                said = message(line)
                if said is not None and "protocol" in said:
                    return read_handshake(said)
                self._stray(line)
        except WorkerError as error:
            self._drop()
            last = f"; its last line was {self._last_stray}" if self._last_stray else ""
            raise WorkerStartError(
                f"{self._command!r} {error}, instead of a handshake such as "
                f'{{"protocol": 1, "name": "rings", "range": [0, 1]}}{last}'
            ) from error
        raise AssertionError("exchange ends with an error or not at all")

    def score(self, texts: list[str]) -> Sequence[Answer]:
        """The program's answers; what it dies over is asked once more."""
        self._stopped = False
        try:
            return self._ask(texts)
        except DeadWorkerError as error:
            if self._stopped:
                raise
            log.warning("%s %s; it is started again", self._command[0], error)
            return self._ask(texts)

    def stop(self) -> None:
        """Kill the program; whoever waits for its answer sees it die, and asks no more."""
        self._stopped = True
        if (process := self._process) is not None:
            process.kill()

    def close(self) -> None:
        """Let the program end."""
        self._drop(patience=1.0)  # seconds

    def forget(self) -> None:
        """In a fork: leave the program to the parent; the next batch starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.forget()

    def _ask(self, texts: list[str]) -> Sequence[Answer]:
        if self._process is None:
            self.start()
        assert self._process is not None
        number, strays = next(self._requests), self.stray_lines
        try:
            for line in self._process.unasked():  # so no answer precedes its request
                self._stray(line)
            asked, limit = request(number, texts), largest_answer(len(texts))
            for line in self._process.exchange(asked, self._timeout, limit):
                said = message(line)
                if is_answer(said, number):
                    return read_answer(said, texts)
                self._stray(line)
        except WorkerTimeoutError as error:
            self._drop()
            raise WorkerTimeoutError(f"{error}{self._instead(number, strays)}") from error
        except ProtocolError:  # it has answered, so it can be asked again
            raise
        except BaseException:
            self._drop()
            raise
        raise AssertionError("exchange ends with an error or not at all")

    def _instead(self, number: int, strays: int) -> str:
        """What it wrote since the lines were so many, instead of an answer."""
        if self.stray_lines == strays:
            return ""
        return (
            f'; instead of an object that begins {{"id": {number}, it wrote '
            f"{self.stray_lines - strays} other lines, the last: {self._last_stray}"
        )

    def _stray(self, line: bytearray) -> None:
        self.stray_lines += 1
        self._last_stray = shown(line)
        log.debug("%s: ignored on standard output: %r", self._command[0], bytes(line[:200]))

    def _drop(self, patience: float = 0.0) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.stop(patience)
