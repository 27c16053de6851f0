"""Where an objective's batch is scored: in somebody's executor, or in worker processes of ours.

Texts go out in chunks and their scores come back in order. Whatever an objective raises is handed
back as a value, so that an executor's own exception means one thing: a worker is gone. The chunk is
then sent once more, alone, and to a pool made anew where we were told how to make one.
"""

from __future__ import annotations

import importlib
import itertools
import pickle
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from functools import cached_property, lru_cache

from .checks import check_seconds, check_whole
from .crew import (
    Answer,
    Arrived,
    Crew,
    DeadWorkerError,
    Pending,
    Scorer,
    WorkerStartError,
    gather,
)
from .forking import forget_in_forks
from .processes import Outcome, ProcessWorker, Raised, run, settle

_LEFT_TO_PARENTS: list[Executor] = []  # in a fork, where their end would disturb the parent's
CHUNKS = 64  # of one batch in an executor, whose workers we cannot count

# Executors, how to make one (then it can be made again), or a number of processes of our own.
Where = Executor | Callable[[], Executor] | int


def check_where(where: Where | None, timeout: float | None) -> None:
    """Refuse what cannot be meant.

    Raises:
        ValueError: no process, no time, or a time-out where nobody can be killed.
        TypeError: no executor.
    """
    if isinstance(where, int):
        check_whole(1, executor=where)
    if not (where is None or isinstance(where, int | Executor) or callable(where)):
        raise TypeError(
            f"executor is {where!r}; expected a concurrent.futures.Executor, a function that makes "
            "one, or a number of worker processes"
        )
    if timeout is not None:
        check_seconds(timeout=timeout)
    if timeout is not None and not (where is None or isinstance(where, int)):
        raise ValueError(
            "a hanging sequence is ended by killing its process, and those of another executor are "
            "not ours to kill; with timeout= give executor= a number of processes, or nothing"
        )


class Remote:
    """Scores batches elsewhere.

    Args:
        scorer: list of texts -> their scores; what travels.
        where: see ``Where``; None is one process of our own.
        timeout: seconds a sequence, in processes of our own.
    """

    def __init__(self, scorer: Scorer, where: Where | None, timeout: float | None) -> None:
        self._backend: Crew | InExecutor
        if where is None or isinstance(where, int):
            pickled = _pickled(scorer)
            self._backend = Crew([ProcessWorker(pickled, timeout) for _ in range(where or 1)])
        else:
            self._backend = InExecutor(scorer, where)

    def score(
        self, texts: list[str], *, isolate: bool, arrived: Arrived | None = None
    ) -> list[Answer]:
        """The answers to texts; see ``gather`` for ``isolate`` and ``arrived``."""
        return self._backend.score(texts, isolate=isolate, arrived=arrived)

    def close(self) -> None:
        """End what is ours."""
        self._backend.stop()


class InExecutor:
    """Scores batches in a ``concurrent.futures.Executor``."""

    def __init__(self, scorer: Scorer, where: Executor | Callable[[], Executor]) -> None:
        self._scorer = scorer
        self._make = None if isinstance(where, Executor) else where
        self._executor = where if isinstance(where, Executor) else None
        self._tickets = itertools.count()
        forget_in_forks(self)

    def score(
        self, texts: list[str], *, isolate: bool, arrived: Arrived | None = None
    ) -> list[Answer]:
        """The answers to texts; see ``gather`` for ``isolate`` and ``arrived``."""
        return gather(self._submit, texts, CHUNKS, isolate=isolate, arrived=arrived)

    def stop(self) -> None:
        """Shut the executor down, where it was made here."""
        if self._make is not None and self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None

    def forget(self) -> None:
        """In a fork: leave the executor to the parent."""
        if self._executor is not None:
            _LEFT_TO_PARENTS.append(self._executor)
            self._executor = None

    def send(self, texts: list[str]) -> Future[Outcome]:
        """Hand a chunk to the executor, to one made anew where the last is broken."""
        if self._executor is None:
            if self._make is None:
                raise WorkerStartError(
                    "its executor has worked before this process was forked, and has neither its "
                    "threads nor its processes here; let executor= be a function that makes one"
                )
            self._executor = self._make()
        shared = isinstance(self._executor, ThreadPoolExecutor)
        scorer = self._scorer if shared else self._packed
        try:
            # Dask takes calls with equal arguments for one call, hence the ticket.
            return self._executor.submit(_run, scorer, texts, next(self._tickets))
        except BrokenExecutor:
            if self._make is None:
                raise
            self.stop()
            return self.send(texts)

    @cached_property
    def _packed(self) -> Scorer | bytes:
        """A pickle, so that what goes wrong with it in the worker can be told from a dead worker.

        Or the scorer itself: Dask, for one, takes more with it than a pickle can.
        """
        try:
            return _pickled(self._scorer)
        except WorkerStartError:
            return self._scorer

    def _submit(self, texts: list[str]) -> Pending:
        return _Sent(self, texts)


class _Sent:
    """A chunk on its way: sent once more, alone, where its worker is gone."""

    def __init__(self, executor: InExecutor, texts: list[str]) -> None:
        self._executor = executor
        self._texts = texts
        self._future = executor.send(texts)

    def result(self) -> Sequence[Answer]:
        try:
            outcome = self._future.result()
        except Exception:
            outcome = self._again()
        return settle(outcome)

    def cancel(self) -> bool:
        return self._future.cancel()

    def done(self) -> bool:
        future = self._future
        return future.done() and not future.cancelled() and future.exception() is None

    def _again(self) -> Outcome:
        try:
            return self._executor.send(self._texts).result()
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise WorkerStartError(f"the objective cannot travel to a worker: {error}") from error
        except Exception as error:
            raise DeadWorkerError(
                f"the executor failed twice over {len(self._texts)} sequences "
                f"({type(error).__name__}: {error}); a broken pool is made anew where executor= is "
                "a function that makes it"
            ) from error


def _run(scorer: Scorer | bytes, texts: list[str], ticket: int) -> Outcome:
    """What happens in the worker; the ticket only makes each call another one."""
    try:
        unpacked = _unpickled(scorer) if isinstance(scorer, bytes) else scorer
    except Exception as error:
        told = f"the objective cannot be loaded in a worker: {type(error).__name__}: {error}"
        return Raised(WorkerStartError(told), None)
    return run(unpacked, texts)


@lru_cache(maxsize=16)
def _unpickled(pickled: bytes) -> Scorer:
    scorer: Scorer = pickle.loads(pickled)
    return scorer


def _pickled(scorer: Scorer) -> bytes:
    try:
        return pickle.dumps(scorer)
    except Exception as error:
        raise WorkerStartError(
            f"the objective cannot travel to a worker process ({type(error).__name__}: {error}); "
            "define it at the top level of a module"
        ) from error


def reference_to(found: object, function: object) -> tuple[str, str] | None:
    """Module and attribute under which ``found``, made of ``function``, can be imported.

    None where there are none: the name means something else, or is local to a function.
    """
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", "")
    at: object = sys.modules.get(str(module))
    for part in name.split("."):
        at = getattr(at, part, None)
    return (str(module), name) if at is found else None


def import_reference(module: str, name: str) -> object:
    """What a reference means in this process.

    Raises:
        AttributeError: there is no such thing here.
    """
    found: object = importlib.import_module(module)
    for part in name.split("."):
        if not hasattr(found, part):
            raise AttributeError(
                f"there is no {name!r} in {module!r} in this process; an objective that travels to "
                "another machine belongs into a module of its own, not into the script that is run"
            )
        found = getattr(found, part)
    return found
