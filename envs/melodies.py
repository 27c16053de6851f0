"""Melodies: the task and real folk tunes.

An event is a token: a pitch and a duration, ``C5:1/8``, or a rest, ``r:1/4`` (rewards.melodies says
it exactly). Keys, metres and bars are left out: an event means the same wherever it stands.

The tunes are those that music21 carries (extra ``music``): the Essen folk songs, O'Neill's and
Ryan's collections. They are read from its files without importing it, which takes seconds, and
kept as text in the user's cache folder, under music21's version.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import tempfile
import warnings
from fractions import Fraction
from functools import lru_cache, partial
from itertools import zip_longest
from pathlib import Path

from ..rewards import RewardSpec, make_reward
from ..rewards.melodies import canonical_melody, parse_event, spell_event
from .abc_notation import Events, read_abc
from .data import DataError, Line, file_stamp, keep_valid, read_lines, read_text
from .drawing import draw_melody
from .encoding import encode_data
from .task import Task
from .vocabulary import Vocabulary

COLLECTIONS = {"essen": "essenFolksong", "oneill": "oneills1850", "ryan": "ryansMammoth"}
_BUILT_IN_LENGTH = 128  # nine of ten tunes fit; the longest has 725 events
_CACHE_FORM = 1  # raise it when the same file is read differently
_MIDI = (".mid", ".midi")
_SCORES = (*_MIDI, ".xml", ".musicxml", ".mxl")


def melodies(
    *,
    data: str = "essen",
    reward: RewardSpec = "tonality",
    max_length: int | None = None,
    vocabulary: Vocabulary | None = None,
    skip_invalid: bool = False,
) -> Task:
    """The task ``tokengym/Melodies-v0``: write a melody, note by note.

    Args:
        data: ``"essen"``, ``"oneill"`` or ``"ryan"``, collections that music21's wheel carries; a
            file (``.abc``, ``.mid``, ``.musicxml``, ``.mxl``, or ``.txt`` with a melody of events
            in each line); or a folder of such files.
        reward: a Reward, a name or expression, or a function of a batch of texts.
        max_length: T; by default 128 for the collections (longer tunes are left out), the longest
            melody and its end token for a file.
        vocabulary: which events can be written; by default those of the data.
        skip_invalid: leave out, and count in a warning, tunes that cannot be read, hold other
            events than the vocabulary, or are longer than ``max_length``.

    Raises:
        DataError: the data cannot be used; the message names the file and the line.
        ImportError: music21 is not installed, and needed.
    """
    texts = _melody_texts(data, skip_invalid)
    built_in = data in COLLECTIONS
    if max_length is None and built_in:
        max_length = _BUILT_IN_LENGTH
    if built_in and max_length is not None:
        texts = tuple(text for text in texts if text.count(" ") + 2 <= max_length)
    if vocabulary is None:
        vocabulary = _vocabulary_of(texts)
    load_data = partial(encode_data, texts, data, vocabulary, max_length, skip_invalid=skip_invalid)
    return Task(
        name="Melodies",
        vocabulary=vocabulary,
        max_length=load_data().tokens_BT.shape[1],
        reward=make_reward(reward),
        load_data=load_data,
        domain="melodies",
        canonical=canonical_melody,
        draw=draw_melody,
    )


def load_melodies(data: str, *, skip_invalid: bool = False) -> tuple[list[str], int]:
    """The melodies of a collection, a file or a folder, each once, and how many were left out."""
    if data in COLLECTIONS:
        return _cached_collection(data), 0
    path = Path(data)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    known = [file for file in files if file.suffix.lower() in (".abc", *_SCORES)]
    kept: list[str] = []
    left_out = 0
    for file in known if path.is_dir() else files:
        texts, skipped = _file_texts(file, skip_invalid)
        kept += texts
        left_out += skipped
    if not kept:
        raise DataError(
            f"{data} has no melodies; expected files ending in .abc, {', '.join(_SCORES)}"
        )
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
    if not path.exists():
        raise DataError(f"there is no file {path}; is the path right?")
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


def _melody_texts(data: str, skip_invalid: bool) -> tuple[str, ...]:
    return _read_once(data, skip_invalid, file_stamp(data))


@lru_cache(maxsize=4)
def _read_once(data: str, skip_invalid: bool, stamp: tuple[int, int]) -> tuple[str, ...]:
    texts, left_out = load_melodies(data, skip_invalid=skip_invalid)
    if left_out:
        warnings.warn(f"{data}: left out {left_out} tunes that cannot be read", stacklevel=5)
    return tuple(texts)


@lru_cache(maxsize=4)
def _vocabulary_of(texts: tuple[str, ...]) -> Vocabulary:
    return Vocabulary.from_corpus(texts, "words")
