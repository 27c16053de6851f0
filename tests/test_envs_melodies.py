"""Melodies: events, ABC notation, MIDI, the collections, the objectives."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokengym.envs import DataError, make_task, melodies, melody_files
from tokengym.envs.abc_notation import key_signature, read_abc, write_abc
from tokengym.envs.midi import write_midi
from tokengym.rewards.melodies import parse_event, spell_event

pytest.importorskip("music21")

EVENTS = st.lists(
    st.tuples(
        st.none() | st.integers(0, 127),
        st.fractions(Fraction(1, 64), 4, max_denominator=64),
    ),
    min_size=1,
    max_size=40,
).map(lambda events: " ".join(spell_event(pitch, length) for pitch, length in events))

HEAD = "X:1\nT:a tune\nM:4/4\nL:1/8\nK:C\n"


def events(abc: str, head: str = HEAD) -> str:
    (tune,) = read_abc(head + abc)
    assert tune.fault is None
    return " ".join(spell_event(pitch, length) for pitch, length in tune.events)


@given(st.none() | st.integers(0, 127), st.fractions(Fraction(1, 99), 99, max_denominator=99))
def test_an_event_is_read_as_it_was_spelt(pitch: int | None, length: Fraction) -> None:
    assert parse_event(spell_event(pitch, length)) == (pitch, length)


@pytest.mark.parametrize(
    "word", ["", "C5", "H4:1/8", "E#4:1/8", "c5:1/8", "C5:0", "C5:1/0", "C10:1", "C-2:1", "r5:1"]
)
def test_what_is_no_event(word: str) -> None:
    assert parse_event(word) is None


@pytest.mark.parametrize(
    ("abc", "expected"),
    [
        ("C c c' C, z", "C4:1/8 C5:1/8 C6:1/8 C3:1/8 r:1/8"),
        ("A2 A/ A// A3/2 A/4", "A4:1/4 A4:1/16 A4:1/32 A4:3/16 A4:1/32"),
        ("^F F =F F | F _B B", "F#4:1/8 F#4:1/8 F4:1/8 F4:1/8 F4:1/8 A#4:1/8 A#4:1/8"),
        ("^F F' | F", "F#4:1/8 F#5:1/8 F4:1/8"),
        ("A>B c<d e>>f", "A4:3/16 B4:1/16 C5:1/16 D5:3/16 E5:7/32 F5:1/32"),
        ("A >.B", "A4:3/16 B4:1/16"),
        ("(3ABc d", "A4:1/12 B4:1/12 C5:1/12 D5:1/8"),
        ("((3ABc) (3:2:2 A2B d", "A4:1/12 B4:1/12 C5:1/12 A4:1/6 B4:1/12 D5:1/8"),
        ("A2-A B-c", "A4:3/8 B4:1/8 C5:1/8"),
        ("A2-|A2", "A4:1/2"),
        ('"Am"A {gf}B !trill!c ~d vA', "A4:1/8 B4:1/8 C5:1/8 D5:1/8 A4:1/8"),
        ("[Ace]2 [A2c2]", "E5:1/4 C5:1/4"),
        ("A [K:D] F [L:1/4] F", "A4:1/8 F#4:1/8 F#4:1/4"),
        ("A|[M:3/4] Z2 |", "A4:1/8 r:3/2"),
        ("|: A :|1 B :|2 c |]\nw: la la\nd:|", "A4:1/8 B4:1/8 C5:1/8 D5:1/8"),
        ("A % a comment B\n\nC D E", "A4:1/8"),
        ("V:1\nA\nV:2\nB", "A4:1/8"),
    ],
)
def test_abc_is_read_as_the_standard_says(abc: str, expected: str) -> None:
    assert events(abc) == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("C", {}),
        ("none", {}),
        ("", {}),
        ("G", {"F": 1}),
        ("Dm", {"B": -1}),
        ("F#m", {"F": 1, "C": 1, "G": 1}),
        ("Eb", {"B": -1, "E": -1, "A": -1}),
        ("AMix", {"F": 1, "C": 1}),
        ("E Dorian", {"F": 1, "C": 1}),
        ("Amin", {}),
        ("D ^g", {"F": 1, "C": 1, "G": 1}),
    ],
)
def test_keys_have_their_signatures(key: str, expected: dict[str, int]) -> None:
    assert key_signature(key) == expected


def test_unit_length_follows_the_metre_where_none_is_given() -> None:
    assert events("A", "X:1\nM:2/4\nK:C\n") == "A4:1/16"
    assert events("A", "X:1\nM:6/8\nK:C\n") == "A4:1/8"


@pytest.mark.parametrize(
    ("tune", "fault"),
    [("K:H\nA", "is no key"), ("L:1/0\nK:C\nA", "1"), ("K:C\nA0", "length 0")],
)
def test_a_tune_that_cannot_be_read_says_why_and_spares_the_others(tune: str, fault: str) -> None:
    tunes = list(read_abc(f"X:1\n{tune}\n\nX:2\nK:C\nA\n"))
    assert fault in (tunes[0].fault or "")
    assert tunes[1].fault is None
    assert tunes[1].line == tune.count("\n") + 4


@given(EVENTS)
def test_abc_that_was_written_is_read_back(text: str) -> None:
    assert events(write_abc(text, "t"), "") == text


@settings(max_examples=8, deadline=None)
@given(EVENTS)
def test_midi_that_was_written_is_read_back_by_music21(text: str) -> None:
    from music21 import midi

    file = midi.MidiFile()
    file.readstr(write_midi(text, quarters_a_minute=90, program=21))
    tick = 0
    heard: list[tuple[int, ...]] = []
    for event in file.tracks[0].events:
        tick += event.time if event.isDeltaTime() else 0
        if event.isNoteOn():
            heard.append((event.pitch, tick))
        elif event.isNoteOff():
            heard[-1] = (*heard[-1], tick)
    assert file.ticksPerQuarterNote == 480
    time = Fraction(0)
    expected: list[tuple[int, ...]] = []
    for word in text.split():
        pitch, duration = parse_event(word) or (None, Fraction(0))
        start, time = round(time * 1920), time + duration
        if pitch is not None:
            expected.append((pitch, start, round(time * 1920)))
    assert heard == expected


def test_midi_and_musicxml_files_are_data(tmp_path: Path) -> None:
    text = "C5:1/4 D#5:1/8 r:1/8 G4:3/8 A4:1/8"
    (tmp_path / "a.mid").write_bytes(write_midi(text))
    (tmp_path / "b.abc").write_text(write_abc("C4:1 D4:1"), encoding="utf-8")
    (tmp_path / "d.txt").write_text("E4:1/4 F4:1/4\nG4:1/4 r:1/4 A4:1/2\n", encoding="utf-8")
    from music21 import note, stream

    part = stream.Part([note.Note("E4", quarterLength=2), note.Rest(quarterLength=2)])
    stream.Score([part]).write("musicxml", tmp_path / "c.musicxml")
    task = make_task("tokengym/Melodies-v0", data=str(tmp_path))
    assert task.data is not None
    assert task.data.texts[:3] == [text, "C4:1 D4:1", "E4:1/2"]
    assert task.data.texts[3:] == ["E4:1/4 F4:1/4", "G4:1/4 r:1/4 A4:1/2"]


def test_of_what_sounds_at_once_the_highest_is_read(tmp_path: Path) -> None:
    from music21 import chord, note, stream

    part = stream.Part()
    part.insert(0, chord.Chord(["C4", "E4", "G4"], quarterLength=2))
    part.insert(1, note.Note("A4", quarterLength=1))  # cuts the chord short
    part.insert(2, note.Note("C5", quarterLength=1))
    part.insert(2, note.Note("D4", quarterLength=2))  # below the other
    part.insert(4, note.Note("F4", quarterLength=4))
    part.write("midi", tmp_path / "a.mid")
    assert melodies.load_melodies(str(tmp_path)) == (["G4:1/4 A4:1/4 C5:1/4 r:1/4 F4:1"], 0)


def test_our_reading_of_abc_is_music21s_where_there_are_no_accidentals() -> None:
    from music21 import converter

    folder = melody_files._music21_folder() / "corpus"
    text = (folder / "essenFolksong" / "ballad10.abc").read_text(encoding="utf-8")
    compared = 0
    for abc in [f"X:{rest}" for rest in text.split("X:")[1:]]:
        body = abc.partition("K:")[2]
        if compared == 12 or any(sign in body for sign in "^_="):
            continue
        part = converter.parse(abc, format="abc").parts[0].stripTies(matchByPitch=True)
        theirs = [
            (None if n.isRest else n.pitch.midi, Fraction(n.quarterLength) / 4)
            for n in part.flatten().notesAndRests
        ]
        (tune,) = read_abc(abc)
        assert tune.events == theirs, abc
        compared += 1
    assert compared == 12


@pytest.mark.parametrize(("name", "least"), [("essen", 8000), ("oneill", 1500), ("ryan", 800)])
def test_collections_are_real_unique_and_playable(name: str, least: int) -> None:
    task = make_task("tokengym/Melodies-v0", data=name)
    assert task.data is not None
    assert len(set(task.data.texts)) == len(task.data) >= least
    assert all(parse_event(token) for token in task.vocabulary.tokens[:-1])
    pitches = [parse_event(w) for text in task.data.texts[:200] for w in text.split()]
    sounding = [event[0] for event in pitches if event is not None and event[0] is not None]
    assert 60 < np.mean(sounding) < 80  # folk tunes are sung and fiddled around C5
    assert task.max_length == 128


def test_the_cache_gives_what_the_files_give_and_is_fast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cold = melody_files._cached_collection.__wrapped__("ryan")
    assert [path.suffix for path in (tmp_path / "tokengym").iterdir()] == [".txt"]
    start = time.process_time()
    assert melody_files._cached_collection.__wrapped__("ryan") == cold
    assert time.process_time() - start < 0.5
    blocked = tmp_path / "file"
    blocked.write_text("in the way of a folder", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert melody_files._cached_collection.__wrapped__("ryan") == cold


def test_the_environment_writes_a_melody() -> None:
    with gym.make("tokengym/Melodies-v0", data="ryan", render_mode="rgb_array") as env:
        env.reset(seed=0, options={"prompt": "D5:1/8 A5:1/8"})
        task = make_task("tokengym/Melodies-v0", data="ryan")
        _, reward, ended, _, info = env.step(np.int64(task.vocabulary.eos or 0))
        assert (reward, ended, info["text"]) == (1.0, True, "D5:1/8 A5:1/8")
        picture = env.render()
        assert isinstance(picture, np.ndarray)
        assert picture.dtype == np.uint8


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.abc", "X:1\nK:H\nA", "the tune at line 1: 'H' is no key"),
        ("a.abc", "", "there is no note"),
        ("a.txt", "C4:1 D4:1\nC4:1 nonsense", "line 2: 'nonsense' is no event"),
        ("a.txt", "r:1", "no note"),
        ("a.mid", "no midi", "music21 cannot read"),
        ("a.musicxml", "<score", "music21 cannot read"),
    ],
)
def test_files_that_hold_no_melody_are_errors_that_say_so(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        make_task("tokengym/Melodies-v0", data=str(path))


def test_what_cannot_be_used_is_left_out_and_counted_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.abc"
    path.write_text("X:1\nK:H\nA\n\nX:2\nK:C\nABc\n\nX:3\nK:C\nABcABcABc\n", encoding="utf-8")
    with pytest.warns(UserWarning, match=r"left out 1 t"):
        task = make_task("tokengym/Melodies-v0", data=str(path), skip_invalid=True, max_length=5)
    assert task.data is not None
    assert task.data.texts == ["A4:1/8 B4:1/8 C5:1/8"]
    for data in (str(tmp_path / "none.abc"), str(tmp_path / "none.mid")):
        with pytest.raises(DataError, match="there is no file"):
            make_task("tokengym/Melodies-v0", data=data)
