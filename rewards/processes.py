"""Worker processes of our own: persistent, and killed one at a time where a sequence hangs.

``ProcessPoolExecutor`` cannot end a call that hangs, and breaks as a whole when one process dies.
Here each process has a pipe of its own; it is killed and started again without the others noticing.
Processes are spawned, so the objective travels as a pickle, by reference where it has a name.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import pickle
import signal
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import NoReturn, cast

from .crew import (
    Answer,
    DeadWorkerError,
    Failure,
    Scorer,
    WorkerError,
    WorkerStartError,
    WorkerTimeoutError,
    called,
    failure_of,
)
from .returned import as_list

log = logging.getLogger(__name__)

_START_SECONDS = 120.0  # importing torch takes seconds, on a busy machine tens of them


class ProcessWorker:
    """One process that scores for us.

    Args:
        scorer: a pickle of list of texts -> their scores.
        timeout: seconds that one sequence may take; None for any time. With a time-out sequences
            are scored one by one, so that the one that hangs is known and the others are scored.
    """

    def __init__(self, scorer: bytes, timeout: float | None = None) -> None:
        self._scorer = scorer
        self._timeout = timeout
        self._process: SpawnedProcess | None = None
        self._stopped = False

    def score(self, texts: list[str]) -> Sequence[Answer]:
        """The scorer's answers; what the process dies over is sent once more."""
        self._stopped = False
        if self._timeout is None:
            return self._twice(texts)
        return [self._one(text) for text in texts]

    def stop(self) -> None:
        """Kill the process; whoever waits for its answer sees it die."""
        self._stopped = True
        if (process := self._process) is not None:
            process.kill()

    def forget(self) -> None:
        """In a fork: leave the process to the parent; the next batch starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.forget()

    def _one(self, text: str) -> Answer:
        try:
            return self._twice([text])[0]
        except WorkerTimeoutError:
            return Failure(f"took longer than {self._timeout:g} s")
        except WorkerStartError:
            raise
        except Exception as error:
            return failure_of(error)

    def _twice(self, texts: list[str]) -> Sequence[Answer]:
        try:
            return self._ask(texts)
        except DeadWorkerError as error:
            if self._stopped:
                raise
            log.warning("%s; it is started again", error)
            return self._ask(texts)

    def _ask(self, texts: list[str]) -> Sequence[Answer]:
        if self._process is None:
            self._process = SpawnedProcess(self._scorer)
        try:
            answers = self._process.ask(texts, self._timeout)
        except BaseException:
            process, self._process = self._process, None
            process.end()
            raise
        return settle(answers)


class SpawnedProcess:
    """A process that has loaded the scorer.

    Raises:
        WorkerStartError: it could not.
    """

    def __init__(self, scorer: bytes) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, scorer), daemon=True)
        self._end = weakref.finalize(self, _end, os.getpid(), self._process, self._connection)
        try:
            self._process.start()
        except Exception as error:
            self.end()
            raise WorkerStartError(_why_none_starts(error)) from error
        finally:
            theirs.close()
        try:
            ready = self._receive(_START_SECONDS)
        except (DeadWorkerError, WorkerTimeoutError) as error:
            self.end()
            raise WorkerStartError(
                f"{error}, as it started; what it said is on standard error. A script that starts "
                'processes needs: if __name__ == "__main__": main()'
            ) from error
        if isinstance(ready, Raised):
            self.end()
            raise WorkerStartError(f"the objective cannot be loaded in a process: {ready.why}")

    def ask(self, texts: list[str], timeout: float | None) -> Outcome:
        """The answers to texts, or what the scorer raised.

        Raises:
            DeadWorkerError: the process did.
            WorkerTimeoutError: it took longer than ``timeout`` seconds.
        """
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # seen as it is read
            self._connection.send(texts)
        return self._receive(timeout)

    def kill(self) -> None:
        """Kill the process; ``end`` has to follow."""
        if self._process.is_alive():
            _kill_group(self._process)

    def end(self) -> None:
        """Kill the process, leave no zombie."""
        self._end()

    def forget(self) -> None:
        """In a fork: close our copy of the pipe; the process is the parent's to end."""
        self._end.detach()
        self._connection.close()

    def _receive(self, timeout: float | None) -> Outcome:
        try:
            if not self._connection.poll(timeout):
                raise WorkerTimeoutError(f"a worker process took longer than {timeout:g} s")
            answers: Outcome = self._connection.recv()
            return answers
        except (EOFError, OSError) as error:
            self._process.join(timeout=1.0)
            raise DeadWorkerError(
                f"a worker process ended with exit code {self._process.exitcode}"
            ) from error


def _why_none_starts(error: Exception) -> str:
    if multiprocessing.current_process().daemon:
        return (
            "this process is daemonic, as those of AsyncVectorEnv are, and may start no other; "
            "leave out executor= and timeout= where it scores, or start it with daemon=False"
        )
    return f"a worker process cannot be started ({type(error).__name__}: {error})"


@dataclass(frozen=True)
class Raised:
    """An exception that travels: with its cause, and as a string where pickle cannot take it."""

    error: Exception
    cause: Exception | None

    @classmethod
    def of(cls, error: Exception) -> Raised:
        """The exception as it travels."""
        cause = error.__cause__
        return cls(_portable(error), _portable(cause) if isinstance(cause, Exception) else None)

    @property
    def why(self) -> str:
        """Type and message."""
        return f"{type(self.error).__name__}: {self.error}"


Outcome = Sequence[Answer] | Raised


def run(scorer: Scorer, texts: list[str]) -> Outcome:
    """What the scorer answers or raises."""
    try:
        return called(lambda asked: _listed(scorer(asked)), texts)
    except Exception as error:
        return Raised.of(error)


def _listed(scores: object) -> Sequence[Answer]:
    found = as_list(scores)
    if isinstance(found, str):
        raise WorkerError(f"{found}; expected a list with one score for each")
    return cast("list[Answer]", found)


def settle(outcome: Outcome) -> Sequence[Answer]:
    """The answers, or the exception, as if it had been raised here."""
    if isinstance(outcome, Raised):
        raise outcome.error from outcome.cause
    return outcome


def _portable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _serve(connection: Connection, pickled: bytes) -> None:
    """A worker process: load the scorer, say so, then answer until the pipe ends."""
    os.setsid()  # Ctrl-C is the parent's; and what is in this group ends with us
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        scorer: Scorer = pickle.loads(pickled)
    except Exception as error:
        connection.send(Raised.of(error))
        return
    connection.send([])
    with contextlib.suppress(EOFError):
        while True:
            connection.send(run(scorer, connection.recv()))


def _die_with_parent() -> NoReturn:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _end(home: int, process: BaseProcess, connection: Connection) -> None:
    if os.getpid() != home:  # a fork of ours, to which the process does not belong
        return
    connection.close()
    if process.pid is not None:
        _kill_group(process)
        process.join()


def _kill_group(process: BaseProcess) -> None:
    assert process.pid is not None
    process.kill()  # it may not lead a group yet
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
