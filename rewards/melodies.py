"""Objectives over melodies written as events, and what an event is.

A melody is a text of events with spaces between: ``C5:1/8`` is the C above middle C (which is C4)
for an eighth of a whole note, ``F#4:3/8`` an F sharp, ``r:1/4`` a rest. There are the twelve names
with sharps, no flats, so that what sounds alike is spelt alike.

The definitions are ORGAN's (Guimaraes et al., 2017, arXiv 1705.10843, section 4.2), on a scale that
stays the same from batch to batch: its own code rescaled within each batch. An interval reaches
over the rests between two notes. A melody of fewer than two notes, or with a word that is no event,
has the value 0.0.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

from .objective import Objective

PITCHES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_EVENT = re.compile(r"(?:([A-G]#?)(-?[0-9]{1,2})|r):([0-9]{1,5})(?:/([0-9]{1,5}))?")


@lru_cache(maxsize=1 << 14)
def parse_event(word: str) -> tuple[int | None, Fraction] | None:
    """The MIDI pitch (60 is C4; None for a rest) and the part of a whole note; None for no event.

    MIDI pitches run from 0 to 127; what lies outside is no event, as a duration of 0 is none.
    """
    found = _EVENT.fullmatch(word)
    if found is None:
        return None
    name, octave, numerator, denominator = found.groups(default="1")
    if name not in (*PITCHES, "1") or int(numerator) == 0 or int(denominator) == 0:
        return None
    duration = Fraction(int(numerator), int(denominator))
    if found.group(1) is None:
        return None, duration
    pitch = PITCHES.index(name) + 12 * (int(octave) + 1)
    return (pitch, duration) if 0 <= pitch <= 127 else None


@lru_cache(maxsize=1 << 14)
def spell_event(pitch: int | None, duration: Fraction) -> str:
    """The inverse of ``parse_event``."""
    name = "r" if pitch is None else f"{PITCHES[pitch % 12]}{pitch // 12 - 1}"
    return f"{name}:{duration}"


def intervals(text: str) -> list[int]:
    """The steps from note to note, in semitones, rests skipped; none where a word is no event."""
    events = [parse_event(word) for word in text.split()]
    if None in events:
        return []
    pitches = [event[0] for event in events if event is not None and event[0] is not None]
    return [after - before for before, after in pairwise(pitches)]


def canonical_melody(text: str) -> str | None:
    """The melody transposed so that its lowest note is MIDI pitch 0, C-1; None for what is none.

    Two melodies have the same one when one is the other's transposition; rests and durations count.
    """
    events = [parse_event(word) for word in text.split()]
    notes = [event for event in events if event is not None]
    lowest = min((pitch for pitch, _ in notes if pitch is not None), default=None)
    if lowest is None or len(notes) < len(events):
        return None
    moved = ((None if pitch is None else pitch - lowest, length) for pitch, length in notes)
    return " ".join(spell_event(pitch, length) for pitch, length in moved)


class _ShareOfIntervals(Objective):
    range = (0.0, 1.0)

    @abstractmethod
    def counts(self, interval: int) -> bool:
        """Is it an interval that is looked for?"""

    def score(self, texts: list[str]) -> Sequence[float | None]:
        """The share of a melody's intervals that count, one value a text."""
        return [self._share(intervals(text)) for text in texts]

    def _share(self, steps: list[int]) -> float:
        return sum(map(self.counts, steps)) / len(steps) if steps else 0.0


class Tonality(_ShareOfIntervals):
    """ORGAN's tonality: the share of perfect fifths, up or down, among consecutive intervals."""

    name = "tonality"

    def counts(self, interval: int) -> bool:
        """Seven semitones."""
        return abs(interval) == 7


class RatioOfSteps(_ShareOfIntervals):
    """ORGAN's ratio of steps: the share of steps of the scale, of one or two semitones."""

    name = "ratio_of_steps"

    def counts(self, interval: int) -> bool:
        """One or two semitones."""
        return abs(interval) in (1, 2)
