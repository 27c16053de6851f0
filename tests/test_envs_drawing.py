"""Pictures show what was written, and keep their size while it is written."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import tokengym
from tokengym.envs.drawing import draw_melody, draw_text
from tokengym.envs.registration import BUILT_IN_TASKS


def inked(picture: np.ndarray) -> np.ndarray:
    found: np.ndarray = (picture != 255).any(axis=2)
    return found


def test_a_text_is_written_from_the_upper_left() -> None:
    assert not inked(draw_text("")).any()
    rows, columns = inked(draw_text("word")).nonzero()
    assert 12 <= rows.min() < rows.max() < 12 + 22
    assert 12 <= columns.min() < columns.max() < 12 + 4 * 10
    assert not np.array_equal(draw_text("word"), draw_text("work"))


def test_what_does_not_fit_on_a_line_goes_on_below() -> None:
    rows, columns = inked(draw_text("x" * 60)).nonzero()
    assert rows.max() > 12 + 22
    assert columns.max() < 480 - 12
    short = draw_text("x" * 3000 + " tail")
    assert not np.array_equal(short, draw_text("x" * 3000 + " tale"))  # the end is seen
    assert inked(short).nonzero()[0].max() < 240 - 12


def test_a_piano_roll_shows_each_note_where_it_sounds() -> None:
    # Two octaves from C4 and eight whole notes: 9 rows a semitone, 55 columns a whole note.
    blue = (draw_melody("C4:1 r:1 E4:1") == (31, 78, 121)).all(axis=2)
    assert blue[225 - 9 : 225, 40 : 40 + 54].all()
    assert blue[225 - 45 : 225 - 36, 40 + 110 : 40 + 164].all()
    assert blue.sum() == 2 * 9 * 54


def test_a_piano_roll_makes_room_for_what_is_long_or_high() -> None:
    for text in ("C9:1", "C0:1", "C4:99999", " ".join(["C4:1"] * 128)):
        picture = draw_melody(text)
        assert picture.shape == (240, 480, 3)
        assert (picture == (31, 78, 121)).all(axis=2).any()


@pytest.mark.parametrize("id", BUILT_IN_TASKS)
def test_frames_keep_their_size_and_change(id: str) -> None:
    if id in ("tokengym/Molecules-v0", "tokengym/Melodies-v0"):
        pytest.importorskip("rdkit" if "Mol" in id else "music21")
    task = tokengym.make_task(id)
    assert task.data is not None
    with gym.make(id, render_mode="rgb_array") as env:
        env.reset(seed=0)
        frames = [env.render()]
        longest = task.data.tokens_BT[task.data.lengths_B.argmax()]
        for token in longest[:5].tolist():
            env.step(np.int64(token))
            frames.append(env.render())
    pictures = [frame for frame in frames if isinstance(frame, np.ndarray)]
    assert len(pictures) == 6
    assert {(picture.shape, picture.dtype) for picture in pictures} == {
        (pictures[0].shape, np.dtype(np.uint8))
    }
    assert pictures[0].shape[2] == 3
    assert not np.array_equal(pictures[0], pictures[-1])
