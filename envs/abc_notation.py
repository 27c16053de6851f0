"""Tunes in ABC notation (abcnotation.com, standard 2.1) to melodies of events, and back.

music21 reads ABC too, at 50 to 200 ms a tune: minutes for the collections that it carries. This
reads what a melody is made of (notes, rests, accidentals, keys and modes, unit lengths, broken
rhythm, tuplets, ties, fields within a line) in less than 1 ms; a test holds it equal to music21 on
tunes without accidentals. Those hold to the bar's end here, as the standard says; music21 10.5
lets them end at their note, and loses broken rhythm behind a decoration.
Left out: repeats are not played again, of a chord the highest note sounds, grace notes and
decorations do not, and of several voices only the first is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from ..rewards.melodies import PITCHES, parse_event

_ONE = Fraction(1)
Events = list[tuple[int | None, Fraction]]

_NATURAL = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_ACCIDENTAL = {"": 0, "=": 0, "^": 1, "^^": 2, "_": -1, "__": -2}
_FIFTHS = {"F": -1, "C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5}
_MODES = {"maj": 0, "ion": 0, "mix": -1, "dor": -2, "min": -3, "aeo": -3, "m": -3, "phr": -4,
          "loc": -5, "lyd": 1, "": 0}  # fmt: skip
_TUPLET_TIMES = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}  # p notes in the time of q; else 3 or 2 by metre
_LENGTH = r"[0-9]*/*[0-9]*"
_NOTE = (
    rf"(?P<accidental>\^\^|\^|__|_|=)?(?P<letter>[A-Ga-g])(?P<octave>[,']*)(?P<length>{_LENGTH})"
)
_SYMBOL = re.compile(
    rf"""{_NOTE}|(?P<rest>[zxZX])(?P<rest_length>{_LENGTH})
    |"[^"]*"|![^!\n]*!|\+[a-z0-9<>().]+\+|\{{[^}}]*\}}      # chord symbols, decorations, graces
    |\[(?P<field>[KLM]):(?P<value>[^\]]*)\]|\[[A-Z]:[^\]]*\]  # fields within a line
    |(?P<bar>:*\|+[|:\]]*(?:\[?[0-9][0-9,\-]*)?|\[[0-9]|::)
    |\[(?P<chord>[^\]\[|:]*)\](?P<chord_length>{_LENGTH})
    |\((?P<tuplet>[2-9])(?::(?P<times>[0-9]*))?(?::(?P<count>[0-9]*))?
    |(?P<broken>>+|<+)|(?P<tie>-)""",
    re.VERBOSE,
)
_CHORD_NOTE = re.compile(_NOTE)
_TUNE = re.compile(r"^X:", re.MULTILINE)
_HEADER = re.compile(r"([A-Za-z+]):(.*)")
_BODY_FIELD = re.compile(r"([H-Zmrsw+]):(.*)")  # "d:|" is music
_KEY = re.compile(r"([A-G])([#b]?)\s*([A-Za-z]*)((?:\s*(?:exp\s+)?[=_^]+[a-g])*)")


@dataclass(frozen=True)
class Tune:
    """A tune as it stands in a file."""

    line: int
    """Where it begins, from 1."""
    events: Events
    """Its notes and rests: MIDI pitch or None, part of a whole note."""
    fault: str | None = None
    """Why it cannot be used; None where it can."""


def read_abc(text: str) -> Iterator[Tune]:
    """Every tune of a file; one that cannot be read says so in its ``fault``."""
    starts = [found.start() for found in _TUNE.finditer(text)] or [0]
    line, before = 1, 0
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        line, before = line + text.count("\n", before, start), start
        try:
            yield Tune(line, _Reader().read(text[start:end]))
        except (ValueError, ArithmeticError) as error:
            yield Tune(line, [], str(error))


class _Reader:
    """The state of the notation while a tune is read."""

    def __init__(self) -> None:
        self.events: Events = []
        self.unit: Fraction | None = None  # by metre, where the tune does not say
        self.metre = Fraction(1)
        self.compound = False
        self.key: dict[str, int] = {}
        self.in_bar: dict[str, int] = {}
        self.tied = False
        self.last = Fraction(0)  # how long the last note is, what it is tied to left out
        self.scale = _ONE  # of the next note, from broken rhythm
        self.tuplet: tuple[Fraction, int] | None = None  # the factor, the notes left

    def read(self, tune: str) -> Events:
        in_body = False
        for row in tune.splitlines():
            line = row.partition("%")[0].rstrip()
            if not line and not row and self.events:
                break  # an empty line ends a tune
            field = (_BODY_FIELD if in_body else _HEADER).match(line)
            if field is not None:
                if field[1] == "V" and self.events:
                    break  # the first voice was read
                self._field(field[1], field[2].strip())
                in_body = in_body or field[1] == "K"
            elif in_body:
                self._music(line)
        return self.events

    def _field(self, letter: str, value: str) -> None:
        if letter == "L":
            self.unit = Fraction(value)
        elif letter == "M":
            metre = {"C": "4/4", "C|": "2/2"}.get(value, value)
            number = re.match(r"([0-9]+)\s*/\s*([0-9]+)", metre)
            self.metre = Fraction(int(number[1]), int(number[2])) if number else Fraction(1)
            self.compound = bool(re.match(r"(6|9|12)\s*/", metre))
        elif letter == "K":
            self.key = key_signature(value)

    def _music(self, line: str) -> None:
        for found in _SYMBOL.finditer(line):
            accidental, letter, octave, length = found.group(1, 2, 3, 4)
            if letter:  # by number, and first: most of a tune is notes
                self._add(self._pitch(accidental, letter, octave), _length(length))
            elif found["rest"]:
                length = _length(found["rest_length"])
                measures = found["rest"] in "ZX"
                self._add(None, length * self.metre / self._unit() if measures else length)
            elif found["bar"]:
                self.in_bar = {}
            elif found["chord"] is not None:
                notes = list(_CHORD_NOTE.finditer(found["chord"]))
                if notes:
                    highest = max(self._pitch(*note.group(1, 2, 3)) for note in notes)
                    self._add(highest, _length(notes[0]["length"]) * _length(found["chord_length"]))
            elif found["tuplet"]:
                self._begin_tuplet(int(found["tuplet"]), found["times"], found["count"])
            elif found["broken"]:
                self._break_rhythm(found["broken"])
            elif found["tie"]:
                self.tied = bool(self.events)
            elif found["field"]:
                self._field(found["field"], found["value"].strip())

    def _pitch(self, accidental: str | None, letter: str, octave: str) -> int:
        name = letter.upper()
        if accidental is not None:
            self.in_bar[name] = _ACCIDENTAL[accidental]
        shift = self.in_bar.get(name, self.key.get(name, 0))
        height = 4 + (letter != name) + octave.count("'") - octave.count(",")
        return 12 * (height + 1) + _NATURAL[name] + shift

    def _add(self, pitch: int | None, length: Fraction) -> None:
        factor = _ONE
        if self.tuplet is not None:
            factor, left = self.tuplet
            self.tuplet = (factor, left - 1) if left > 1 else None
        self.last = duration = _product(length, self._unit(), self.scale, factor)
        self.scale = _ONE
        if self.tied and pitch is not None and self.events[-1][0] == pitch:
            self.events[-1] = pitch, self.events[-1][1] + duration
        else:
            self.events.append((pitch, duration))
        self.tied = False

    def _begin_tuplet(self, notes: int, times: str | None, count: str | None) -> None:
        """``(p:q:r``: p notes in the time of q, for the next r notes."""
        usual = _TUPLET_TIMES.get(notes, 3 if self.compound else 2)
        self.tuplet = Fraction(int(times or usual), notes), int(count or notes)

    def _break_rhythm(self, signs: str) -> None:
        """``a>b`` makes a longer by half and b as much shorter; ``<`` the other way round."""
        if not self.events:
            return
        short = Fraction(1, 2 ** len(signs))
        first, self.scale = (2 - short, short) if signs[0] == ">" else (short, 2 - short)
        pitch, duration = self.events[-1]
        self.events[-1] = pitch, duration + self.last * (first - 1)

    def _unit(self) -> Fraction:
        if self.unit is not None:
            return self.unit
        return Fraction(1, 16) if self.metre < Fraction(3, 4) else Fraction(1, 8)


def key_signature(key: str) -> dict[str, int]:
    """The sharps (1) and flats (-1) of a key such as ``Dm``, ``F#``, ``Amix`` or ``none``.

    Raises:
        ValueError: no such key.
    """
    if key.partition(" ")[0].lower() in ("", "none", "hp"):
        return {}
    if key.startswith("Hp"):
        return {"F": 1, "C": 1}
    found = _KEY.match(key)
    mode = "" if found is None or found[3] == "M" else found[3].lower()[:3]
    if found is None or (mode not in _MODES and mode not in ("cle", "exp")):
        raise ValueError(f"{key!r} is no key; expected a letter and a mode, such as G, Dm or Amix")
    fifths = _FIFTHS[found[1]] + 7 * {"": 0, "#": 1, "b": -1}[found[2]] + _MODES.get(mode, 0)
    order = "FCGDAEB" if fifths > 0 else "BEADGCF"
    signature = {letter: 1 if fifths > 0 else -1 for letter in order[: min(abs(fifths), 7)]}
    for mark, letter in re.findall(r"([=_^]+)([a-g])", found[4]):
        signature[letter.upper()] = _ACCIDENTAL[mark[:2]]
    return signature


def write_abc(text: str, title: str = "") -> str:
    """A text of events as a tune in ABC notation, without bars; ``read_abc`` gives the events back.

    Raises:
        ValueError: a word of the text is no event.
    """
    notes = [_spell(word) for word in text.split()]
    lines = [" ".join(notes[i : i + 16]) for i in range(0, len(notes), 16)]
    return "\n".join(["X:1", f"T:{title}", "M:none", "L:1/8", "K:C", *lines, ""])


def _spell(word: str) -> str:
    event = parse_event(word)
    if event is None:
        raise ValueError(f"{word!r} is no event; expected a form such as C5:1/8, F#4:3/8 or r:1/4")
    pitch, duration = event
    length = duration * 8
    number = str(length.numerator if length.numerator != 1 or length == 1 else "")
    size = ("" if length == 1 else number) + (
        f"/{length.denominator}" if length.denominator > 1 else ""
    )
    if pitch is None:
        return f"z{size}"
    name, octave = PITCHES[pitch % 12], pitch // 12 - 1
    letter = name[0] if octave < 5 else name[0].lower()
    marks = "'" * (octave - 5) if octave > 5 else "," * (4 - octave)
    # Always marked: without bars an accidental would hold to the end of the tune.
    return f"{'^' if len(name) == 2 else '='}{letter}{marks}{size}"


@lru_cache(maxsize=4096)  # Fractions are slow and few: three times as fast
def _product(length: Fraction, unit: Fraction, scale: Fraction, factor: Fraction) -> Fraction:
    if length == 0:
        raise ValueError("a note has the length 0")
    return length * unit * scale * factor


@lru_cache(maxsize=4096)
def _length(text: str) -> Fraction:
    """``3``, ``/``, ``/2``, ``3/2``, ``//``: a factor of the unit length."""
    if not text:
        return Fraction(1)
    number, slashes, divisor = re.match(r"([0-9]*)(/*)([0-9]*)", text).groups()  # type: ignore[union-attr]
    below = int(divisor) if divisor else 2 ** len(slashes)
    return Fraction(int(number or 1), below)
