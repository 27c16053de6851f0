"""Melody objectives: by hand on short melodies, real tunes against random ones, transposition."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import pytest
import tokengym
from tokengym.envs.melodies import load_melodies
from tokengym.rewards.melodies import MelodyObjective, parse_event, read_melody, spell_event
from tokengym.rewards.melody_shapes import (
    CorpusCloseness,
    MotifRepetition,
    PitchRange,
    RhythmEntropy,
    motifs,
)

NAMES = [
    *("tonality", "melodicity", "ratio_of_steps"),
    *("pitch_range", "rhythm_entropy", "motif_repetition", "corpus_closeness"),
]
FRERE = "C4:1/4 D4:1/4 E4:1/4 C4:1/4 C4:1/4 D4:1/4 E4:1/4 C4:1/4 E4:1/4 F4:1/4 G4:1/2"


def named(name: str, **options: object) -> MelodyObjective:
    if name == "corpus_closeness":
        options = {"reference": [FRERE], **options}
    written = ", ".join(f"{key}={value!r}" for key, value in options.items())
    made = tokengym.make_reward(f"{name}({written})")
    assert isinstance(made, MelodyObjective)
    return made


def transposed(text: str, by: int) -> str:
    events = [(None if pitch is None else pitch + by, d) for pitch, d in read_melody(text)]
    return " ".join(spell_event(pitch, duration) for pitch, duration in events)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("tonality", "C4:1 G4:1 C4:1 D4:1", 2 / 3),
        ("tonality", "C4:1 r:1 G4:1", 1.0),  # an interval reaches over a rest
        # up a third, a sixth, down an octave, the same again, a tritone, a second, a tenth
        ("melodicity", "C4:1 E4:1 C5:1 C4:1 C4:1 F#4:1 E4:1 G5:1", 4 / 7),
        ("melodicity", "C4:1 C4:1 C4:1", 0.0),
        # C D E is of the scale, C C# D is not: whichever scale is taken, it lacks one of them
        ("ratio_of_steps", "C4:1 D4:1 E4:1 F4:1", 1.0),
        ("ratio_of_steps", "C4:1 C#4:1 D4:1 D#4:1 E4:1", 1 / 4),  # D#-E alone, in E major
        ("ratio_of_steps", FRERE, 6 / 10),
        ("ratio_of_steps", "C4:1 E4:1 G4:1 C5:1", 0.0),
        ("pitch_range", "C4:1 C4:1", 0.0),
        ("pitch_range", "C4:1 D4:1", 2 / 5),
        ("pitch_range", "C4:1 C5:1 D4:1", 1.0),
        ("pitch_range", "C2:1 C4:1", 2 - 24 / 19),
        ("pitch_range", "C2:1 C6:1", 0.0),
        ("rhythm_entropy", "C4:1 D4:1 E4:1", 0.0),
        ("rhythm_entropy", "C4:1 D4:1/2 r:1 E4:2/4", 1 / 3),  # one bit of three
        ("rhythm_entropy", " ".join(f"C4:1/{n}" for n in range(1, 17)), 1.0),  # four bits
        ("motif_repetition", "C4:1 D4:1 E4:1 F4:1", 0.0),
        ("motif_repetition", "C4:1 C4:1 C4:1 C4:1 C4:1", 1 / 2),
        ("motif_repetition", "C4:1 D4:1 E4:1", 0.0),  # shorter than a motif
        ("motif_repetition", FRERE, 1 / 8),  # C D E C, twice
        ("corpus_closeness", FRERE, 1.0),
        ("corpus_closeness", "D4:1 E4:1 F#4:1 D4:1", 1.0),  # higher and slower
        ("corpus_closeness", "C4:1/4 D4:1/4 E4:1/4 C4:1/4 B4:1/4", 1 / 2),
        ("corpus_closeness", "C4:1/4 D4:1/4 E4:1/4 C4:1/2", 0.0),  # another rhythm
    ],
)
def test_by_hand(name: str, text: str, value: float) -> None:
    assert named(name).score_texts([text]) == [pytest.approx(value)]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_melody_of_two_notes_is_worth_nothing(name: str) -> None:
    texts = ["", "C4:1", "r:1 r:1", "C4:1 r:1", "C4:1 G4:1 x", "C4 G4"]
    assert named(name).score_texts(texts) == [0.0] * len(texts)


def test_motifs_know_intervals_and_ratios_of_durations() -> None:
    tune = read_melody("C4:1/4 r:1 E4:3/8 D4:1/12 D4:1/12")
    assert motifs(tune, 3) == [((4, 2, 3), (-2, 9, 2)), ((-2, 9, 2), (0, 1, 1))]
    assert motifs(tune, 5) == []


def test_options_change_the_value() -> None:
    assert PitchRange(low=4, high=6).score_texts(["C4:1 D4:1", "C4:1 A4:1"]) == [0.5, 0.5]
    assert RhythmEntropy(bits=2).score_texts(["C4:1 D4:1/2"]) == [0.5]
    assert MotifRepetition(length=2).score_texts(["C4:1 D4:1 E4:1"]) == [0.5]


def test_bad_options_say_what_is_expected(tmp_path: Path) -> None:
    bad: list[tuple[Callable[[], object], str]] = [
        (lambda: PitchRange(low=9, high=5), "low is 9 and high 5; expected 0 < low <= high"),
        (lambda: RhythmEntropy(bits=0), "bits is 0; expected more than 0"),
        (lambda: MotifRepetition(length=1), "length is 1; expected 2 notes or more"),
        (lambda: CorpusCloseness(["C4:1 D4:1"]), "no melody of 4 notes"),
        (lambda: CorpusCloseness([]), "is empty"),
    ]
    for make, message in bad:
        with pytest.raises(ValueError, match=message):
            make()
    path = tmp_path / "tunes.txt"
    path.write_text(f"\n{FRERE}\n", encoding="utf-8")
    assert named("corpus_closeness", reference=str(path)).score_texts([FRERE]) == [1.0]


def real_and_random(count: int) -> tuple[list[str], list[str]]:
    """Folk songs, and as many uniformly random events of theirs, of the same lengths."""
    pytest.importorskip("music21")
    rng = random.Random(0)
    real = rng.sample(load_melodies("ryan")[0], count)
    events = sorted({word for text in real for word in text.split()})
    drawn = [" ".join(rng.choice(events) for _ in text.split()) for text in real]
    return real, drawn


def test_in_range_and_blind_to_transposition_and_to_the_batch() -> None:
    real, drawn = real_and_random(40)
    texts = [text for text in real + drawn if all(parse_event(w) for w in text.split())]
    for name in NAMES:
        reward = named(name, memo=False)
        values = [value for value in reward.score_texts(texts) if value is not None]
        assert all(0 <= value <= 1 for value in values)
        assert len(values) == 80
        assert reward.score_texts([transposed(text, -3) for text in texts]) == values
        assert [v for text in reversed(texts) for v in reward.score_texts([text])] == values[::-1]


def test_real_tunes_against_random_events() -> None:
    real, drawn = real_and_random(200)
    halves = real[:100], real[100:]
    means = {
        name: [fmean(v for v in reward.score_texts(t) if v is not None) for t in (halves[1], drawn)]
        for name in NAMES
        for reward in [named(name, reference=halves[0]) if "closeness" in name else named(name)]
    }
    for name in ("ratio_of_steps", "pitch_range", "motif_repetition", "corpus_closeness"):
        of_real, of_random = means[name]
        assert of_real > of_random + 0.1, name
    # ORGAN's two ask for leaps, of which random events have more
    for name in ("tonality", "melodicity", "rhythm_entropy"):
        of_real, of_random = means[name]
        assert of_real < of_random, name
    assert not any(math.isnan(mean) for pair in means.values() for mean in pair)
