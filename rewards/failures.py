"""Failures of an objective: raised or skipped, how many there are, and what the first of them was.

With ``"raise"`` a failure is an ``ObjectiveError``. With ``"skip"`` it is noted; the first one is
told in a warning, since a scorer that is broken looks like sequences that are bad.
"""

from __future__ import annotations

import warnings
from collections import deque
from typing import TYPE_CHECKING, Any, Literal, get_args

from .checks import check_choice, check_share

if TYPE_CHECKING:
    from .base import Reward

WINDOW = 256  # sequences
MEND = "mend the objective, or let it return None for what it cannot score"

OnError = Literal["raise", "skip"]


class ObjectiveError(RuntimeError):
    """An objective raised, or returned something that is no score; the message names both."""


class Failures:
    """Counts failures over the last calls that together hold at least 256 sequences.

    Calls count with every sequence in them, those that a memo answered too: an objective that knows
    nearly everything and fails on what is left does not fail often.

    Args:
        max_share: of these sequences; 1 is never exceeded.
        on_error: ``"raise"`` or ``"skip"``.

    Attributes:
        first: the first failure, text and reason; empty when there was none.
    """

    def __init__(self, max_share: float, on_error: OnError = "raise") -> None:
        check_share(max_failed_share=max_share)
        check_choice(get_args(OnError), on_error=on_error)
        self.max_share, self.on_error = max_share, on_error
        self._told = False
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self._calls: deque[tuple[int, int]] = deque()
        self._sequences = self._failed = 0
        self.first = ""

    def meet(
        self,
        name: str,
        text: str,
        why: str,
        remedy: str = MEND,
        cause: BaseException | None = None,
        *,
        where: str | None = None,
    ) -> None:
        """Raise, or skip and tell of the first that is skipped.

        Args:
            name: of the objective.
            text: the sequence that could not be scored.
            why: goes on after the objective's name.
            remedy: the end of the message.
            cause: what was raised, if anything was.
            where: ``"for 'CCO'"``; the text by default.
        """
        said = f"objective {name!r} {why} {where or f'for {short(text)}'}"
        if self.on_error == "raise":
            raise ObjectiveError(f"{said}; {remedy}") from cause
        self.note(text, why)
        if not self._told:
            self._told = True
            warnings.warn(
                f"{said}; with on_error='skip' it is left out of the gradient, and so is whatever "
                "fails after it, without another warning",
                stacklevel=2,
            )

    def note(self, text: str, why: str) -> None:
        """What failed and how; the first is remembered."""
        self.first = self.first or f"{short(text)}, it {why}"

    def count(self, sequences: int, failed: int) -> None:
        """Take a call into account."""
        self._calls.append((sequences, failed))
        self._sequences += sequences
        self._failed += failed
        while self._sequences - self._calls[0][0] >= WINDOW:
            old_sequences, old_failed = self._calls.popleft()
            self._sequences -= old_sequences
            self._failed -= old_failed

    def ensure_few(self, name: str) -> None:
        """Raise an ``ObjectiveError`` when the share is exceeded; once, so that one can go on."""
        if self._sequences < WINDOW or self._failed <= self.max_share * self._sequences:
            return
        said = (
            f"objective {name!r} failed on {self._failed} of the last {self._sequences} sequences, "
            f"more than max_failed_share={self.max_share:g}; the first was "
            f"{self.first or 'not noted'}; mend the objective, or set max_failed_share"
        )
        self.forget()
        raise ObjectiveError(said)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"calls": [list(call) for call in self._calls], "first": self.first}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of ``state``."""
        self.forget()
        self.first = str(state["first"])
        for sequences, failed in state["calls"]:
            self.count(int(sequences), int(failed))


def first_failures(reward: Reward) -> dict[str, str]:
    """Of each component that has failed on anything, by its name, what the first failure was."""
    found = {name: each.first_failure for name, each in reward.named().items()}
    return {name: first for name, first in found.items() if first}


def short(text: str) -> str:
    """A text as it is shown in messages."""
    return repr(text if len(text) <= 80 else text[:77] + "...")
