"""Failures of an objective: which share of the last sequences, and what the first of them was."""

from __future__ import annotations

from collections import deque
from typing import Any

WINDOW = 256  # sequences


class Failures:
    """Counts failures over the last calls that together hold at least 256 sequences.

    Calls count with every sequence in them, those that a memo answered too: an objective that knows
    nearly everything and fails on what is left does not fail often.

    Args:
        max_share: of these sequences; 1 is never exceeded.
    """

    def __init__(self, max_share: float) -> None:
        if not 0 <= max_share <= 1:
            raise ValueError(f"max_failed_share is {max_share}; expected a share from 0 to 1")
        self.max_share = max_share
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self._calls: deque[tuple[int, int]] = deque()
        self._sequences = self._failed = 0
        self._first = ""

    def note(self, text: str, why: str) -> None:
        """What failed and how; the first is remembered."""
        self._first = self._first or f"{short(text)}, it {why}"

    def count(self, sequences: int, failed: int) -> None:
        """Take a call into account."""
        self._calls.append((sequences, failed))
        self._sequences += sequences
        self._failed += failed
        while self._sequences - self._calls[0][0] >= WINDOW:
            old_sequences, old_failed = self._calls.popleft()
            self._sequences -= old_sequences
            self._failed -= old_failed

    def too_many(self) -> str | None:
        """What to say when the share is exceeded."""
        if self._sequences < WINDOW or self._failed <= self.max_share * self._sequences:
            return None
        return (
            f"failed on {self._failed} of the last {self._sequences} sequences, more than "
            f"max_failed_share={self.max_share:g}; the first was {self._first or 'not noted'}"
        )

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"calls": [list(call) for call in self._calls], "first": self._first}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of ``state``."""
        self.forget()
        self._first = str(state["first"])
        for sequences, failed in state["calls"]:
            self.count(int(sequences), int(failed))


def short(text: str) -> str:
    """A text as it is shown in messages."""
    return repr(text if len(text) <= 80 else text[:77] + "...")
