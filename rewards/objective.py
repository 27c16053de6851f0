"""Black-box objectives: any function of texts that nobody can differentiate.

    @tokengym.objective                        # a batch: list[str] -> list[float | None]
    def halogens(texts):
        return [text.count("Cl") + text.count("F") for text in texts]

    @tokengym.objective(per_sequence=True)     # one: str -> float | None
    def short(text):
        return 1.0 / (1 + len(text))

Order of scoring: decode, canonical form, memo, unique only, objective. None is how a scorer says
that it could not score a sequence; an exception, NaN, infinity, a wrong type or a wrong number of
scores is an error that names the objective and the first sequence concerned.
"""

# Shapes: B sequences
from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, cast, overload

import torch

from .base import Credit, Reward, Scores
from .crew import Answer, Failure, WorkerStartError
from .executing import Remote, Where, check_where, import_reference, reference_to
from .memo import Memo

if TYPE_CHECKING:
    from ..envs.sequences import Sequences

BatchFunction = Callable[[list[str]], Sequence[float | None]]
SequenceFunction = Callable[[str], float | None]


class ObjectiveError(RuntimeError):
    """An objective raised, or returned something that is no score; the message names both."""


class Objective(Reward):
    """A black box over texts, scored through a memo; subclasses define ``score``.

    Args:
        canonical: text -> canonical form, or None when it has none. Texts with one canonical form
            share one score. Without it, equal texts do.
        memo: keep scores; switch it off when the same text may score differently.
        on_error: ``"raise"`` an ``ObjectiveError``, or ``"skip"``: the sequence is marked not ok.
        executor: where to score, if not here: a ``concurrent.futures.Executor``, a function that
            makes one (which then is made again when it breaks), or a number of worker processes.
        timeout: seconds that one sequence may take; then the worker process that it hangs in is
            killed, and the sequence is a failure. Needs processes of ours, one by default.
    """

    def __init__(
        self,
        *,
        canonical: Callable[[str], str | None] | None = None,
        memo: bool = True,
        on_error: Literal["raise", "skip"] = "raise",
        executor: Where | None = None,
        timeout: float | None = None,
    ) -> None:
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error is {on_error!r}; expected 'raise' or 'skip'")
        self.canonical = canonical
        self.memo = Memo() if memo else None
        self.on_error = on_error
        check_where(executor, timeout)
        self._where, self._timeout = executor, timeout
        self._remote: Remote | None = None

    @abstractmethod
    def score(self, texts: list[str]) -> Sequence[Answer]:
        """One score a text, in their order; None, or a Failure, where it cannot be scored."""

    def close(self) -> None:
        """End the worker processes; the next batch would start them again."""
        if self._remote is not None:
            self._remote.close()
            self._remote = None

    def __getstate__(self) -> dict[str, object]:
        """What travels to a worker: not the memo, nor the way there."""
        return {**vars(self), "memo": None, "_where": None, "_timeout": None, "_remote": None}

    def __call__(self, sequences: Sequences) -> Scores:
        """Score B sequences by their texts."""
        values = self.score_texts(sequences.texts)
        values_B = torch.tensor(
            [torch.nan if value is None else value for value in values],
            dtype=torch.float32,
            device=sequences.tokens_BT.device,
        )
        return Scores.of(self.name, values_B)

    def score_texts(self, texts: list[str]) -> list[float | None]:
        """Checked scores of texts, each unique canonical form scored once.

        Raises:
            ObjectiveError: with ``on_error="raise"``, when the objective breaks its contract.
        """
        if self.memo is None:
            return self._checked(texts)
        canonical = self.canonical
        keys = texts if canonical is None else [canonical(text) or text for text in texts]
        first = self.memo.unknown(keys)
        fresh: dict[str, float | None] = {}
        if first:
            scores = self._checked([texts[place] for place in first.values()])
            for key, score in zip(first, scores, strict=True):
                fresh[key] = score
                if score is not None:
                    self.memo.put(key, score)
        return [fresh[key] if key in fresh else self.memo.get(key) for key in keys]

    def _checked(self, texts: list[str]) -> list[float | None]:
        try:
            scores = list(self._score_where(list(texts)))
        except WorkerStartError as error:
            raise ObjectiveError(f"objective {self.name!r}: {error}") from error
        except Exception as error:
            return self._failed_batch(
                texts,
                f"raised {type(error).__name__}: {error}",
                "mend the objective, or let it return None for what it cannot score",
                cause=error,
            )
        if len(scores) != len(texts):
            return self._failed_batch(
                texts,
                f"returned {len(scores)} scores for {len(texts)} sequences",
                "return one score for each, in their order",
            )
        return [self._checked_score(t, s) for t, s in zip(texts, scores, strict=True)]

    def _score_where(self, texts: list[str]) -> Sequence[Answer]:
        if self._where is None and self._timeout is None:
            return self.score(texts)
        if self._remote is None:
            self._remote = Remote(self.score, self._where, self._timeout)
        return self._remote.score(texts, isolate=self.on_error == "skip")

    def _checked_score(self, text: str, score: object) -> float | None:
        if score is None:
            return None
        if isinstance(score, Failure) and self.on_error == "raise":
            raise ObjectiveError(
                f"objective {self.name!r} {score.why} for {_short(text)}"
            ) from score.error
        if isinstance(score, Real) or hasattr(score, "__float__"):
            value = float(cast(Real, score))
            if math.isfinite(value):
                return value
        if self.on_error == "skip":
            return None
        raise ObjectiveError(
            f"objective {self.name!r} returned {score!r} ({type(score).__name__}) for "
            f"{_short(text)}; expected a finite number, or None for what it cannot score"
        )

    def _failed_batch(
        self, texts: list[str], what: str, remedy: str, cause: Exception | None = None
    ) -> list[float | None]:
        if self.on_error == "skip" and len(texts) == 1:
            return [None]
        if self.on_error == "skip":  # find out which of them it is
            return [self._checked([text])[0] for text in texts]
        where = f"; the batch of {len(texts)} begins with {_short(texts[0])}" if texts else ""
        raise ObjectiveError(f"objective {self.name!r} {what}{where}; {remedy}") from cause


class FunctionObjective(Objective):
    """An objective made of a function; usually written with the decorator ``objective``."""

    def __init__(
        self,
        function: BatchFunction | SequenceFunction,
        *,
        per_sequence: bool = False,
        name: str | None = None,
        range: tuple[float, float] = (-float("inf"), float("inf")),
        credit: Credit = "terminal",
        canonical: Callable[[str], str | None] | None = None,
        memo: bool = True,
        on_error: Literal["raise", "skip"] = "raise",
        executor: Where | None = None,
        timeout: float | None = None,
    ) -> None:
        super().__init__(
            canonical=canonical, memo=memo, on_error=on_error, executor=executor, timeout=timeout
        )
        self.function = function
        self.per_sequence = per_sequence
        self.name = name or str(getattr(function, "__name__", type(function).__name__))
        self.range = range
        self.credit = credit
        self.__doc__ = function.__doc__

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        """Travel by name where there is one: the function's own name means this object."""
        reference = reference_to(self, self.function)
        return (import_reference, reference) if reference else super().__reduce_ex__(protocol)

    def score(self, texts: list[str]) -> Sequence[Answer]:
        """Call the function, once for the batch or once for each text."""
        if self.per_sequence:
            single = cast(SequenceFunction, self.function)
            return [single(text) for text in texts]
        return cast(BatchFunction, self.function)(texts)


@overload
def objective(function: BatchFunction, /) -> FunctionObjective: ...
@overload
def objective(
    *,
    per_sequence: Literal[False] = False,
    name: str | None = None,
    range: tuple[float, float] = ...,
    credit: Credit = "terminal",
    canonical: Callable[[str], str | None] | None = None,
    memo: bool = True,
    on_error: Literal["raise", "skip"] = "raise",
    executor: Where | None = None,
    timeout: float | None = None,
) -> Callable[[BatchFunction], FunctionObjective]: ...
@overload
def objective(
    *,
    per_sequence: Literal[True],
    name: str | None = None,
    range: tuple[float, float] = ...,
    credit: Credit = "terminal",
    canonical: Callable[[str], str | None] | None = None,
    memo: bool = True,
    on_error: Literal["raise", "skip"] = "raise",
    executor: Where | None = None,
    timeout: float | None = None,
) -> Callable[[SequenceFunction], FunctionObjective]: ...
def objective(
    function: BatchFunction | None = None,
    /,
    *,
    per_sequence: bool = False,
    name: str | None = None,
    range: tuple[float, float] = (-float("inf"), float("inf")),
    credit: Credit = "terminal",
    canonical: Callable[[str], str | None] | None = None,
    memo: bool = True,
    on_error: Literal["raise", "skip"] = "raise",
    executor: Where | None = None,
    timeout: float | None = None,
) -> FunctionObjective | Callable[[Any], FunctionObjective]:
    """Make a reward of a function of texts; see the top of this file.

    Args:
        function: what is decorated; by keyword only, the decorator waits for it.
        per_sequence: the function takes one text, not a list.
        name: in logs and errors; the function's own name by default.
        range: the lowest and the highest score, for whoever reads them.
        credit: ``"rollouts"`` to score every Monte Carlo completion with it (for cheap ones).
        canonical: text -> canonical form; texts with the same one share a score.
        memo: keep scores; False for an objective that may answer differently the second time.
        on_error: ``"raise"``, or ``"skip"`` to leave out what fails.
        executor: where to score, if not here; see ``Objective``.
        timeout: seconds that one sequence may take; see ``Objective``.
    """

    def decorate(function: BatchFunction | SequenceFunction) -> FunctionObjective:
        if not callable(function):
            raise TypeError(f"objective decorates a function, got {function!r}")
        return FunctionObjective(
            function,
            per_sequence=per_sequence,
            name=name,
            range=range,
            credit=credit,
            canonical=canonical,
            memo=memo,
            on_error=on_error,
            executor=executor,
            timeout=timeout,
        )

    return decorate if function is None else decorate(function)


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
