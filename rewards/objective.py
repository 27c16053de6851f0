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
from typing import TYPE_CHECKING, Any, Literal, cast, overload

import torch

from .base import Credit, Reward, Scores
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
    """

    def __init__(
        self,
        *,
        canonical: Callable[[str], str | None] | None = None,
        memo: bool = True,
        on_error: Literal["raise", "skip"] = "raise",
    ) -> None:
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error is {on_error!r}; expected 'raise' or 'skip'")
        self.canonical = canonical
        self.memo = Memo() if memo else None
        self.on_error = on_error

    @abstractmethod
    def score(self, texts: list[str]) -> Sequence[float | None]:
        """One score a text, in their order; None where it cannot be scored."""

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
            scores = list(self.score(list(texts)))
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

    def _checked_score(self, text: str, score: object) -> float | None:
        if score is None:
            return None
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
    ) -> None:
        super().__init__(canonical=canonical, memo=memo, on_error=on_error)
        self.function = function
        self.per_sequence = per_sequence
        self.name = name or str(getattr(function, "__name__", type(function).__name__))
        self.range = range
        self.credit = credit
        self.__doc__ = function.__doc__

    def score(self, texts: list[str]) -> Sequence[float | None]:
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
        )

    return decorate if function is None else decorate(function)


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
