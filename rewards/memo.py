"""A memo of scores by canonical form: what was scored once is not scored again."""

from __future__ import annotations

from collections.abc import Sequence


class Memo:
    """Scores kept in memory by key; failures are not kept, so they are tried again.

    Attributes:
        calls: how many sequences were asked for.
        hits: how many of them were known, or stood twice in the batch.
    """

    def __init__(self) -> None:
        self._values: dict[str, float] = {}
        self.calls = 0
        self.hits = 0

    def __len__(self) -> int:
        return len(self._values)

    def unknown(self, keys: Sequence[str]) -> dict[str, int]:
        """The keys that have no score yet, each with its first place in the batch."""
        first: dict[str, int] = {}
        for place, key in enumerate(keys):
            if key not in self._values:
                first.setdefault(key, place)
        self.calls += len(keys)
        self.hits += len(keys) - len(first)
        return first

    def get(self, key: str) -> float | None:
        """The score of a key, None when it is not known."""
        return self._values.get(key)

    def put(self, key: str, value: float) -> None:
        """Keep a score."""
        self._values[key] = value
