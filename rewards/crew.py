"""Who scores a batch beside us: chunks go out, answers come back in order, nothing is lost.

A batch is cut into chunks, each is handed out, and the answers are gathered in the order of the
texts. Where one sequence breaks a chunk, the others of that chunk are scored all the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Protocol, TypeVar

from .forking import forget_in_forks

CHUNKS_A_WORKER = 4  # so that a worker with quick sequences takes over from one with slow ones


@dataclass(frozen=True)
class Failure:
    """Stands in the place of a score that could not be had.

    Args:
        why: goes on after the objective's name, ``"took longer than 2 s"``.
        error: what was raised, if anything was.
    """

    why: str
    error: BaseException | None = None


Answer = float | Failure | None
Given = TypeVar("Given")
Got = TypeVar("Got")
Scorer = Callable[[list[str]], Sequence[Answer]]


class SequenceError(Exception):
    """A scorer raised over these texts, one or a part of a batch; its cause is the exception.

    Attributes:
        known: what other texts of the batch were answered with.
    """

    def __init__(self, *texts: str, known: Mapping[str, Answer] | None = None) -> None:
        super().__init__(*texts)
        self.texts = texts
        self.known = dict(known or {})


class WorkerError(RuntimeError):
    """A worker broke its contract."""


class DeadWorkerError(WorkerError):
    """A worker ended before it answered."""


class WorkerTimeoutError(WorkerError):
    """A worker did not answer in time."""


class WorkerStartError(WorkerError):
    """A worker does not start; that is no sequence's fault, so it is never skipped."""


def one_by_one(score: Callable[[str], float | None], texts: list[str]) -> list[float | None]:
    """The score of each text.

    Raises:
        SequenceError: over the first that raises, with the scores of those before it.
    """
    known: list[float | None] = []
    for text in texts:
        try:
            known.append(score(text))
        except Exception as error:
            raise SequenceError(text, known=dict(zip(texts, known, strict=False))) from error
    return known


def called(function: Callable[[Given], Got], given: Given) -> Got:
    """What a user's function returns; that it calls ``sys.exit`` is its failure, not our end."""
    try:
        return function(given)
    except SystemExit as error:
        raise RuntimeError(f"it called sys.exit({error.code!r})") from error


def failure_of(error: BaseException) -> Failure:
    """What stands in the place of a score where this was raised."""
    if isinstance(error, SequenceError) and error.__cause__ is not None:
        error = error.__cause__
    return Failure(f"raised {type(error).__name__}: {error}", error)


class Pending(Protocol):
    """Answers that are being worked on; a ``Future`` is one."""

    def result(self) -> Sequence[Answer]:
        """Wait for them."""
        ...

    def cancel(self) -> bool:
        """Work on them no more, if nobody does yet."""
        ...

    def done(self) -> bool:
        """Whether nobody has to wait for them."""
        ...


Submit = Callable[[list[str]], Pending]
Arrived = Callable[[Mapping[str, Answer]], None]


def gather(
    submit: Submit,
    texts: list[str],
    chunks: int,
    *,
    isolate: bool,
    arrived: Arrived | None = None,
) -> list[Answer]:
    """The answers to texts, which go out in at most so many chunks.

    Args:
        submit: hands out a chunk.
        texts: to score.
        chunks: the most that they are cut into.
        isolate: score the texts of a chunk that raised one by one, and put a ``Failure`` where it
            is one text that raises.
        arrived: takes the answers of each chunk as they come.

    Raises:
        SequenceError: without ``isolate``, over the first chunk that raised.
        WorkerStartError: a worker does not start.
    """
    size = max(1, math.ceil(len(texts) / chunks))
    parts = [texts[start : start + size] for start in range(0, len(texts), size)]
    answers: list[Answer] = []
    pending = [submit(part) for part in parts]
    try:
        for part, waiting in zip(parts, pending, strict=True):
            fresh = _settled(submit, part, waiting, isolate)
            answers += fresh
            if arrived is not None:
                arrived(dict(zip(part, fresh, strict=True)))
        return answers
    except BaseException as error:
        for waiting in pending:
            waiting.cancel()
        if isinstance(error, SequenceError):
            error.known |= dict(zip(texts, answers, strict=False))
            for part, waiting in zip(parts, pending, strict=True):
                error.known |= _finished(part, waiting)
        raise


def _finished(texts: list[str], waiting: Pending) -> dict[str, Answer]:
    """The answers of a chunk that nobody has to wait for."""
    try:
        return dict(zip(texts, waiting.result(), strict=True)) if waiting.done() else {}
    except SequenceError as error:
        return error.known
    except Exception:
        return {}


def _settled(submit: Submit, texts: list[str], waiting: Pending, isolate: bool) -> list[Answer]:
    try:
        answers = list(waiting.result())
        if len(answers) != len(texts):
            raise WorkerError(f"returned {len(answers)} scores for {len(texts)} sequences")
        return answers
    except WorkerStartError:
        raise
    except Exception as error:
        if not isolate and isinstance(error, SequenceError):
            raise
        if not isolate:
            raise SequenceError(*texts) from error
        if len(texts) == 1:
            return [failure_of(error)]
    return [_settled(submit, [text], submit([text]), isolate)[0] for text in texts]


class Worker(Protocol):
    """Scores one chunk at a time, and starts itself where it does not run."""

    def score(self, texts: list[str]) -> Sequence[Answer]:
        """One answer a text, in their order."""
        ...

    def stop(self) -> None:
        """Kill it, whatever it is doing."""
        ...

    def forget(self) -> None:
        """In a fork: leave what runs to the process that started it."""
        ...


class Crew:
    """Several workers that share a batch: whichever is idle takes the next chunk."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = workers
        self._gather_round()
        forget_in_forks(self)

    def __reduce__(self) -> tuple[type[Crew], tuple[Sequence[Worker]]]:
        return type(self), (self._workers,)

    def score(
        self, texts: list[str], *, isolate: bool, arrived: Arrived | None = None
    ) -> list[Answer]:
        """The answers to texts; see ``gather`` for ``isolate`` and ``arrived``."""
        chunks = len(self._workers) * CHUNKS_A_WORKER if self._threads else 1
        try:
            return gather(self._submit, texts, chunks, isolate=isolate, arrived=arrived)
        except Exception:
            raise
        except BaseException:  # Ctrl-C: nobody is going to read what they are working on
            self.stop()
            raise

    def stop(self) -> None:
        """Kill every worker; the next batch starts them again."""
        for worker in self._workers:
            worker.stop()

    def forget(self) -> None:
        """In a fork: workers and threads of its own, whatever those of the parent were doing."""
        for worker in self._workers:
            worker.forget()
        self._gather_round()

    def _gather_round(self) -> None:
        """Every worker is idle, and a thread waits for each where there are several."""
        self._idle: SimpleQueue[Worker] = SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        several = len(self._workers) > 1
        self._threads = ThreadPoolExecutor(len(self._workers)) if several else None

    def _submit(self, texts: list[str]) -> Pending:
        if self._threads is not None:
            return self._threads.submit(self._score, texts)
        done: Future[Sequence[Answer]] = Future()
        try:
            done.set_result(self._score(texts))
        except Exception as error:
            done.set_exception(error)
        return done

    def _score(self, texts: list[str]) -> Sequence[Answer]:
        worker = self._idle.get()
        try:
            return worker.score(texts)
        finally:
            self._idle.put(worker)
