"""Objectives over the shape of a melody: its range, its rhythm, its motifs.

Events are those of melodies.py. Every value is in [0, 1], is the same in every batch and for every
transposition, and 0.0 for what is no melody of two notes.
"""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from itertools import pairwise
from typing import Unpack

from .melodies import Event, MelodyObjective, pitches_of, read_melody
from .objective import ObjectiveOptions
from .reference import Reference, reference_lines

# From note to note: the interval, and the two durations in whole numbers, reduced.
Motion = tuple[int, int, int]


class PitchRange(MelodyObjective):
    """How well its range can be sung: 1 from ``low`` to ``high`` semitones, less beyond.

    With a semitones from the lowest to the highest note: min(1, a / low, max(0, 2 - a / high)), so
    that 0 and twice ``high`` have the value 0. Of the Essen folk songs 98 of 100 span 6 to 21.

    Args:
        low: the least range with the value 1.
        high: the greatest.
        **options: as for ``Objective``.
    """

    name = "pitch_range"

    def __init__(
        self, low: float = 5, high: float = 19, **options: Unpack[ObjectiveOptions]
    ) -> None:
        super().__init__(**options)
        if not 0 < low <= high:
            raise ValueError(
                f"low is {low} and high {high}; expected 0 < low <= high, in semitones"
            )
        self.low, self.high = low, high

    def value(self, melody: list[Event]) -> float:
        """The trapezium."""
        pitches = pitches_of(melody)
        span = max(pitches) - min(pitches)
        return min(1.0, span / self.low, max(0.0, 2 - span / self.high))


class RhythmEntropy(MelodyObjective):
    """The variety of durations: min(1, H / bits), H the entropy of a melody's own durations.

    H = -sum_d p_d log2 p_d, p_d the share of its events (rests too) that last d. Half of the Essen
    folk songs have 1.1 to 1.7 bits, random events more: a transform names the variety that is
    wanted, ``gaussian(rhythm_entropy, mean=0.45, sd=0.1)``.

    Args:
        bits: what has the value 1, as eight durations equally often have 3.
        **options: as for ``Objective``.
    """

    name = "rhythm_entropy"

    def __init__(self, bits: float = 3.0, **options: Unpack[ObjectiveOptions]) -> None:
        super().__init__(**options)
        if not bits > 0:
            raise ValueError(f"bits is {bits}; expected more than 0")
        self.bits = bits

    def value(self, melody: list[Event]) -> float:
        """The scaled entropy."""
        counts = Counter(_lowest_terms(duration) for _, duration in melody).values()
        shares = [count / len(melody) for count in counts]
        return min(1.0, sum(-share * math.log2(share) for share in shares) / self.bits)


class _MotifObjective(MelodyObjective):
    """An objective of motifs: ``length`` consecutive notes, whatever their pitch and tempo."""

    def __init__(self, length: int = 4, **options: Unpack[ObjectiveOptions]) -> None:
        super().__init__(**options)
        if not isinstance(length, int) or length < 2:
            raise ValueError(f"length is {length!r}; expected 2 notes or more")
        self.length = length


class MotifRepetition(_MotifObjective):
    """How much a melody takes up again: 1 - (different motifs) / (motifs).

    A motif is ``length`` consecutive notes: their intervals and the ratios of their durations. One
    note again and again has nearly 1, so combine it; 0.0 for a melody shorter than a motif.

    Args:
        length: notes in a motif.
        **options: as for ``Objective``.
    """

    name = "motif_repetition"
    microseconds = 60.0

    def value(self, melody: list[Event]) -> float:
        """The share of motifs that occurred before."""
        found = motifs(melody, self.length)
        return 1 - len(set(found)) / len(found) if found else 0.0


class CorpusCloseness(_MotifObjective):
    """How much a melody is made of what a corpus is made of: the share of its motifs found there.

    A motif is ``length`` consecutive notes: their intervals and the ratios of their durations, so
    any transposition and tempo will do; 0.0 for a melody shorter than a motif. A melody of the
    corpus has 1, so has one known motif again and again.

    Args:
        reference: the melodies of the corpus, or a file of them.
        length: notes in a motif.
        **options: as for ``Objective``.
    """

    name = "corpus_closeness"
    microseconds = 90.0

    def __init__(
        self, reference: Reference, length: int = 4, **options: Unpack[ObjectiveOptions]
    ) -> None:
        super().__init__(length, **options)
        tunes = map(read_melody, reference_lines(reference))
        self._known = {motif for tune in tunes for motif in motifs(tune, length)}
        if not self._known:
            raise ValueError(f"the reference holds no melody of {length} notes; give such melodies")

    def value(self, melody: list[Event]) -> float:
        """The share of known motifs."""
        found = motifs(melody, self.length)
        return sum(motif in self._known for motif in found) / len(found) if found else 0.0


def motifs(melody: list[Event], length: int) -> list[tuple[Motion, ...]]:
    """Every ``length`` consecutive notes as the motions between them, in their order."""
    notes = [(pitch, duration) for pitch, duration in melody if pitch is not None]
    unit = math.lcm(*(duration.denominator for _, duration in notes))
    whole = [(pitch, d.numerator * (unit // d.denominator)) for pitch, d in notes]
    motions = []
    for (before, a), (after, b) in pairwise(whole):
        common = math.gcd(a, b)
        motions.append((after - before, a // common, b // common))
    wide = length - 1
    return [tuple(motions[i : i + wide]) for i in range(len(motions) - wide + 1)]


def _lowest_terms(duration: Fraction) -> tuple[int, int]:
    return duration.numerator, duration.denominator  # to hash a Fraction takes ten times as long
