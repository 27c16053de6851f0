"""Failures: the first sequence that fails is named, and told of, whoever scores and however."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tokengym.rewards import FunctionObjective, ObjectiveError, SetObjective, Valid, objective
from tokengym.rewards.failures import first_failures

TEXTS = ["a", "bb", "", "ccc", ""]
quiet = pytest.mark.filterwarnings("ignore:objective")


def inverse(texts: list[str]) -> list[float]:
    return [1 / len(text) for text in texts]


@objective(executor=1, memo=False)
def exits(texts: list[str]) -> list[float]:
    if "" in texts:
        sys.exit(3)
    if "dies" in texts:
        os._exit(9)
    return inverse(texts)


def test_a_batch_that_fails_names_the_first_text_that_fails_alone() -> None:
    with pytest.raises(ObjectiveError) as caught:
        FunctionObjective(inverse).score_texts(TEXTS)
    said = "objective 'inverse' raised ZeroDivisionError: division by zero for ''; mend"
    assert str(caught.value).startswith(said)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_only_the_chunk_that_failed_is_asked_again() -> None:
    asked: list[list[str]] = []

    def noted(texts: list[str]) -> list[float]:
        asked.append(texts)
        return inverse(texts)

    texts = [*map(str, range(100, 227)), ""]  # two a chunk
    message = "ZeroDivisionError: division by zero for ''"
    with ThreadPoolExecutor(1) as executor, pytest.raises(ObjectiveError, match=message):
        FunctionObjective(noted, executor=executor).score_texts(texts)
    assert asked[64:] == [["226"], [""]]


def test_a_batch_whose_texts_are_all_scored_alone_says_so() -> None:
    def small(texts: list[str]) -> list[float]:
        if len(texts) > 3:
            raise MemoryError("too many")
        return [0.5] * len(texts)

    message = (
        r"MemoryError: too many; the batch of 4, each of which alone was scored, begins with 'a'"
    )
    with pytest.raises(ObjectiveError, match=message):
        FunctionObjective(small).score_texts(["a", "b", "c", "d"])


def test_with_a_budget_nothing_is_asked_twice() -> None:
    asked: list[str] = []

    def paid(texts: list[str]) -> list[float]:
        asked.extend(texts)
        return inverse(texts)

    with pytest.raises(
        ObjectiveError, match=r"ZeroDivisionError.*; the batch of 3, begins with 'a'"
    ):
        FunctionObjective(paid, budget=9).score_texts(["a", "b", ""])
    assert asked == ["a", "b", ""]


def leaves(texts: list[str]) -> list[float]:
    return [float(len(text)) if text else sys.exit("no") for text in texts]


def leaves_later(texts: list[str]) -> Any:
    return (float(len(text)) if text else sys.exit("no") for text in texts)


def leaves_one(text: str) -> float:
    return float(len(text)) if text else sys.exit("no")


@quiet
@pytest.mark.parametrize("function", [leaves, leaves_later, leaves_one])
def test_an_exit_is_a_failure_of_its_sequence(function: Callable[[Any], Any]) -> None:
    one = function is leaves_one
    with pytest.raises(ObjectiveError, match=r"it called sys.exit\('no'\) for ''"):
        FunctionObjective(function, per_sequence=one).score_texts(TEXTS)
    skipping = FunctionObjective(function, per_sequence=one, on_error="skip")
    assert skipping.score_texts(TEXTS) == [1.0, 2.0, None, 3.0, None]


@pytest.mark.slow
def test_worker_processes_name_the_text_too() -> None:
    with pytest.raises(ObjectiveError, match=r"it called sys.exit\(3\) for ''"):
        exits.score_texts(TEXTS)
    with pytest.raises(ObjectiveError, match="ended with exit code 9 for 'dies'"):
        exits.score_texts(["a", "bb", "dies"])
    exits.close()


def test_the_first_failure_that_is_skipped_is_told_once() -> None:
    reward = FunctionObjective(inverse, on_error="skip")
    message = "'inverse' raised ZeroDivisionError: division by zero for ''; with on_error='skip'"
    with pytest.warns(UserWarning, match=message) as told:
        assert reward.score_texts(TEXTS) == [1.0, 0.5, None, 1 / 3, None]
    assert len(told) == 1
    reward.score_texts(["", "", "x"])  # a second warning would be an error here
    assert first_failures(0.5 * reward + Valid()) == {
        "inverse": "'', it raised ZeroDivisionError: division by zero"
    }


@pytest.mark.parametrize(
    ("canonical", "why"),
    [
        (lambda text: text[0], "raised IndexError: string index out of range"),
        (lambda text: text or 3, r"returned 3 \(int\)"),
        (lambda text: text or sys.exit(), "raised RuntimeError: it called sys.exit"),
    ],
)
def test_a_canonical_form_that_fails_is_a_failure(canonical: Any, why: str) -> None:
    message = f"objective 'leaves' has a canonical form that {why}.* for ''"
    with pytest.raises(ObjectiveError, match=message):
        FunctionObjective(leaves, canonical=canonical).score_texts(["a", ""])
    skipping = FunctionObjective(leaves, canonical=canonical, on_error="skip")
    with pytest.warns(UserWarning, match=message):
        assert skipping.score_texts(["ab", "", "ab"]) == [2.0, None, 2.0]
    assert skipping._failures.state()["calls"] == [[2, 0], [1, 1]]


class Spread(SetObjective):
    """Fails with three or more."""

    name = "spread"

    def value(self, forms: list[str]) -> float:
        if len(forms) > 2:
            raise RuntimeError("set fails")
        return float(len(forms))


def test_sets_keep_the_same_contract() -> None:
    texts = ["a", "b", "c"]
    message = "'spread' raised RuntimeError: set fails for a set of 3 that begins with 'a'; exp"
    with pytest.raises(ObjectiveError, match=message):
        Spread()(texts)  # type: ignore[arg-type]
    skipping = Spread(on_error="skip")
    with pytest.warns(UserWarning, match="set fails for a set of 3"):
        scores = skipping(texts)  # type: ignore[arg-type]
    assert not scores.ok_B.any()
    assert skipping(["a", "b"]).ok_B.all()  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(86):
            skipping(texts)  # type: ignore[arg-type]
    with pytest.raises(ObjectiveError, match=r"'spread' failed on 258 .* first was 'a', it raised"):
        skipping.ensure_usable()
    skipping.canonical = lambda text: text[1:] if text else sys.exit()
    assert skipping(["", "ab"]).ok_B.tolist() == [False, True]  # type: ignore[arg-type]
