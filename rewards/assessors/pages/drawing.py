"""How a sample is drawn on the page."""

from __future__ import annotations

from typing import TypedDict

from ..ratings import Domain


class Note(TypedDict):
    """A note of a melody: MIDI pitch, start and duration in whole notes."""

    pitch: int
    start: float
    duration: float


class Drawn(TypedDict):
    """A sample for the page: as text, and as a picture or as notes where it has them."""

    text: str
    svg: str | None
    notes: list[Note] | None


def drawn(text: str, domain: Domain) -> Drawn:
    """A sample for the page, whatever is in the text."""
    return {"text": text, "svg": None, "notes": None}
