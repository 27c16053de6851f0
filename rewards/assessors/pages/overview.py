"""The figures of the overview, for whoever runs an assessment."""

from __future__ import annotations

from ..store import Store


def overview(store: Store, question: int) -> dict[str, object]:
    """What ``GET /api/overview`` sends, as JSON can hold it."""
    return {"ratings": len(store.ratings(question)), "waiting": store.waiting(question)}
