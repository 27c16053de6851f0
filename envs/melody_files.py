"""Where melodies come from: the collections of music21, and a user's ABC, MIDI or MusicXML.

music21 (extra ``music``) carries the Essen folk songs, O'Neill's and Ryan's collections. They are
read from its files without importing it, which takes seconds, and kept as text in the user's cache
folder, under music21's version.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import tempfile
from fractions import Fraction
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path

from ..rewards.files import DataError, Line, ensure_exists, keep_valid, read_lines, read_text
from ..rewards.melodies import parse_event, spell_event
from .abc_notation import Events, read_abc

COLLECTIONS = {"essen": "essenFolksong", "oneill": "oneills1850", "ryan": "ryansMammoth"}
_CACHE_FORM = 1  # raise it when the same file is read differently
_MIDI = (".mid", ".midi")
_SCORES = (*_MIDI, ".xml", ".musicxml", ".mxl")
_ENDINGS = (".abc", ".txt", *_SCORES)


def load_melodies(data: str, *, skip_invalid: bool = False) -> tuple[list[str], int]:
    """The melodies of a collection, a file or a folder, each once, and how many were left out."""
    if data in COLLECTIONS:
        return _cached_collection(data), 0
    path = Path(data)
    ensure_exists(path, COLLECTIONS)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    known = [file for file in files if file.suffix.lower() in _ENDINGS]
    kept: list[str] = []
    left_out = 0
    for file in known if path.is_dir() else files:
        texts, skipped = _file_texts(file, skip_invalid)
        kept += texts
        left_out += skipped
    if not kept:
        raise DataError(f"{data} has no melodies; expected files ending in {', '.join(_ENDINGS)}")
    return list(dict.fromkeys(kept)), left_out


def _file_texts(path: Path, skip_invalid: bool) -> tuple[list[str], int]:
    suffix = path.suffix.lower()
    if suffix == ".abc":
        return _abc_texts(path, skip_invalid)
    lines = [Line(1, _spell(_read_score(path)))] if suffix in _SCORES else read_lines(path)
    return keep_valid(lines, path, _fault, skip=skip_invalid)


def _abc_texts(path: Path, skip_invalid: bool) -> tuple[list[str], int]:
    kept: list[str] = []
    left_out = 0
    for tune in read_abc(read_text(path)):
        text = _spell(tune.events)
        fault = tune.fault or _fault(text)
        if fault is None:
            kept.append(text)
        elif skip_invalid:
            left_out += 1
        else:
            raise DataError(
                f"{path}, the tune at line {tune.line}: {fault}; mend it, or leave such tunes out "
                "with --skip-invalid (skip_invalid=True)"
            )
    return kept, left_out


def _spell(events: Events) -> str:
    return " ".join(spell_event(pitch, duration) for pitch, duration in events)


def _fault(text: str) -> str | None:
    words = text.split()
    if wrong := next((word for word in words if parse_event(word) is None), None):
        return f"{wrong!r} is no event; expected a form such as C5:1/8, F#4:3/8 or r:1/4"
    if all(word.startswith("r") for word in words):
        return "there is no note in it"
    return None


def _read_score(path: Path) -> Events:
    """The first part of a MIDI or MusicXML file as one line.

    Of what begins at once the highest, which ends at the latest where the next begins; rests at the
    end are left out.
    """
    ensure_exists(path)
    _music21_folder()
    from music21 import converter  # slow to import, and an extra

    try:
        if path.suffix.lower() in _MIDI:  # as bytes: music21 leaves a file open that is no MIDI
            score = converter.parseData(path.read_bytes(), format="midi")
        else:
            score = converter.parse(str(path), forceSource=True)
        part = score.parts[0] if score.parts else score
        notes = list(part.stripTies().flatten().notes)
    except Exception as error:  # music21 raises what its many readers raise
        raise DataError(f"music21 cannot read {path}: {type(error).__name__}: {error}") from error
    highest: dict[Fraction, tuple[int, Fraction]] = {}  # by where it begins
    for note in notes:
        begin, duration = Fraction(note.offset) / 4, Fraction(note.quarterLength) / 4
        pitch = max((int(p.midi) for p in note.pitches), default=-1)  # drums have none
        if duration > 0 and pitch > highest.get(begin, (-1, duration))[0]:  # 0: a grace note
            highest[begin] = pitch, duration
    return _as_line(highest)


def _as_line(highest: dict[Fraction, tuple[int, Fraction]]) -> Events:
    """One note after the other, with rests where nothing sounds."""
    begins = sorted(highest)
    events: Events = []
    end = Fraction(0)
    for begin, after in zip_longest(begins, begins[1:]):
        if begin > end:
            events.append((None, (begin - end).limit_denominator(192)))
        pitch, duration = highest[begin]
        end = begin + duration if after is None else min(begin + duration, after)
        events.append((pitch, (end - begin).limit_denominator(192)))
    return events


@lru_cache(maxsize=3)
def _cached_collection(name: str) -> list[str]:
    """Read from the cache, or from music21's files; a cache that cannot be used is left alone."""
    folder = _music21_folder()
    version = importlib.metadata.version("music21")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = home / "tokengym" / f"{name}-music21-{version}-{_CACHE_FORM}.txt"
    try:
        return cache.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        texts = _collection_texts(folder / "corpus" / COLLECTIONS[name])
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=cache.parent, delete=False
        ) as file:
            file.write("\n".join(texts))
        os.replace(file.name, cache)
    except OSError:
        pass  # a read-only home costs seconds, nothing else
    return texts


def _collection_texts(folder: Path) -> list[str]:
    """Every tune of a collection once; the few that have an unknown key are left out."""
    texts: dict[str, None] = {}
    for path in sorted(folder.glob("*.abc")):
        # A few files hold names in another encoding than the notes.
        for tune in read_abc(path.read_text(encoding="utf-8", errors="replace")):
            text = _spell(tune.events)
            if _fault(text) is None:  # one that cannot be read has no note
                texts[text] = None
    return list(texts)


def _music21_folder() -> Path:
    spec = importlib.util.find_spec("music21")
    if spec is None or spec.origin is None:
        raise ImportError(
            "the tunes, and reading MIDI and MusicXML, need music21, which is not installed; "
            "install it with pip install 'tokengym[music]', or give a file in ABC notation"
        )
    return Path(spec.origin).parent
