"""A melody of events as a MIDI file: the bytes, written here.

The Standard MIDI File 1.0: a header, and one track of delta times and messages. music21 writes MIDI
too, through a score, a hundred times slower and only where it is installed.
"""

from __future__ import annotations

import struct
from fractions import Fraction

from ..rewards.melodies import parse_event

_TICKS_A_WHOLE = 1920  # 480 a quarter: divisible by what tuplets and dots need
_VELOCITY = 80


def write_midi(text: str, *, quarters_a_minute: int = 120, program: int = 0) -> bytes:
    """A text of events as the bytes of a ``.mid`` file of one track.

    Args:
        text: events with spaces between, such as ``C5:1/8 r:1/8 F#4:1/4``.
        quarters_a_minute: the tempo.
        program: General MIDI's instrument, 0 (piano) to 127.

    Raises:
        ValueError: a word of the text is no event, or a number is out of its range.
    """
    if not 4 <= quarters_a_minute <= 1000 or not 0 <= program <= 127:
        raise ValueError(
            f"quarters_a_minute is {quarters_a_minute} and program {program}; expected 4 to 1000 "
            "and 0 to 127"
        )
    tempo = 60_000_000 // quarters_a_minute  # microseconds a quarter
    track = b"\x00\xff\x51\x03" + tempo.to_bytes(3, "big") + bytes([0, 0xC0, program])
    time, written = Fraction(0), 0  # in ticks: exact, and as far as it was written
    for word in text.split():
        event = parse_event(word)
        if event is None:
            raise ValueError(
                f"{word!r} is no event; expected a form such as C5:1/8, F#4:3/8 or r:1/4"
            )
        pitch, duration = event
        start, time = round(time), time + duration * _TICKS_A_WHOLE
        if pitch is not None:
            track += _delta(start - written) + bytes([0x90, pitch, _VELOCITY])
            track += _delta(round(time) - start) + bytes([0x80, pitch, 0])
            written = round(time)
    track += _delta(round(time) - written) + b"\xff\x2f\x00"
    header = struct.pack(">4sIHHH", b"MThd", 6, 0, 1, _TICKS_A_WHOLE // 4)
    return header + struct.pack(">4sI", b"MTrk", len(track)) + track


def _delta(ticks: int) -> bytes:
    """A variable-length quantity: seven bits a byte, the highest first."""
    parts = [ticks & 0x7F]
    while ticks := ticks >> 7:
        parts.append((ticks & 0x7F) | 0x80)
    return bytes(reversed(parts))
