"""Asking a scorer that anybody may have written: what it returns is checked, what fails is named.

None is how a scorer says that it could not score a sequence; an exception, ``sys.exit``, NaN,
infinity, a wrong type or a wrong number of scores is an error that names the objective and the
first sequence concerned. Where a batch fails as a whole, its texts are asked for one by one, in
their order: with ``on_error="raise"`` up to the first that fails alone, with ``"skip"`` all.
"""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from .base import Reward
from .crew import Answer, Arrived, Failure, SequenceError, WorkerStartError, called
from .executing import Remote, Where, check_where
from .failures import MEND, Failures, ObjectiveError, OnError, short
from .memo import MemoError
from .returned import LARGEST, as_list, as_number

Keep = Callable[[Mapping[str, float]], None]


class BlackBox(Reward):
    """A scorer of texts; subclasses define ``score``.

    Args:
        on_error: ``"raise"`` an ``ObjectiveError``, or ``"skip"``: the sequence is not ok.
        max_failed_share: a run stops when more than this share of the last sequences failed.
        executor: where to score, if not here; see ``Objective``.
        timeout: seconds that one sequence may take.
    """

    def __init__(
        self,
        on_error: OnError,
        max_failed_share: float,
        executor: Where | None,
        timeout: float | None,
    ) -> None:
        self._failures = Failures(max_failed_share, on_error)
        check_where(executor, timeout)
        self._where, self._timeout = executor, timeout

    @abstractmethod
    def score(self, texts: list[str]) -> Sequence[Answer]:
        """One score a text, in their order; None, or a Failure, where it cannot be scored."""

    @property
    def on_error(self) -> OnError:
        """``"raise"`` or ``"skip"``."""
        return self._failures.on_error

    @property
    def first_failure(self) -> str:
        """What failed first, and why; empty when nothing has."""
        return self._failures.first

    @property
    def asks_again(self) -> bool:
        """Whether an error may cost more calls, to find out which sequence of a batch it is."""
        return True

    def score_anew(self, texts: list[str], keep: Keep | None = None) -> list[float | None]:
        """What the objective says of texts, each a finite number or None; past memo and budget.

        Args:
            texts: to score.
            keep: takes scores by text as they come, each once, those of a batch that fails too.

        Raises:
            ObjectiveError: with ``on_error="raise"``, when the objective breaks its contract.
        """
        if not texts:
            return []
        known = _Known(keep)
        try:
            scores = self._ask(list(texts), known.meanwhile)
        except WorkerStartError as error:
            raise ObjectiveError(f"objective {self.name!r}: {error}") from error
        except SequenceError as error:
            known.add(error.known)
            what = f"raised {named(error.__cause__)}"
            return self._failed(known, texts, what, cause=error.__cause__, concerned=error.texts)
        except Exception as error:
            return self._failed(known, texts, f"raised {named(error)}", cause=error)
        if isinstance(scores, str):
            return self._failed(known, texts, scores, "return a list with one score for each")
        if len(scores) != len(texts):
            what = f"returned {len(scores)} scores for {len(texts)} sequences"
            return self._failed(known, texts, what, "return one score for each, in their order")
        known.add(dict(zip(texts, scores, strict=True)))
        return [
            # Most are: so the rest of the check costs them nothing.
            score if type(score) is float and abs(score) <= LARGEST else self._number(text, score)
            for text, score in zip(texts, scores, strict=True)
        ]

    def _ask(self, texts: list[str], arrived: Arrived) -> list[object] | str:
        """Call the objective, wherever that is; what it returned as a list, or what is wrong."""
        if self._where is None and self._timeout is None:
            return called(lambda asked: as_list(self.score(asked)), texts)
        return [*self._remote.score(texts, isolate=self.on_error == "skip", arrived=arrived)]

    def _number(self, text: str, score: object) -> float | None:
        if isinstance(score, Failure):
            self._failures.meet(self.name, text, score.why, cause=score.error)
            return None
        value = None if score is None else as_number(score)
        if value is not None:
            return value
        why = f"returned {score!r} ({type(score).__name__})"
        if score is None:
            self._failures.note(text, why)
        else:
            self._failures.meet(self.name, text, why, _NUMBER)
        return None

    def _failed(
        self,
        known: _Known,
        texts: list[str],
        what: str,
        remedy: str = MEND,
        cause: BaseException | None = None,
        concerned: Sequence[str] = (),
    ) -> list[float | None]:
        """Nothing came of a batch: find out which text it was, one of ``concerned`` if known."""
        if len(texts) == 1 or (len(concerned) == 1 and self.on_error == "raise"):
            self._failures.meet(self.name, [*concerned, *texts][0], what, remedy, cause)
            return [None]
        if self.on_error == "skip":
            return [self.score_anew([text], known.keep)[0] for text in texts]
        alone = ""
        if self.asks_again:
            for text in concerned or texts:
                self.score_anew([text], known.keep)  # raises over the first that fails
            alone = ", each of which alone was scored"
        where = f"the batch of {len(texts)}{alone}, begins with {short(texts[0])}"
        raise ObjectiveError(f"objective {self.name!r} {what}; {where}; {remedy}") from cause

    @cached_property
    def _remote(self) -> Remote:
        return Remote(self.score, self._where, self._timeout)

    def close(self) -> None:
        """End the worker processes; the next batch would start them again."""
        if remote := self.__dict__.pop("_remote", None):
            remote.close()

    def ensure_usable(self) -> None:
        """As for any reward."""
        self._failures.ensure_few(self.name)


class _Known:
    """Scores that are handed on as they come, each once."""

    def __init__(self, keep: Keep | None) -> None:
        self.keep = keep
        self._kept: set[str] = set()

    def add(self, answers: Mapping[str, object]) -> None:
        """Hand on those that are scores and new."""
        if self.keep is None:
            return
        numbers = {
            text: score if type(score) is float and abs(score) <= LARGEST else as_number(score)
            for text, score in answers.items()
            if score is not None and text not in self._kept
        }
        if scores := {text: number for text, number in numbers.items() if number is not None}:
            self.keep(scores)
            self._kept.update(scores)

    def meanwhile(self, answers: Mapping[str, object]) -> None:
        """The same while others are being scored, where a memo's error is not the objective's."""
        with contextlib.suppress(MemoError):  # those are handed on again in the end
            self.add(answers)


_NUMBER = "expected a finite number within the range of float32, or None for what it cannot score"


def named(error: BaseException | None) -> str:
    """Type and message of an exception."""
    return f"{type(error).__name__}: {error}"
