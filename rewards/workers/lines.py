"""A running program that is written to and read from in lines, each with a deadline (POSIX).

Writing and reading take turns in one loop, so that neither side can wait for the other for ever:
not a program that answers while it is still being asked, nor one that never reads. The program is
started without a shell, in a process group of its own: Ctrl-C does not reach it, and what it has
started itself ends with it, unless that went into another group or session.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import subprocess
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import IO

from ..crew import DeadWorkerError, WorkerStartError, WorkerTimeoutError

log = logging.getLogger(__name__)

_BLOCK = 1 << 16  # bytes a read or a write
_READS_BEFORE_ASKING = 64  # a program that writes without end is asked all the same
_LAST_WORDS = 10  # lines of standard error that an error message repeats
_LONGEST_WORD = 1000  # characters of each


def checked_command(command: Sequence[str]) -> list[str]:
    """A command as a list of arguments.

    Raises:
        TypeError: a string, which would need a shell, or something else.
    """
    if isinstance(command, str) or not all(isinstance(part, str) for part in command):
        raise TypeError(
            f"command is {command!r}; expected a list of arguments such as "
            "['obabel-score', '--json'] (no shell is involved)"
        )
    if not command:
        raise TypeError("command is empty; expected a program and its arguments")
    return list(command)


class LineProcess:
    """A program in its own process group; its standard error goes to the log.

    Args:
        command: the program and its arguments.

    Raises:
        WorkerStartError: there is no such program.
    """

    def __init__(self, command: Sequence[str]) -> None:
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                bufsize=0,
            )
        except (OSError, ValueError) as error:
            raise WorkerStartError(f"cannot run {command[0]!r}: {error}") from error
        assert self._process.stdin
        assert self._process.stdout
        assert self._process.stderr
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._out, selectors.EVENT_READ)
        self._unsent, self._unread = bytearray(), bytearray()
        self._lines: deque[bytearray] = deque()
        self._last_words: deque[str] = deque(maxlen=_LAST_WORDS)
        self._listener = threading.Thread(
            target=_pass_on, args=(self._process.stderr, command[0], self._last_words), daemon=True
        )
        self._listener.start()
        self._end = weakref.finalize(self, _end_at_home, os.getpid(), self._process, self._selector)

    def exchange(self, request: bytes, seconds: float, limit: int) -> Iterator[bytearray]:
        """Write a request, and give the lines that come until nobody asks for more.

        Args:
            request: bytes.
            seconds: until the last of them.
            limit: bytes of the longest line.

        Raises:
            DeadWorkerError: the program ended, or wrote a longer line and was killed for it.
            WorkerTimeoutError: the seconds are over.
        """
        deadline = time.monotonic() + seconds
        self._unsent += request
        self._write()
        while True:
            while self._lines:
                yield self._lines.popleft()
            if len(self._unread) > limit:
                raise DeadWorkerError(f"wrote a line of more than {limit:,} bytes and was killed")
            if (left := deadline - time.monotonic()) <= 0:
                raise WorkerTimeoutError(f"did not answer within {seconds:g} s and was killed")
            for key, _ in self._selector.select(left):
                if key.fd == self._in:
                    self._write()
                else:
                    self._read()

    def unasked(self) -> Iterable[bytearray]:
        """The lines that stand there already, before anything was asked."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(_READS_BEFORE_ASKING):
                self._read()
        lines, self._lines = self._lines, deque()
        return lines

    def kill(self) -> None:
        """Kill the program, whoever waits for it; that one still has to ``stop``."""
        if self._process.returncode is None:
            kill_group(self._process)

    def stop(self, patience: float = 0.0) -> None:
        """End the program and its process group; leave no zombie.

        Args:
            patience: seconds that it is given to end by itself, as its standard input has ended.
        """
        if self._end.detach() is not None:
            _end(self._process, self._selector, patience)

    def forget(self) -> None:
        """In a fork: close our copies of the pipes; the program is the parent's to end."""
        self._end.detach()
        self._process.returncode = 0  # it is no child of this process, which must not wait for it
        self._selector.close()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe
            pipe.close()

    def _read(self) -> None:
        data = os.read(self._out, _BLOCK)
        if not data:
            raise DeadWorkerError(self._obituary())
        self._unread += data
        if b"\n" in data:
            *lines, self._unread = self._unread.split(b"\n")
            self._lines += lines

    def _write(self) -> None:
        """Write as much as the pipe takes; watch for room as long as something is left."""
        try:
            while self._unsent:
                del self._unsent[: os.write(self._in, self._unsent[:_BLOCK])]
        except BlockingIOError:
            pass
        except BrokenPipeError:  # it reads no more, but may have answered
            self._unsent.clear()
        watched = self._in in self._selector.get_map()
        if self._unsent and not watched:
            self._selector.register(self._in, selectors.EVENT_WRITE)
        elif watched and not self._unsent:
            self._selector.unregister(self._in)

    def _obituary(self) -> str:
        self.stop(patience=1.0)
        self._listener.join(timeout=1.0)
        said = "".join(f"\n    {line}" for line in self._last_words)
        words = f"; its last words on standard error:{said}" if said else ""
        return f"ended with exit code {self._process.returncode}{words}"


def _end_at_home(
    home: int, process: subprocess.Popen[bytes], selector: selectors.BaseSelector
) -> None:
    """End the program from the process that started it; a fork of that one leaves it alone."""
    if os.getpid() == home:
        _end(process, selector)


def _end(
    process: subprocess.Popen[bytes], selector: selectors.BaseSelector, patience: float = 0.0
) -> None:
    selector.close()
    assert process.stdin
    assert process.stdout
    process.stdin.close()
    if patience:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    kill_group(process)
    process.wait()
    process.stdout.close()


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that was started in a session of its own, and what else is in its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # all of it has ended
        os.killpg(process.pid, signal.SIGKILL)


def _pass_on(stderr: IO[bytes], name: str, last_words: deque[str]) -> None:
    """Read standard error to its end, in blocks; progress bars end lines with carriage returns."""
    with stderr:
        unread = b""
        while data := os.read(stderr.fileno(), _BLOCK):
            *lines, unread = (unread + data).replace(b"\r", b"\n").split(b"\n")
            if len(unread) > _BLOCK:
                lines, unread = [*lines, unread], b""
            _say(lines, name, last_words)
        _say([unread], name, last_words)


def _say(lines: Iterable[bytes], name: str, last_words: deque[str]) -> None:
    for line in lines:
        if text := line.decode(errors="replace").rstrip():
            last_words.append(text[:_LONGEST_WORD])
            log.info("%s: %s", name, text)
