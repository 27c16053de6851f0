"""How the notes of melodies compare with those of a reference.

Histograms over all melodies together, as Yang and Lerch (2020, "On the evaluation of generative
models in music") compare them: of the twelve pitch classes, octaves and rests left out, and of the
durations, rests among them. The distance is the Jensen-Shannon divergence in bits. Keys are as they
are written: a melody in another key is another histogram of pitch classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain

from ...rewards.melodies import Event, pitches_of, read_melody
from .estimate import Estimate
from .occurrences import Key, against, jensen_shannon


def melody_figures(texts: Sequence[str], reference: Sequence[str]) -> dict[str, Estimate]:
    """Distances of pitch classes and durations; what is no melody has no note.

    Args:
        texts: melodies of events.
        reference: the same, of what they are compared with.
    """
    found, known = list(map(read_melody, texts)), list(map(read_melody, reference))
    return {
        "pitch_class_jsd": _divergence(
            list(map(pitch_classes, found)), list(map(pitch_classes, known))
        ),
        "duration_jsd": _divergence(list(map(durations, found)), list(map(durations, known))),
    }


def pitch_classes(melody: list[Event]) -> list[int]:
    """Of each note, 0 for C .. 11 for B."""
    return [pitch % 12 for pitch in pitches_of(melody)]


def durations(melody: list[Event]) -> list[tuple[int, int]]:
    """Of each event, as numerator and denominator."""
    return [(length.numerator, length.denominator) for _, length in melody]


def _divergence(rows: Sequence[Sequence[Key]], reference: Sequence[Sequence[Key]]) -> Estimate:
    return jensen_shannon(*against(rows, Counter(chain.from_iterable(reference))))
