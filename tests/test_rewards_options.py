"""Options: what cannot be meant is refused at once; every objective takes the common ones."""

from __future__ import annotations

import pickle
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from tokengym.rewards import (
    Curriculum,
    FunctionObjective,
    GeometricMean,
    Objective,
    make_reward,
    objective,
    registry,
    reward_targets,
)
from tokengym.rewards.perplexity import Perplexity

ME = "tests.test_rewards_options"


def plain(texts: list[str]) -> list[float]:
    return [float(len(text)) for text in texts]


@objective(per_sequence=True, range=(0, 9), budget=5)
def decorated(text: str) -> float:
    return float(len(text))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memo": None}, "memo is None; expected True, False, or the name of a file"),
        ({"memo": 3}, "memo is 3"),
        ({"memo": ""}, "memo is ''"),
        ({"budget": 1.5}, "budget is 1.5; expected a whole number, at least 1"),
        ({"budget": True}, "budget is True"),
        ({"executor": True}, "executor is True"),
        ({"timeout": "5"}, "timeout is '5'; expected seconds"),
        ({"max_failed_share": "a"}, "max_failed_share is 'a'; expected a share from 0 to 1"),
        ({"name": 3}, "name is 3"),
        ({"range": (3, 1)}, r"range is \(3, 1\)"),
        ({"credit": "all"}, "credit is 'all'; expected 'rollouts' or 'terminal'"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FunctionObjective(plain, **options)


def test_lists_of_numbers() -> None:
    first, second = FunctionObjective(plain, range=(0, 1)), FunctionObjective(plain, range=(0, 1))
    with pytest.raises(ValueError, match=r"thresholds is 0.5; expected a list of numbers"):
        Curriculum(first, second, thresholds=0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="weights is 2; expected a list of numbers"):
        GeometricMean(first, second, weights=2)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"policy is 'nofile'; expected a policy, such as load_ag"):
        Perplexity("nofile")  # type: ignore[arg-type]


def test_a_memo_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    FunctionObjective(plain, memo="~/scores.sqlite").score_texts(["a"])
    assert (tmp_path / "scores.sqlite").exists()


def test_functions_take_the_keywords_in_an_expression() -> None:
    made = make_reward(f"{ME}:plain(memo=False, on_error='skip', name='length')")
    assert isinstance(made, FunctionObjective)
    assert (made.memo, made.on_error, made.name) == (None, "skip", "length")
    again = make_reward(f"{ME}:decorated(on_error='skip')")
    assert isinstance(again, FunctionObjective)
    assert (again.on_error, again.budget, again.name, again.range) == (
        "skip",
        5,
        "decorated",
        (0, 9),
    )
    assert again.score_texts(["abc"]) == [3.0]
    assert (decorated.on_error, decorated.spent) == ("raise", 0)
    with pytest.raises(ValueError, match="unexpected keyword argument 'memory'"):
        make_reward(f"{ME}:plain(memory=False)")


def test_what_was_made_in_an_expression_travels() -> None:
    for name in ("plain", "decorated"):
        made = make_reward(f"{ME}:{name}(executor=1, on_error='skip')")
        there = pickle.loads(pickle.dumps(made))
        assert isinstance(there, FunctionObjective)
        assert there.on_error == "skip"
        assert list(there.score(["ab"])) == [2.0]


@pytest.mark.parametrize(
    "name",
    ["valid", "new_molecule", "organ_conciseness", "organ_novelty_hard", "organ_novelty_soft"],
)
def test_built_in_objectives_take_them_too(name: str) -> None:
    reference = "reference=['CCO'], " if "nov" in name or "new" in name else ""
    made = make_reward(f"{name}({reference}on_error='skip', memo=True, budget=3)")
    assert isinstance(made, Objective)
    assert (made.on_error, made.budget) == ("skip", 3)
    assert made.memo is not None
    made = make_reward(f"{name}({reference[:-2]})")
    assert isinstance(made, Objective)
    assert made.memo is None


@pytest.mark.parametrize(
    "text", [" 0.5 * valid\n+ 0.5 * valid\n", "0.5 * valid # half\n + 0.5 * valid"]
)
def test_an_expression_may_go_over_several_lines(text: str) -> None:
    assert make_reward(text).name == "0.5 * valid + 0.5 * valid"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("valid, valid", "expected one expression"),
        ("valid] + [valid", "expected one expression"),
        ("valid for x in y", "expected one expression"),
        ("valid +", "invalid syntax"),
        ("valid#2", "unknown reward 'valid#2'; did you mean valid"),
        (f"{ME}:plane", "no 'plane'.*did you mean plain"),
        (f"{ME}:nothere", "no 'nothere', .*; it has decorated, plain, test_.*, ..."),
    ],
)
def test_mistakes_in_expressions(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        make_reward(text)
    assert "<unknown>" not in str(caught.value)


def test_a_name_that_is_taken_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = [EntryPoint("qed", "theirs:qed", "g"), EntryPoint("vowels", "theirs:vowels", "g")]
    monkeypatch.setattr(registry, "entry_points", lambda group: theirs)
    with pytest.warns(UserWarning, match="an installed package calls 'theirs:qed' 'qed', which is"):
        assert reward_targets()["vowels"] == "theirs:vowels"
