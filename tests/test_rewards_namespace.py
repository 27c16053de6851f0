"""Namespaces: equal for what scores alike, different for whatever may score differently."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from tokengym.rewards import FunctionObjective, LogP, Objective, objective
from tokengym.rewards.molecules import QED, canonical_smiles
from tokengym.rewards.namespace import Unnameable, fingerprint
from tokengym.rewards.workers import FileProgram, HTTPObjective

VALUES: list[Any] = [
    None, True, 1, 1.0, "1", b"1", 1j, [1], (1,), {1}, frozenset([1]), {1: 1}, {1: "1"}, [1, 1],
    [[1], 1], -0.0, 0.0, float("nan"), float("inf"), Path("1"), re.compile("1"), re.compile("1", 2),
    np.float32(1), np.array([1.0]), np.array([[1.0]]), torch.ones(1), torch.zeros(1), len, max,
    partial(max, 1), partial(max, 2), str, lambda x: x, lambda x: x + 1, range(3),
    np.array(["2020"], "M8[Y]"), np.array(["2021"], "M8[Y]"), torch.ones(1, dtype=torch.bfloat16),
    torch.zeros(1, dtype=torch.bfloat16), torch.tensor(0, dtype=torch.bfloat16),
]  # fmt: skip


def test_different_values_have_different_fingerprints() -> None:
    found = [fingerprint(value) for value in VALUES]
    assert len(set(found)) == len(VALUES)
    assert found == [fingerprint(value) for value in VALUES]


def test_equal_values_have_one() -> None:
    words = [f"word {number}" for number in range(50)]
    assert fingerprint(set(words)) == fingerprint(set(reversed(words)))
    assert fingerprint(np.arange(3)) == fingerprint(np.arange(6)[:3])
    assert fingerprint(["a", "".join(["a"])]) == fingerprint(["a", "a"])


class Unfinished:
    """Has no text yet."""

    def __repr__(self) -> str:
        raise AttributeError("no name")


def test_what_cannot_be_told_apart_has_none() -> None:
    itself: list[Any] = []
    itself.append(itself)
    for value in (object(), iter([1]), [object()], itself, torch.ones(2).to_sparse(), Unfinished()):
        with pytest.raises(Unnameable):
            fingerprint(value)


def same(text: str) -> float:
    return float(len(text))


class Likeness(Objective):
    """A user's own class, which hands on no options."""

    name = "likeness"

    def __init__(self, target: str, weight: float = 1.0) -> None:
        super().__init__(canonical=str.lower)
        self.target, self.weight = target, weight

    def score(self, texts: list[str]) -> Sequence[float | None]:
        return [self.weight * (text == self.target) for text in texts]


class OtherLikeness(Likeness):
    def score(self, texts: list[str]) -> Sequence[float | None]:
        return [2 * self.weight * (text == self.target) for text in texts]


def adding(number: float) -> Callable[[str], float]:
    return lambda text: len(text) + number


def test_objectives_are_told_apart_by_whatever_changes_a_score() -> None:
    different = [
        LogP(),
        LogP(-1.0),
        LogP(version=2),
        LogP(canonical=None),
        QED(),
        Likeness("a"),
        Likeness("b"),
        Likeness("a", 0.5),
        OtherLikeness("a"),
        FunctionObjective(same, per_sequence=True),
        FunctionObjective(same, per_sequence=True, name="other"),
        FunctionObjective(same, per_sequence=True, canonical=canonical_smiles),
        FunctionObjective(adding(1), per_sequence=True),
        FunctionObjective(adding(2), per_sequence=True),
    ]
    assert len({reward.namespace for reward in different}) == len(different)


def test_objectives_are_one_whatever_else_changes() -> None:
    assert LogP().namespace == LogP(low=-2.12).namespace == LogP(-2.12, 6.04).namespace
    assert LogP().namespace == LogP(budget=3, on_error="skip", memo=False).namespace
    assert Likeness("a", 1.0).namespace == Likeness(target="a").namespace
    first = FunctionObjective(adding(1), per_sequence=True)
    assert first.namespace == FunctionObjective(adding(1), per_sequence=True).namespace
    assert pickle.loads(pickle.dumps(LogP(-1.0))).namespace == LogP(-1.0).namespace


def test_the_namespace_is_the_same_in_every_process() -> None:
    program = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "from tests.test_rewards_namespace import *\n"
        "print(LogP(-1.0).namespace, Likeness('a').namespace, fingerprint({'a', 'b', 'c'}))"
    )
    printed = subprocess.check_output([sys.executable, "-c", program], text=True).strip()
    here = f"{LogP(-1.0).namespace} {Likeness('a').namespace} {fingerprint({'a', 'b', 'c'})}"
    assert printed == here


def test_an_argument_without_a_value_needs_a_version(tmp_path: Path) -> None:
    class Judge:
        def __call__(self, texts: list[str]) -> list[float]:
            return [0.5] * len(texts)

    judge = Judge()
    FunctionObjective(judge, name="judge").score_texts(["a"])  # in memory nobody else sees it
    with pytest.raises(ValueError, match=r"'judge' was made with .*Judge object.* version="):
        _ = FunctionObjective(judge, name="judge", memo=tmp_path / "a").memo
    first = FunctionObjective(judge, name="judge", memo=tmp_path / "a", version="today")
    assert first.score_texts(["a"]) == [0.5]
    assert first.namespace != FunctionObjective(judge, name="judge", version="x").namespace


class Above(Objective):
    """Asks a model, which cannot be told from another."""

    name = "above"

    def __init__(self, model: object, threshold: float, version: str = "1") -> None:
        super().__init__(version=version)
        self.threshold = threshold

    def score(self, texts: list[str]) -> Sequence[float | None]:
        return [self.threshold for _ in texts]


def with_model(model: object, threshold: float) -> FunctionObjective:
    @objective(version="1", name="mine")
    def score(texts: list[str]) -> list[float]:
        return [threshold if model else 0.0 for _ in texts]

    return score


def with_other_code(model: object, threshold: float) -> FunctionObjective:
    @objective(version="1", name="mine")
    def score(texts: list[str]) -> list[float]:
        return [-threshold if model else 0.0 for _ in texts]

    return score


def test_a_version_stands_for_what_cannot_be_told_and_for_nothing_else(tmp_path: Path) -> None:
    model = torch.nn.Linear(1, 1)
    different = [
        Above(model, 0.1),
        Above(model, 0.9),
        Above(model, 0.1, "2"),
        Above(iter([]), 0.1),
        with_model(model, 0.1),
        with_model(model, 0.9),
        with_model(model, 0.1).with_options(version="2"),
        with_other_code(model, 0.1),
        FunctionObjective(partial(max, 1, key=model), name="mine", version=1),
        FunctionObjective(partial(max, 2, key=model), name="mine", version=1),
    ]
    assert len({reward.namespace.split()[-1] for reward in different}) == len(different)
    assert Above(model, 0.1).namespace == Above(torch.nn.Linear(2, 2), 0.1).namespace
    first, second = (
        with_model(model, threshold).with_options(memo=tmp_path / "scores.sqlite")
        for threshold in (0.1, 0.9)
    )
    assert [first.score_texts(["a"]), second.score_texts(["a"])] == [[0.1], [0.9]]


def later_helper(number: float) -> FunctionObjective:
    @objective
    def score(texts: list[str]) -> list[float]:
        return [helper(text) for text in texts]

    def helper(text: str) -> float:
        return number * len(text)

    return score


def calling_itself(number: float) -> FunctionObjective:
    def count(text: str) -> float:
        return number + count(text[1:]) if text else 0.0

    return FunctionObjective(count, per_sequence=True)


def test_functions_that_name_what_comes_later_are_told_by_it() -> None:
    for make in (later_helper, calling_itself):
        assert make(2).score_texts(["abc"]) == [6.0]
        assert make(2).namespace == make(2).namespace != make(3).namespace


def test_what_is_still_missing_as_the_memo_is_opened_wants_a_version() -> None:
    @objective(per_sequence=True)
    def count(text: str) -> float:
        count.prepare(None, 3, "cpu")
        return 1.0 + cast(Callable[[str], float], count.function)(text[1:]) if text else 0.0

    assert count.score_texts(["abc"]) == [3.0]

    @objective
    def score(texts: list[str]) -> list[float]:
        return [helper(text) for text in texts]

    score.prepare(None, 3, "cpu")  # in memory nobody else sees it
    with pytest.raises(ValueError, match=r"with .*score, whose 'helper' has no value yet, which"):
        _ = score.namespace

    def helper(text: str) -> float:
        return float(len(text))

    assert score.score_texts(["abc"]) == [3.0]


WEIGHTS: dict[str, Any] = {
    "half": torch.full((2,), 0.5, dtype=torch.bfloat16),
    "day": np.datetime64("2020-01-01"),
}


@objective
def weighted(texts: list[str]) -> list[float]:
    return [float(WEIGHTS["half"][0]) * len(text) for text in texts]


def test_tables_of_any_type_tell_scores_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    weighted.prepare(None, 3, "cpu")
    assert weighted.score_texts(["abc"]) == [1.5]
    for name in WEIGHTS:
        monkeypatch.setitem(WEIGHTS, name, torch.ones(2, dtype=torch.bfloat16))
        assert FunctionObjective(weighted.function).namespace != weighted.namespace
        monkeypatch.undo()


def test_what_changes_no_score_loses_none() -> None:
    def http(url: str = "http://localhost/a", **options: Any) -> str:
        return HTTPObjective(url, **options).namespace

    headers = {"Authorization": "a token", "X-API-Key": "a key"}
    same = http(retries=9, backoff=0.1, timeout=3, range=(0, 1), headers=headers)
    assert http() == same != http("http://localhost/b")
    by_model = [http(headers={"Model": model, **headers}) for model in ("a", "b")]
    assert len({same, *by_model}) == 3
    assert by_model[0] == http(headers={"cookie": "yes", "model": "a"})

    def program(command: str, **options: Any) -> str:
        return FileProgram([command, "{input}", "{output}"], **options).namespace

    assert program("dock", timeout=3, range=(0, 1)) == program("dock") != program("other")
    first = FunctionObjective(weighted.function, range=(0, 1), credit="rollouts")
    assert first.namespace == FunctionObjective(weighted.function).namespace


MODULE = """
import functools, math
SCALE = 1
TABLE = {{"C": 1.0}}
CALLS = 0
OTHER = object()
@functools.lru_cache
def helper(text):
    return [SCALE * math.sqrt(len(c)) for c in text]
def back(text):
    return score([text])
def score(texts):
    global CALLS
    CALLS = CALLS + 1
    return [sum(helper(text)) * TABLE.get(text, 1) * bool(OTHER) or back(text) for text in texts]
{more}
"""


def module_namespace(more: str = "") -> str:
    names: dict[str, Any] = {"__name__": "mine"}
    exec(MODULE.format(more=more), names)
    return FunctionObjective(names["score"]).namespace


def test_constants_and_functions_of_the_module_tell_scores_apart() -> None:
    changed = [
        "SCALE = 7",
        'TABLE["C"] = 2.0',
        "def helper(text): return [len(text)]",
        "def back(text): return 0",
    ]
    assert len({module_namespace(), *map(module_namespace, changed)}) == 1 + len(changed)
    for same in ("", "CALLS = 7", "OTHER = object()", "UNUSED = 7"):
        assert module_namespace(same) == module_namespace()


def test_what_a_function_counts_as_it_runs_loses_no_score(tmp_path: Path) -> None:
    seen: list[str] = []
    names: dict[str, Any] = {"__name__": "mine", "SEEN": seen}
    exec("def score(texts):\n    SEEN.extend(texts)\n    return [1.0 for _ in texts]", names)
    first, second = (FunctionObjective(names["score"], name="mine") for _ in range(2))
    for reward in (first, second):
        reward.prepare(None, 3, "cpu")  # as an agent does, before anything is scored
    first.score_texts(["a", "b"])
    second.restore(*first.state())
    second.score_texts(["a", "b"])
    assert seen == ["a", "b"]
