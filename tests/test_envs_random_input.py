"""Random bytes, texts and options at tokenisers, loaders, reset and step: 10,000 cases.

They see only documented errors.
"""

# Shapes: B environments, T steps

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import tokengym
from gymnasium.vector import AutoresetMode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokengym import Task, TokenEnv, TokenVecEnv, TokenVectorEnv
from tokengym.envs import DataError, UnknownTokenError, Vocabulary, make_task, read_lines
from tokengym.envs.abc_notation import read_abc
from tokengym.envs.drawing import HEIGHT, WIDTH, draw_melody
from tokengym.envs.melodies import load_melodies
from tokengym.rewards.melodies import parse_event, pitches_of, read_melody

pytest.importorskip("music21")


def cases(number: int) -> settings:
    # The folder of a test is one for all of its cases: each writes its file anew.
    return settings(
        max_examples=number,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


TOKENISATIONS = st.sampled_from(["characters", "smiles", "selfies", "words"])
ANY_TEXT = st.text(st.characters(), max_size=20)  # lone surrogates too
MUSIC = st.text(alphabet="ABCabcdGz^_=,'/0123456789>< |:[](){}-\"!+KLMVXw:\n%#m~", max_size=60)
EVENTS = st.lists(
    st.sampled_from(["C4:1", "r:1/8", "A#5:3/16", "C4:0", "H:1", ":", "C99:1", "C4:99999/1"])
    | st.text(max_size=6),
    max_size=6,
).map(" ".join)


@pytest.mark.slow
@cases(2000)
@given(texts=st.lists(ANY_TEXT, max_size=4), kind=TOKENISATIONS, end=st.booleans())
def test_texts_at_tokenisers(texts: list[str], kind: str, end: bool) -> None:
    vocabulary = Vocabulary.from_tokens(["a", "b", "[a]", "Cl"], kind)  # type: ignore[arg-type]
    unknown = [place for place in map(vocabulary.first_unknown, texts) if place is not None]
    if unknown:
        with pytest.raises(UnknownTokenError) as caught:
            vocabulary.encode(texts, end=end)
        assert (caught.value.position, caught.value.token) == unknown[0]
        return
    sequences = vocabulary.encode(texts, end=end)
    separator = " " if kind == "words" else ""
    assert sequences.texts == [separator.join(vocabulary.tokenize(text)) for text in texts]


@cases(700)
@given(text=ANY_TEXT | st.binary(max_size=40).map(lambda b: b.decode("latin-1")))
def test_texts_at_the_reader_of_vocabularies(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Vocabulary.from_json(text)


@cases(800)
@given(texts=st.lists(ANY_TEXT, max_size=4), kind=TOKENISATIONS)
def test_texts_as_a_corpus(texts: list[str], kind: str) -> None:
    try:
        vocabulary = Vocabulary.from_corpus(texts, kind)  # type: ignore[arg-type]
        again = Vocabulary.from_json(vocabulary.to_json())
    except ValueError:  # nothing in it, a special token in it, or what UTF-8 cannot hold
        return
    assert again == vocabulary


@pytest.mark.slow
@cases(1100)
@given(
    data=st.binary(max_size=60) | ANY_TEXT.map(lambda text: text.encode("utf-8", "replace")),
    name=st.sampled_from(["a.smi", "a.csv", "a.txt", "a.csv.gz", "a.gz", "a.parquet", "a"]),
    column=st.none() | st.text(max_size=5),
    packed=st.booleans(),
)
def test_bytes_at_the_reader_of_files(
    tmp_path: Path, data: bytes, name: str, column: str | None, packed: bool
) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if packed else data)
    try:
        lines = read_lines(path, column)
    except DataError:
        return
    assert all(line.text for line in lines)


@cases(1300)
@given(text=MUSIC | MUSIC.map("X:1\nK:C\n".__add__))
def test_texts_at_the_reader_of_abc(text: str) -> None:
    for tune in read_abc(text):
        assert tune.fault or all(duration > 0 for _, duration in tune.events)


@cases(500)
@given(text=EVENTS)
def test_texts_at_the_readers_of_events(text: str) -> None:
    if None not in map(parse_event, text.split()):
        assert len(pitches_of(read_melody(text))) == sum(w[0] != "r" for w in text.split())
    assert draw_melody(text).shape == (HEIGHT, WIDTH, 3)


@cases(400)
@given(
    data=st.binary(max_size=60) | (MUSIC | EVENTS).map(str.encode),
    name=st.sampled_from(["a.abc", "a.txt"]),
    skip=st.booleans(),
)
def test_bytes_at_the_loader_of_melodies(
    tmp_path: Path, data: bytes, name: str, skip: bool
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    try:
        texts, _ = load_melodies(str(path), skip_invalid=skip)
    except DataError:
        return
    assert all(parse_event(word) for text in texts for word in text.split())


@cases(100)
@given(
    data=st.binary(max_size=60),
    name=st.sampled_from(["a.mid", "a.musicxml", "a.mxl"]),
    header=st.sampled_from([b"", b"MThd\0\0\0\6\0\0\0\1\1\xe0MTrk\0\0\0\x20", b"<score>", b"PK"]),
)
def test_bytes_at_music21(tmp_path: Path, data: bytes, name: str, header: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(header + data)
    try:
        load_melodies(str(path))
    except DataError:
        return


@cases(200)
@given(
    data=st.binary(max_size=60) | st.text(alphabet="CNO()=1c[]\n,", max_size=30).map(str.encode),
    name=st.sampled_from(["a.smi", "a.csv", "a.txt"]),
    task=st.sampled_from(["Molecules", "Text"]),
    max_length=st.none() | st.integers(-1, 5),
)
def test_bytes_at_the_tasks(
    tmp_path: Path, data: bytes, name: str, task: str, max_length: int | None
) -> None:
    pytest.importorskip("rdkit")
    path = tmp_path / name
    path.write_bytes(data)
    try:
        made = make_task(f"tokengym/{task}-v0", data=str(path), max_length=max_length)
    except ValueError:  # DataError is one
        return
    assert made.data is not None
    assert made.data.tokens_BT.shape[1] == made.max_length


# --- expressions, reset and step ------------------------------------------------------------------


@cases(300)
@given(
    text=ANY_TEXT
    | st.lists(
        st.sampled_from(["selfies", "no_repetition", "valid", "qed", "os:system", "a:b.c", "0.5"])
        | st.sampled_from([*"()[]&*+-,='1", " ", "n=", "minimum_length"]),
        max_size=8,
    ).map("".join)
)
def test_texts_as_names_of_constraints_and_rewards(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(tokengym.make_constraint(text), tokengym.Constraint)
    with contextlib.suppress(ValueError):
        assert isinstance(tokengym.make_reward(text), tokengym.Reward)


SMILES = Vocabulary.from_tokens([*"CNOF()=#12cn"], "smiles")


def small_task(constraint: str | None) -> Task:
    reward = tokengym.make_reward(lambda texts: [len(text) / 10 for text in texts])
    made = None if constraint is None else tokengym.make_constraint(constraint)
    return Task(name="Small", vocabulary=SMILES, max_length=8, reward=reward, constraint=made)


TASKS = [
    small_task(None),
    small_task("smiles_syntax(on_empty='raise')"),
    small_task("balanced_brackets(on_empty='raise', on_forbidden='raise')"),
]
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 30),
    st.integers(),
    st.floats(),
    st.text(max_size=6),
    st.binary(max_size=4),
    st.lists(st.integers(-3, 20), max_size=3),
)
PROMPTS = st.one_of(ANYTHING, st.text(alphabet="CNOF()=#12cn", max_size=9))
OPTIONS = st.one_of(
    st.none(),
    st.fixed_dictionaries({}, optional={"prompt": PROMPTS, "reset_mask": ANYTHING}),
    st.fixed_dictionaries({"prompt": st.lists(PROMPTS, min_size=2, max_size=2)}),
    st.dictionaries(st.text(max_size=3), ANYTHING, max_size=2),
)
SEEDS = st.none() | st.integers() | st.text(max_size=2)
ACTIONS = st.one_of(st.lists(st.integers(0, 12), min_size=2, max_size=2), ANYTHING)
DOCUMENTED = (ValueError, TypeError, gym.error.Error)


@pytest.mark.slow
@cases(1200)
@given(
    task=st.sampled_from(TASKS),
    seed=SEEDS,
    options=OPTIONS,
    actions=st.lists(st.integers(0, 12) | ANYTHING, max_size=10),
)
def test_anything_at_the_single_form(
    task: Task, seed: Any, options: Any, actions: list[Any]
) -> None:
    env = TokenEnv(task)
    with contextlib.suppress(*DOCUMENTED):
        env.reset(seed=seed, options=options)
    for action in actions:
        try:
            observation, reward, terminated, truncated, _ = env.step(action)
        except DOCUMENTED:
            continue
        assert observation in env.observation_space
        assert isinstance(reward, float)
        assert not truncated
        if terminated:
            env.reset()


@pytest.mark.slow
@cases(1000)
@given(
    task=st.sampled_from(TASKS),
    mode=st.sampled_from(list(AutoresetMode)),
    seed=SEEDS,
    options=OPTIONS,
    steps=st.lists(ACTIONS, max_size=10),
)
def test_anything_at_the_vector_form(
    task: Task, mode: AutoresetMode, seed: Any, options: Any, steps: list[Any]
) -> None:
    env = TokenVectorEnv(task, 2, autoreset_mode=mode)
    with contextlib.suppress(*DOCUMENTED):
        env.reset(seed=seed, options=options)
    for actions in steps:
        try:
            observations_BT, *_ = env.step(actions)
        except DOCUMENTED:
            continue
        assert observations_BT in env.observation_space


@cases(400)
@given(
    task=st.sampled_from(TASKS),
    options=st.lists(OPTIONS.map(lambda found: found or {}), min_size=2, max_size=2),
    steps=st.lists(ACTIONS, max_size=6),
)
def test_anything_at_the_form_of_stable_baselines3(
    task: Task, options: list[dict[str, Any]], steps: list[Any]
) -> None:
    env = TokenVecEnv(TokenVectorEnv(task, 2))
    env.set_options(options)
    with contextlib.suppress(*DOCUMENTED):
        env.reset()
    for actions in steps:
        try:
            observations_BT, *_ = env.step(actions)
        except DOCUMENTED:
            continue
        assert observations_BT in env.env.observation_space


def test_there_are_ten_thousand_cases() -> None:
    tests: list[Callable[..., None]] = [f for n, f in globals().items() if n.startswith("test_")]
    asked = [getattr(test, "_hypothesis_internal_use_settings", None) for test in tests]
    assert sum(found.max_examples for found in asked if found is not None) == 10_000
