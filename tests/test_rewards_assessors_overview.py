"""The figures of the overview, of a few ratings, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokengym.rewards.assessors.pages.overview import figures, overview
from tokengym.rewards.assessors.ratings import Kind, Rating

HOUR = 3600.0


def pair(id: int, who: str, left: str, right: str, answer: str, gold: str | None = None) -> Rating:
    kind: Kind = "gold" if gold else "random"
    return Rating(id, who, left, right, answer, kind, at=HOUR + 20 * id, gold=gold)


PAIRS = [
    pair(1, "anna", "a", "b", "left"),
    pair(2, "ben", "b", "a", "right"),  # the same pair on other sides: a as well
    pair(3, "anna", "a", "c", "left"),
    pair(4, "ben", "a", "c", "right"),
    pair(5, "anna", "b", "a", "left"),  # once more, and now it is b
    pair(6, "anna", "a", "b", "left"),  # and a again
    pair(7, "ben", "b", "c", "skip"),
    pair(8, "anna", "b", "c", "equal"),
    pair(9, "ben", "d", "c", "right", gold="left"),
    pair(10, "anna", "d", "c", "left", gold="left"),
]


def test_counts_shares_repeats_and_gold() -> None:
    found = figures(PAIRS, "pair", "text")
    assert found["ratings"] == 9
    assert found["skips"] == {"hits": 1, "of": 10}
    assert found["repeats"] == {"hits": 1, "of": 2}
    assert found["gold"] == {"hits": 1, "of": 2}
    anna, ben = found["assessors"]
    assert anna["name"] == "anna"
    assert anna["ratings"] == 6
    assert anna["answers"] == {"left": 5, "equal": 1}
    assert anna["repeats"] == {"hits": 1, "of": 2}
    assert anna["gold"] == {"hits": 1, "of": 1}
    assert anna["skips"] == {"hits": 0, "of": 6}
    assert anna["last"] == HOUR + 200
    assert ben["ratings"] == 3
    assert ben["answers"] == {"right": 3}
    assert ben["skips"] == {"hits": 1, "of": 4}


def test_agreement_is_that_of_first_answers_without_gold() -> None:
    # (a, b): 1, 1; (a, c): 1, 0. Three of 1 and one of 0: 1 - 3 * 2 / (2 * 3) = 0.
    agreement = figures(PAIRS, "pair", "text")["agreement"]
    assert agreement == {"alpha": 0.0, "metric": "ordinal", "units": 2, "answers": 4}
    alone = figures(PAIRS[:1], "pair", "text")["agreement"]
    assert alone == {"alpha": None, "metric": "ordinal", "units": 0, "answers": 0}


def test_best_by_pairs_won_and_disputed_by_answers_that_differ() -> None:
    found = figures(PAIRS, "pair", "text")
    # a won 3 of 4, c two and a half of 5, d 1 of 2, b a half of 3; the average is 1/2, as ever.
    best = [(one["sample"]["text"], one["mean"], one["ratings"]) for one in found["best"]]
    assert best == [
        ("a", 0.75, 4),
        ("c", 0.5, 5),
        ("d", 0.5, 2),
        ("b", pytest.approx(0.5 / 3), 3),
    ]
    disputed = [
        (one["left"]["text"], one["right"] and one["right"]["text"], one["answers"])
        for one in found["disputed"]
    ]
    assert disputed == [
        ("a", "c", {"left": 1, "right": 1}),
        ("c", "d", {"left": 1, "right": 1}),
    ]


def test_a_single_lucky_answer_is_not_the_best() -> None:
    scale = [("one", "5"), *[("many", "5")] * 4, *[("poor", "1")] * 5]
    ratings = [
        Rating(i, f"assessor {i}", text, None, answer) for i, (text, answer) in enumerate(scale, 1)
    ]
    found = figures(ratings, "scale", "text")
    # The average is 3: (5 + 6) / 3, (20 + 6) / 6, (5 + 6) / 7.
    assert [one["sample"]["text"] for one in found["best"]] == ["many", "one", "poor"]
    assert [one["mean"] for one in found["best"]] == [5.0, 5.0, 1.0]


def test_yes_and_no_are_nominal() -> None:
    given = [("x", "yes"), ("x", "no"), ("y", "no"), ("y", "no")]
    ratings = [Rating(i, f"{i}", text, None, answer) for i, (text, answer) in enumerate(given)]
    found = figures(ratings, "yes_no", "text")
    assert found["agreement"]["metric"] == "nominal"
    assert found["agreement"]["alpha"] == 1 - 3 * 2 / 6
    assert found["disputed"][0]["answers"] == {"yes": 1, "no": 1}


def test_ratings_over_time_in_spans_that_can_be_drawn() -> None:
    # From 3620 to 3800 seconds, all but the skipped one: spans of 10 seconds, every second empty.
    over_time = figures(PAIRS, "pair", "text")["over_time"]
    assert over_time["start"] == 3620
    assert over_time["step"] == 10
    assert over_time["counts"] == [*[1, 0] * 6, 0, 0, *[1, 0] * 2, 1]
    month = [
        Rating(i, "anna", "x", None, "yes", at=86400.0 * day) for i, day in enumerate((0, 1, 30))
    ]
    assert figures(month, "yes_no", "text")["over_time"] == {
        "start": 0.0,
        "step": 86400,
        "counts": [1, 1, *[0] * 28, 1],
    }


def test_no_ratings_are_no_figures() -> None:
    found = figures([], "pair", "text")
    assert found["ratings"] == 0
    assert found["agreement"]["alpha"] is None
    assert not found["over_time"]["counts"]
    assert not found["best"]
    assert not found["disputed"]


def test_of_a_store_with_skips_and_without_what_was_withdrawn(tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy")
    from tokengym.rewards.assessors.store import Item, Store

    store = Store(f"sqlite:///{tmp_path}/ratings.sqlite")
    question = store.question("Which?", form="pair", domain="text")
    store.ask(question, [Item("a", "b"), Item("b", "c"), Item("c", "a")])
    anna = store.assessor_of(store.add_assessor("anna"))
    assert anna is not None
    for key, answer in enumerate(["left", "skip", "right"]):
        assignment = store.lease(question, anna.id)
        assert assignment is not None
        store.rate(assignment.id, anna.id, answer, key=f"{key}")
    store.undo(question, anna.id)
    found = overview(store, question)
    assert found["question"] == {"text": "Which?", "form": "pair", "domain": "text"}
    assert (found["ratings"], found["skips"]) == (1, {"hits": 1, "of": 2})
    assert found["waiting"] >= 1
    json.dumps(found, allow_nan=False)
    store.close()
