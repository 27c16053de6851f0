"""Objectives: each kind of failure is named, budgets count what is different, state goes on."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from tokengym.envs import Task, TokenEnv, TokenVectorEnv, Vocabulary, make_task
from tokengym.rewards import BudgetExhausted, FunctionObjective, ObjectiveError, Reward, objective
from tokengym.rewards.failures import WINDOW, Failures
from tokengym.rewards.melodies import canonical_melody
from tokengym.rewards.molecules import QED

# --- what is a score, and what is none ---------------------------------------------------------

NUMBERS: list[Any] = [
    1, 1.0, True, np.float32(1), np.int8(1), np.bool_(True), np.array(1.0), torch.tensor(1.0),
    torch.tensor(1), torch.tensor(True), Fraction(1), Decimal(1),
]  # fmt: skip
NO_NUMBERS: list[Any] = [
    "1", b"1", np.str_("1"), 1j, np.complex128(1), np.complex64(1), [1.0], (1.0,), {},
    np.array([1.0]), torch.ones(1), object(), math.nan, math.inf, -math.inf, np.float64("nan"),
    torch.tensor(1e39), 1e39, 10**400, Decimal("NaN"), np.float64(1e300),
]  # fmt: skip


def returning(value: object) -> FunctionObjective:
    def mine(texts: list[str]) -> Any:
        return [0.5 if text == "good" else value for text in texts]

    return FunctionObjective(mine)


@pytest.mark.parametrize("value", NUMBERS, ids=lambda v: f"{type(v).__name__} {v!r}")
def test_numbers_of_every_kind_are_scores(value: object) -> None:
    assert returning(value).score_texts(["a", "good"]) == [1.0, 0.5]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda v: f"{type(v).__name__} {v!r}"[:16])
def test_what_is_no_number_is_named_with_its_sequence(value: object) -> None:
    kind = type(value).__name__
    with pytest.raises(ObjectiveError) as caught:
        returning(value).score_texts(["good", "bad", "worse"])
    assert str(caught.value).startswith(f"objective 'mine' returned {value!r} ({kind}) for 'bad';")


@pytest.mark.parametrize(
    "batch",
    [
        lambda texts: np.array([1.0, 0.5]),
        lambda texts: torch.tensor([1.0, 0.5]),
        lambda texts: (1.0, 0.5),
        lambda texts: iter([1.0, 0.5]),
        lambda texts: (x for x in [1.0, 0.5]),
    ],
)
def test_batches_of_scores(batch: Callable[[list[str]], Any]) -> None:
    assert FunctionObjective(batch).score_texts(["a", "b"]) == [1.0, 0.5]


@pytest.mark.filterwarnings("ignore:objective")
@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (lambda texts: 0.5, r"returned 0.5 .float. for 'a'"),
        (lambda texts: None, "returned None .* for 'a'"),
        (lambda texts: "ab", r"returned 'ab' .str. for 'a'"),
        (lambda texts: {"a": 1.0, "b": 0.5}, "returned {'a': 1.0, 'b': 0.5} .* for 'a'"),
        (lambda texts: {1.0, 0.5}, "returned {.* .set. for 'a'"),
        (lambda texts: torch.tensor(0.5), r"returned 0.5 .float. for 'a'"),
        (lambda texts: [1.0, 0.5, 0.0], "returned 3 scores for 1 sequences for 'a'"),
        (lambda texts: [], "returned 0 scores for 1 sequences for 'a'"),
        (lambda texts: (1 / 0 for _ in texts), "raised ZeroDivisionError.* for 'a'"),
    ],
)
def test_what_is_no_batch_of_scores_is_named_with_its_first_sequence(
    batch: Callable[[list[str]], Any], message: str
) -> None:
    with pytest.raises(ObjectiveError, match=f"objective 'mine' {message}"):
        FunctionObjective(batch, name="mine").score_texts(["a", "b"])
    assert FunctionObjective(batch, on_error="skip").score_texts(["a", "b"]) in (
        [None, None],
        [1.0, 1.0],  # asked for one at a time, three scores are two too many, one is right
    )


def test_an_exception_about_one_text_names_that_text() -> None:
    @objective(per_sequence=True)
    def inverse(text: str) -> float:
        return 1 / len(text)

    message = "objective 'inverse' raised ZeroDivisionError: division by zero for ''"
    with pytest.raises(ObjectiveError, match=message) as info:
        inverse.score_texts(["a", "", "b"])
    assert isinstance(info.value.__cause__, ZeroDivisionError)

    class Fragile(QED):
        def value(self, molecule: Any) -> float:
            raise RuntimeError("the laboratory is closed")

    with pytest.raises(ObjectiveError, match="RuntimeError: the laboratory is closed for 'CCO'"):
        Fragile().score_texts(["xx", "CCO", "CC"])


def test_a_canonical_form_that_raises_is_named() -> None:
    reward = FunctionObjective(len, name="mine", canonical=lambda text: text[0])
    message = "'mine' has a canonical form that raised IndexError: .* for ''; let it return a text"
    with pytest.raises(ObjectiveError, match=message):
        reward.score_texts(["a", ""])


def test_wrong_options_are_named() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"on_error": "ignore"}, "on_error is 'ignore'"),
        ({"budget": 0}, "budget is 0"),
        ({"max_failed_share": 2}, "max_failed_share is 2"),
        ({"canonical": "smiles"}, "canonical is 'smiles'"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            FunctionObjective(len, **options)


# --- the share of failures ---------------------------------------------------------------------


def test_the_window_counts_the_last_sequences() -> None:
    failures = Failures(0.5)
    failures.count(WINDOW - 1, WINDOW - 1)
    failures.ensure_few("mine")  # not enough to tell
    failures.count(1, 1)
    again = Failures(0.5)
    again.restore(failures.state())
    with pytest.raises(ObjectiveError, match="'mine' failed on 256 of the last 256 sequences"):
        again.ensure_few("mine")
    failures.count(WINDOW - 1, 0)
    failures.ensure_few("mine")  # the oldest call went, 1 of 256 is left
    failures.count(10, 10)
    again = Failures(0.5)
    again.restore(failures.state())
    assert again.state() == failures.state()


def small_task(reward: Reward) -> Task:
    vocabulary = Vocabulary.from_tokens(["a", "b"], "characters", eos=False)
    return Task(name="Small", vocabulary=vocabulary, max_length=10, reward=reward)


def test_too_many_failures_stop_with_the_first_of_them() -> None:
    @objective(per_sequence=True, on_error="skip", max_failed_share=0.5)
    def fussy(text: str) -> float:
        if text.endswith("b"):
            raise RuntimeError("no b")
        return 1.0

    texts = [f"{number}{letter}" for number in range(WINDOW // 2) for letter in "ab"]
    with pytest.warns(UserWarning, match=r"'fussy' raised RuntimeError: no b for '0b'; .*skip"):
        assert fussy.score_texts(texts).count(None) == WINDOW // 2
    fussy.ensure_usable()  # half of them is not more than half
    assert fussy.score_texts(["xb"]) == [None]
    message = (
        r"objective 'fussy' failed on 129 of the last 257 sequences.*max_failed_share=0.5; the "
        "first was '0b', it raised RuntimeError: no b"
    )
    task = small_task(2 * fussy + 1 * fussy)
    with pytest.raises(ObjectiveError, match=message):
        task.score(np.zeros((1, 10), np.int64))
    task.score(np.zeros((1, 10), np.int64))  # said once


def test_a_memo_that_answers_counts_for_an_objective() -> None:
    mostly = FunctionObjective(lambda texts: [None if t == "bad" else 1.0 for t in texts])
    for _ in range(WINDOW):
        mostly.score_texts(["a", "b", "c", "bad"])  # only "bad" is asked for again and again
    mostly.ensure_usable()


# --- budgets -------------------------------------------------------------------------------------


def lowercase(budget: int, **options: Any) -> tuple[FunctionObjective, list[str]]:
    asked: list[str] = []

    def score(texts: list[str]) -> list[float]:
        asked.extend(texts)
        return [float(len(text)) for text in texts]

    return FunctionObjective(score, canonical=str.lower, budget=budget, **options), asked


@pytest.mark.parametrize("memo", [True, False])
def test_a_budget_counts_canonical_forms_once(memo: bool) -> None:
    reward, asked = lowercase(3, memo=memo)
    assert reward.score_texts(["a", "A", "bb", "a"]) == [1.0, 1.0, 2.0, 1.0]
    assert reward.spent == 2
    assert reward.score_texts(["dddd", "eeeee", "BB", "eeeee"]) == [4.0, None, 2.0, None]
    assert reward.spent == 3
    assert "eeeee" not in asked
    assert reward.score_texts(["A", "f"]) == [1.0, None]
    with pytest.raises(BudgetExhausted, match=r"'score' has scored its budget of 3 sequences"):
        (0.5 * reward + reward).ensure_usable()
    assert reward._failures.state()["calls"] == [[4, 0], [2, 0], [1, 0]]  # refusing is no failure


def test_a_warm_memo_makes_no_budget_larger(tmp_path: Any) -> None:
    first, _ = lowercase(9, memo=tmp_path / "a.sqlite", version=1)
    first.score_texts(["a", "b", "c"])
    second, asked = lowercase(2, memo=tmp_path / "a.sqlite", version=1)
    assert second.score_texts(["a", "b", "c"]) == [1.0, 1.0, None]
    assert asked == []


def test_environments_raise_when_a_budget_is_spent() -> None:
    def write(env: gym.Env[Any, Any], token: int) -> tuple[float, dict[str, Any]]:
        env.reset()
        for _ in range(9):
            env.step(token)
        _, value, terminated, _, info = env.step(token)
        assert terminated
        return float(value), info

    reward, _ = lowercase(1)
    env = TokenEnv(small_task(reward))
    assert write(env, 0)[0] == 10.0
    with pytest.raises(BudgetExhausted):
        write(env, 1)

    reward, _ = lowercase(1)
    envs = TokenVectorEnv(small_task(reward), 2)
    envs.reset()
    for _ in range(10):
        _, rewards, _, _, infos = envs.step(np.array([0, 1]))
    assert rewards.tolist() == [10.0, 0.0]
    assert infos["final_info"]["reward_failed"].tolist() == [False, True]
    for _ in range(9):
        envs.step(np.array([0, 0]))
    with pytest.raises(BudgetExhausted):
        envs.step(np.array([0, 0]))


# --- state ---------------------------------------------------------------------------------------


def test_state_goes_on_where_it_was() -> None:
    texts = ["a", "bb", "dddd"]
    first, _ = lowercase(4)
    first.score_texts(texts)
    tensors, state = first.state()
    second, asked = lowercase(4)
    second.restore(tensors, state)
    assert second.score_texts(["BB", "x", "y"]) == [2.0, 1.0, None]
    assert asked == ["x"]
    assert second.spent == 4
    assert second.state()[1]["failures"]["calls"] == [[3, 0], [2, 0]]


def test_scores_of_another_parametrisation_are_not_restored() -> None:
    def adding(number: float) -> FunctionObjective:
        return FunctionObjective(lambda texts: [len(t) + number for t in texts], budget=5)

    first, second = adding(1.0), adding(2.0)
    first.score_texts(["a"])
    second.restore(*first.state())
    assert second.score_texts(["a"]) == [3.0]
    assert second.spent == 1


# --- canonical forms -----------------------------------------------------------------------------


def test_the_tasks_canonical_form_is_taken_where_it_was_asked_for() -> None:
    count = FunctionObjective(lambda texts: [float(len(t)) for t in texts], canonical="task")
    plain = FunctionObjective(lambda texts: [float(len(t)) for t in texts])
    assert count.score_texts(["OCC", "C(C)O"]) == [3.0, 5.0]  # in no task yet: by text
    make_task("tokengym/Molecules-v0", reward=2 * count + plain * count)
    assert count.score_texts(["OCC", "C(C)O", "C(", "CCO"]) == [3.0, 3.0, 2.0, 3.0]
    assert plain.score_texts(["OCC", "C(C)O"]) == [3.0, 5.0]
    small_task(count)  # has no canonical form
    assert count.score_texts(["OCC", "C(C)O"]) == [3.0, 5.0]


def test_a_melody_is_its_transposition() -> None:
    assert canonical_melody("C4:1/8 r:1/4 E4:1/8 B3:1/2") == "C#-1:1/8 r:1/4 F-1:1/8 C-1:1/2"
    assert canonical_melody("D4:1/8 r:1/4 F#4:1/8 C#4:1/2") == "C#-1:1/8 r:1/4 F-1:1/8 C-1:1/2"
    assert canonical_melody("C-1:1 G9:1") == "C-1:1 G9:1"  # as wide as MIDI is
    for text in ("C4:1/8", "D4:1/4 D5:1/4"):
        form = canonical_melody(text)
        assert form is not None
        assert canonical_melody(form) == form
    different = ["C4:1/8 D4:1/8", "C4:1/8 E4:1/8", "C4:1/8 D4:1/4", "C4:1/8 r:1/8 D4:1/8"]
    assert len(set(map(canonical_melody, different))) == len(different)
    assert [canonical_melody(text) for text in ("", "r:1/4", "C4:1/8 H4:1/8")] == [None] * 3


def test_every_component_says_how_long_it_took() -> None:
    ticks = FunctionObjective(lambda texts: [sum(range(10**5)) * 0.0 for _ in texts], name="slow")
    quick = FunctionObjective(lambda texts: [0.0 for _ in texts], name="quick")
    sequences = Vocabulary.from_tokens(["a"], "characters").encode(["a", "aa", "aaa"])
    reward = ticks + quick * ticks
    reward(sequences)
    found = {name: reward.take_statistics() for name, reward in reward.named().items()}
    assert found["slow"]["milliseconds"] > found["quick"]["milliseconds"] > 0
    assert found["slow"]["memo_hits"] == 3
    assert ticks.take_statistics() == {"milliseconds": 0.0, "memo_hits": 0}


def test_a_form_and_a_text_without_one_are_told_apart() -> None:
    forms = {"abc": None, "ABC!": "abc", "": "", "empty": ""}
    reward = FunctionObjective(
        lambda texts: [float(ord(text[0])) if text else 0.0 for text in texts], canonical=forms.get
    )
    assert reward.score_texts(["abc", "ABC!"]) == [97.0, 65.0]
    assert reward.score_texts(["empty", ""]) == [101.0, 101.0]
