"""Objectives over melodies written as events, and what an event is.

A melody is a text of events with spaces between: ``C5:1/8`` is the C above middle C (which is C4)
for an eighth of a whole note, ``F#4:3/8`` an F sharp, ``r:1/4`` a rest. There are the twelve names
with sharps, no flats, so that what sounds alike is spelt alike.

Tonality, melodicity and the ratio of steps are ORGAN's (Guimaraes et al., 2017, arXiv 1705.10843,
section 4.2), on a scale that stays the same from batch to batch: its own code rescaled within each
batch. An interval reaches over the rests between two notes. A melody of fewer than two notes, or
with a word that is no event, has the value 0.0. What is made of more than two notes is in
melody_shapes.py.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

from .objective import Objective

PITCHES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
Event = tuple[int | None, Fraction]  # the MIDI pitch, or None for a rest; the duration
_CONSONANT = (0, 3, 4, 5, 7, 8, 9)
_SCALES = [frozenset((key + step) % 12 for step in (0, 2, 4, 5, 7, 9, 11)) for key in range(12)]
_EVENT = re.compile(r"(?:([A-G]#?)(-?[0-9]{1,2})|r):([0-9]{1,5})(?:/([0-9]{1,5}))?")


@lru_cache(maxsize=1 << 14)
def parse_event(word: str) -> Event | None:
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


def read_melody(text: str) -> list[Event]:
    """The events of a melody in their order; none where a word is no event."""
    events = [parse_event(word) for word in text.split()]
    return [] if None in events else [event for event in events if event is not None]


def pitches_of(melody: list[Event]) -> list[int]:
    """The MIDI pitches of its notes, rests left out."""
    return [pitch for pitch, _ in melody if pitch is not None]


def canonical_melody(text: str) -> str | None:
    """The melody transposed so that its lowest note is MIDI pitch 0, C-1; None for what is none.

    Two melodies have the same one when one is the other's transposition; rests and durations count.
    """
    melody = read_melody(text)
    lowest = min(pitches_of(melody), default=None)
    if lowest is None:
        return None
    moved = ((None if pitch is None else pitch - lowest, length) for pitch, length in melody)
    return " ".join(spell_event(pitch, length) for pitch, length in moved)


class MelodyObjective(Objective):
    """An objective of a melody of at least two notes, in [0, 1]; subclasses define ``value``."""

    range = (0.0, 1.0)
    microseconds = 25.0  # of a folk tune of 50 notes; benchmarks/objectives.py measures all

    @abstractmethod
    def value(self, melody: list[Event]) -> float:
        """The value of a melody with two notes or more."""

    def score(self, texts: list[str]) -> Sequence[float | None]:
        """The value of each melody; 0.0 for what is none, or has fewer than two notes."""
        melodies = map(read_melody, texts)
        return [self.value(m) if len(pitches_of(m)) > 1 else 0.0 for m in melodies]


class _ShareOfIntervals(MelodyObjective):
    @abstractmethod
    def counts(self, interval: int) -> bool:
        """Is it an interval that is looked for? In semitones, upwards positive."""

    def value(self, melody: list[Event]) -> float:
        """(intervals that count) / (intervals)."""
        pairs = list(pairwise(pitches_of(melody)))
        return sum(self.counts(after - before) for before, after in pairs) / len(pairs)


class Tonality(_ShareOfIntervals):
    """ORGAN's tonality: the share of perfect fifths, up or down, among consecutive intervals.

    It asks for fifths, not for tunes: uniformly random events have more of them than folk songs.
    """

    name = "tonality"

    def counts(self, interval: int) -> bool:
        """Seven semitones."""
        return abs(interval) == 7


class Melodicity(_ShareOfIntervals):
    """ORGAN's melodicity: the share of consonant intervals, up or down, among consecutive ones.

    Consonant are thirds, sixths, perfect fourths and fifths, and octaves, also with further octaves
    between; a note repeated is no interval that counts. ORGAN's code takes perfect fourths and
    fifths and major sixths alone, upwards. Tunes move by steps, which are dissonant: this, too,
    scores random events above them.
    """

    name = "melodicity"

    def counts(self, interval: int) -> bool:
        """0, 3, 4, 5, 7, 8 or 9 semitones beyond whole octaves, and not 0 in all."""
        return interval != 0 and abs(interval) % 12 in _CONSONANT


class RatioOfSteps(MelodyObjective):
    """ORGAN's ratio of steps: the share of steps among consecutive intervals.

    A step leads from a note of the scale to the next above or below: in a diatonic scale, one or
    two semitones between two of its notes. The scale is the melody's own: of the twelve (each major
    is a natural minor too) the one that holds most of its notes; of several the one with most
    steps. So a chromatic run is no run of steps, and a transposed melody has the same value.
    """

    name = "ratio_of_steps"
    microseconds = 60.0

    def value(self, melody: list[Event]) -> float:
        """(steps in the scale) / (intervals)."""
        pitches = pitches_of(melody)
        classes = Counter(pitch % 12 for pitch in pitches)
        near = [(a % 12, b % 12) for a, b in pairwise(pitches) if abs(b - a) in (1, 2)]
        _, steps = max(
            (sum(classes[c] for c in scale), sum(a in scale and b in scale for a, b in near))
            for scale in _SCALES
        )
        return steps / (len(pitches) - 1)
