"""Pictures of texts, for ``rgb_array``: all of one size, so that an episode can be a film.

The font, DejaVu Sans Mono, is the one that matplotlib carries: it has most alphabets.
"""

# Pictures are uint8 (height, width, 3).
from __future__ import annotations

import math
import textwrap
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..rewards.melodies import parse_event

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

WIDTH, HEIGHT = 480, 240
INK, GREY = (20, 24, 32), (120, 126, 134)
_MARGIN, _FONT_SIZE, _LINE = 12, 15, 22  # pixels
# A piano roll of two octaves and eight whole notes has 9 rows a semitone, 55 columns a whole.
_LEFT, _BOTTOM = 40, 15  # for the labels
_LEAST_WHOLES, _MOST_LABELS = 8, 16
_NOTE, _C_ROW, _LINE_GREY = (31, 78, 121), (238, 238, 238), (225, 225, 225)
_MIDDLE_C = 60


def draw_text(
    text: str, width: int = WIDTH, height: int = HEIGHT, ink: tuple[int, int, int] = INK
) -> np.ndarray:
    """The text, wrapped; of one with more lines than there is room for, the last ones."""
    from PIL import Image, ImageDraw  # slow to import, and seldom needed

    font = _font(_FONT_SIZE)
    columns = int((width - 2 * _MARGIN) / font.getlength("m"))
    rows = (height - 2 * _MARGIN) // _LINE
    lines = textwrap.wrap(text, columns, break_on_hyphens=False)
    if len(lines) > rows:
        lines = ["...", *lines[len(lines) - rows + 1 :]]
    picture = Image.new("RGB", (width, height), "white")
    canvas = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        canvas.text((_MARGIN, _MARGIN + row * _LINE), line, ink, font)
    return np.array(picture)


def draw_melody(text: str) -> np.ndarray:
    """A piano roll: time from left to right in whole notes, pitch upwards.

    It shows the octaves from C to C that the melody needs, two from middle C at least, and eight
    whole notes at least. What is no melody is there as grey text.
    """
    from PIL import Image, ImageDraw

    events = [parse_event(word) for word in text.split()]
    notes = [event for event in events if event is not None]
    if len(notes) < len(events):
        return draw_text(text, ink=GREY)
    scale = _Scale.of(notes)
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    canvas = ImageDraw.Draw(picture)
    _draw_grid(canvas, scale)
    now = Fraction(0)
    for pitch, duration in notes:
        if pitch is not None:
            left, top = scale.left_of(now), scale.top_of(pitch)
            right = max(scale.left_of(now + duration) - 2, left)  # a gap after each
            canvas.rectangle((left, top, right, top + scale.row - 1), _NOTE)
        now += duration
    return np.array(picture)


class _Scale(NamedTuple):
    """Where pitches and times lie, in pixels."""

    low: int
    high: int
    wholes: int

    @classmethod
    def of(cls, notes: list[tuple[int | None, Fraction]]) -> _Scale:
        pitches = [pitch for pitch, _ in notes if pitch is not None]
        low, high = min([_MIDDLE_C, *pitches]), max([_MIDDLE_C + 24, *pitches])
        wholes = math.ceil(sum(duration for _, duration in notes))
        return cls(low // 12 * 12, -(-high // 12) * 12, max(wholes, _LEAST_WHOLES))

    @property
    def row(self) -> float:
        return (HEIGHT - _BOTTOM) / (self.high - self.low + 1)

    def top_of(self, pitch: int) -> float:
        return (self.high - pitch) * self.row

    def left_of(self, time: float | Fraction) -> float:
        return _LEFT + float(time) * (WIDTH - _LEFT) / self.wholes


def _draw_grid(canvas: ImageDraw, scale: _Scale) -> None:
    """Every C and the whole notes, as many as can be told apart, with their names."""
    font, bottom = _font(11), HEIGHT - _BOTTOM
    for c in range(scale.low, scale.high + 1, 12):
        top = scale.top_of(c)
        canvas.rectangle((_LEFT, top, WIDTH, top + scale.row - 1), _C_ROW)
        middle = max(top + scale.row / 2, 6)  # of the highest, where rows are low
        canvas.text((_LEFT - 6, middle), f"C{c // 12 - 1}", GREY, font, "rm")
    step = 2 ** max(0, math.ceil(math.log2(scale.wholes / _MOST_LABELS)))
    for whole in range(0, scale.wholes, step):
        x = scale.left_of(whole)
        canvas.line((x, 0, x, bottom), _LINE_GREY)
        canvas.text((x, bottom + _BOTTOM / 2), str(whole), GREY, font, "mm")


@lru_cache(maxsize=2)
def _font(size: int) -> FreeTypeFont:
    import matplotlib as mpl
    from PIL import ImageFont

    path = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSansMono.ttf"
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
