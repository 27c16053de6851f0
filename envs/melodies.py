"""Melodies: the task of writing one.

An event is a token: a pitch and a duration, ``C5:1/8``, or a rest, ``r:1/4`` (rewards.melodies says
it exactly). Keys, metres and bars are left out: an event means the same wherever it stands.
"""

from __future__ import annotations

import warnings
from functools import lru_cache, partial

from ..rewards import RewardSpec, make_reward
from ..rewards.files import file_stamp
from ..rewards.melodies import canonical_melody
from .drawing import draw_melody
from .encoding import encode_data, vocabulary_of
from .melody_files import COLLECTIONS, load_melodies
from .task import Task
from .vocabulary import Vocabulary

__all__ = ["COLLECTIONS", "draw_melody", "load_melodies", "melodies"]

_BUILT_IN_LENGTH = 128  # nine of ten tunes fit; the longest has 725 events


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
        vocabulary = vocabulary_of(texts, "words")
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


def _melody_texts(data: str, skip_invalid: bool) -> tuple[str, ...]:
    return _read_once(data, skip_invalid, file_stamp(data))


@lru_cache(maxsize=4)
def _read_once(data: str, skip_invalid: bool, stamp: tuple[int, int]) -> tuple[str, ...]:
    texts, left_out = load_melodies(data, skip_invalid=skip_invalid)
    if left_out:
        warnings.warn(f"{data}: left out {left_out} tunes that cannot be read", stacklevel=5)
    return tuple(texts)
