"""What the rating page shows of a sample: a molecule as SVG, a melody as notes, and its text.

A sample is hostile input: the page puts the SVG behind ``<img>``, where nothing in it runs, and
text only where no markup is read. What is here keeps a drawing small and quick, and makes visible
what would otherwise deceive the eye: control characters and those that turn the direction of
writing.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import Any, TypedDict

from ...melodies import PITCHES, Event, read_melody
from ..ratings import Domain

_MOST_CHARACTERS = 10_000  # a page of a book has 2,000
_MOST_SMILES, _MOST_ATOMS = 1_000, 200  # RDKit takes 0.1 s for 200 atoms, 4 s for 1,000
_MOST_EVENTS = 2_000
_SCALE = 40.0  # pixels an angstrom, so 60 a bond, where the page has room for the whole
# RDKit's colours of these can hardly be read on white: sulphur, chlorine, fluorine.
_DARKER = {16: (0.6, 0.5, 0.0), 17: (0.0, 0.55, 0.0), 9: (0.0, 0.5, 0.5)}
# Control characters but tab and line feed; zero-width and direction marks, the byte order mark,
# halves of surrogate pairs, which UTF-8 cannot hold.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f"
                     "\ufeff\ud800-\udfff\U000e0000-\U000e007f]")  # fmt: skip


class Note(TypedDict):
    """One note of the piano roll; times in whole notes."""

    pitch: int  # MIDI, 60 is C4
    start: float
    duration: float


class Drawn(TypedDict):
    """A sample as the page shows it."""

    text: str
    svg: str | None
    notes: list[Note] | None
    caption: str  # what there is to see, for those who hear the page; what is left out


def drawn(text: str, domain: Domain) -> Drawn:
    """The sample's drawing, of the domain ``"molecules"`` or ``"melodies"``; any other is text.

    Raises:
        ImportError: molecules without RDKit.
    """
    shown, cut = _shown(text)
    svg, notes, seen = None, None, ""
    if domain == "molecules":
        svg, seen = _molecule(text)
    elif domain == "melodies":
        notes, seen = _notes(text)
    return Drawn(text=shown, svg=svg, notes=notes, caption="; ".join(filter(None, (seen, cut))))


def _shown(text: str) -> tuple[str, str]:
    """The text, cut and with what cannot be seen spelt out; what was cut."""
    cut = len(text) > _MOST_CHARACTERS
    caption = f"the first {_MOST_CHARACTERS:,} of {len(text):,} characters" if cut else ""
    text = text[:_MOST_CHARACTERS].replace("\r\n", "\n")
    return _UNSEEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text), caption


def _molecule(text: str) -> tuple[str | None, str]:
    if len(text) > _MOST_SMILES:
        return None, f"too long to be drawn: {len(text):,} characters, {_MOST_SMILES:,} at most"
    return _molecule_svg(text)


@lru_cache(maxsize=256)
def _molecule_svg(text: str) -> tuple[str | None, str]:
    # Inside: RDKit is an extra, and melodies and texts do without it.
    from rdkit.Chem import rdMolDescriptors
    from rdkit.Chem.Draw import rdMolDraw2D

    from ...molecules.base import molecule

    words = text.split(maxsplit=1)  # a name, or extensions with labels, may follow the SMILES
    found = molecule(words[0]) if words else None
    if found is None:
        return None, "no valid molecule"
    formula = f"molecule {rdMolDescriptors.CalcMolFormula(found)}"
    if (atoms := found.GetNumAtoms()) > _MOST_ATOMS:
        return None, f"{formula}, too large to be drawn: {atoms} atoms, {_MOST_ATOMS} at most"
    canvas = rdMolDraw2D.MolDraw2DSVG(-1, -1)  # as large as the molecule needs
    options: Any = canvas.drawOptions()  # its stubs are wrong
    options.clearBackground = False  # the page has a light and a dark one
    options.scalingFactor = _SCALE
    options.updateAtomPalette(_DARKER)
    rdMolDraw2D.PrepareAndDrawMolecule(canvas, found)
    canvas.FinishDrawing()
    return str(canvas.GetDrawingText()), formula


def _notes(text: str) -> tuple[list[Note] | None, str]:
    if len(text.split()) > _MOST_EVENTS:
        return None, f"too long to be drawn: more than {_MOST_EVENTS:,} events"
    events = read_melody(text)
    now, notes = Fraction(0), []
    for pitch, duration in events:
        if pitch is not None:
            notes.append(Note(pitch=pitch, start=float(now), duration=float(duration)))
        now += duration
    return (notes, _range(events, now)) if notes else (None, "no valid melody")


def _range(events: list[Event], length: Fraction) -> str:
    pitches = [pitch for pitch, _ in events if pitch is not None]
    count = "1 note" if len(pitches) == 1 else f"{len(pitches)} notes"
    span = f"from {_spelt(min(pitches))} to {_spelt(max(pitches))}"
    return f"{count} {span}, {float(length):.4g} whole notes long"


def _spelt(pitch: int) -> str:
    return f"{PITCHES[pitch % 12]}{pitch // 12 - 1}"
