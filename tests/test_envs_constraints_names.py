"""Constraints by name, as an option of every task, and as JSON."""

# Shapes: B sequences, T steps, A actions
from __future__ import annotations

import json
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tokengym
import torch
from tokengym.envs import (
    AllowedTokens,
    BalancedBrackets,
    Constraint,
    MinimumLength,
    NoRepetition,
    SMILESSyntax,
    Task,
    Template,
    UnknownConstraintError,
    Vocabulary,
    make_constraint,
)
from tokengym.envs.constraints import CONSTRAINTS, All, constraint_from_json, constraint_to_json
from tokengym.envs.registration import BUILT_IN_TASKS

LETTERS = Vocabulary.from_tokens(["a", "b", "c", "a:b"], "words")


class NoFirst(Constraint):
    """One of a user's own: the first token is not the first of the vocabulary."""

    def mask(self, tokens_BT: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        later_B1 = (lengths_B > 0)[:, None]
        return later_B1 | (torch.arange(self.vocabulary.num_actions) > 0)


NO_FIRST = NoFirst()


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("smiles_syntax", SMILESSyntax()),
        ("minimum_length(8) & no_repetition(n=3)", MinimumLength(8) & NoRepetition(3)),
        ("selfies & (no_repetition & minimum_length(tokens=1))", None),
        ('allowed_tokens(["a", "a:b"])', AllowedTokens(["a", "a:b"])),  # no module there
        ("template(['a', 2, 'b'], open_end=True)", Template(["a", 2, "b"], open_end=True)),
        ("balanced_brackets([('a', 'b')])", BalancedBrackets([("a", "b")])),
        (f" {__name__}:NoFirst & {__name__}:NO_FIRST ", NoFirst() & NO_FIRST),
    ],
)
def test_names_and_expressions(text: str, meant: Constraint | None) -> None:
    found = make_constraint(text)
    expected = "SELFIES() & NoRepetition(n=1) & MinimumLength(tokens=1)" if meant is None else meant
    assert repr(found) == str(expected)
    assert make_constraint(found) is found


def test_options_of_a_name_reach_the_constraint() -> None:
    both = make_constraint("minimum_length(8, on_empty='raise') & no_repetition")
    assert isinstance(both, All)
    assert [part.on_empty for part in both.parts] == ["raise", "fallback"]
    assert both.on_empty == "raise"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("minimum_lenght(3)", "unknown constraint 'minimum_lenght'; did you mean minimum_length"),
        ("minimum_length", "'minimum_length': .*missing 1 required positional argument: 'tokens'"),
        ("minimum_length(3", "cannot read the constraint 'minimum_length.3'.*never closed"),
        ("smiles_syntax | selfies", "'smiles_syntax | selfies' is no constraint"),
        ("3", "'3' is no constraint"),
        ("", "cannot read the constraint ''"),
        ("minimum_length(len('abc'))", "cannot read the constraint"),
        (f"{__name__}:NO_FIRST(3)", "expected a class of constraints, or one itself"),
        (f"{__name__}:NoFirts", "has no 'NoFirts'.*did you mean NoFirst"),
        ("no_such_module:Mine", "no module 'no_such_module' for 'no_such_module:Mine'"),
        ("selfies & " * 3000 + "selfies", "cannot read the constraint"),
        ("(" * 500 + "selfies" + ")" * 500, "cannot read the constraint"),
    ],
)
def test_what_cannot_be_read_is_named(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_constraint(spec)


def test_nothing_is_called_but_classes_of_constraints(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="expected a class of constraints"):
        make_constraint("builtins:print('called')")
    assert capsys.readouterr().out == ""
    with pytest.raises(TypeError, match=r"the constraint is 3; expected a name such as"):
        make_constraint(3)  # type: ignore[arg-type]


# --- an option of every task ----------------------------------------------------------------------


@pytest.mark.parametrize("id", BUILT_IN_TASKS)
def test_every_task_takes_a_constraint(id: str) -> None:
    needed = {"Molecules": "rdkit", "Melodies": "music21"}
    for name, module in needed.items():
        if name in id:
            pytest.importorskip(module)
    spec = "minimum_length(3) & no_repetition"
    task = tokengym.make_task(id, constraint=spec)
    assert repr(task.constraint) == "MinimumLength(tokens=3) & NoRepetition(n=1)"
    allowed_A = np.ones(task.vocabulary.num_actions, np.int8)
    allowed_A[0] = 0
    if task.vocabulary.eos is not None:
        allowed_A[task.vocabulary.eos] = 0
    env = gym.make(id, constraint=spec)
    env.reset()
    assert env.step(0)[4]["action_mask"].tolist() == allowed_A.tolist()
    envs = gym.make_vec(id, num_envs=2, constraint=spec)
    envs.reset()
    assert envs.step(np.zeros(2, int))[4]["action_mask"].tolist() == [allowed_A.tolist()] * 2
    rows = tokengym.make_sb3(id, 2, constraint=MinimumLength(3) & NoRepetition())
    rows.reset()
    rows.step(np.zeros(2, int))
    assert rows.env_method("action_masks")[1].tolist() == allowed_A.astype(bool).tolist()


def words(*, constraint_of_its_own: bool = False) -> Task:
    """A user's task, which need not say anything about constraints."""
    return Task(
        name="Words",
        vocabulary=LETTERS,
        max_length=5,
        reward=tokengym.make_reward(lambda texts: [float(len(text)) for text in texts]),
        constraint=MinimumLength(2) if constraint_of_its_own else None,
    )


@pytest.fixture
def mine() -> Any:
    tokengym.register_task("mine/Words-v0", f"{__name__}:words", constraint="no_repetition")
    yield "mine/Words-v0"
    del gym.registry["mine/Words-v0"]


def test_a_task_of_ones_own_takes_a_constraint(mine: str) -> None:
    assert gym.spec(mine).to_json()  # a name can be written down
    assert repr(tokengym.make_task(mine).constraint) == "NoRepetition(n=1)"
    assert repr(tokengym.make_task(mine, constraint=NoFirst()).constraint) == "NoFirst()"
    own = tokengym.make_task(mine, constraint=None, constraint_of_its_own=True)
    assert repr(own.constraint) == "MinimumLength(tokens=2)"
    with pytest.raises(ValueError, match="no option 'constrain'; did you mean constraint"):
        gym.make(mine, constrain="selfies")
    with pytest.raises(ValueError, match="tokens should be from 0 to max_length, 5"):
        gym.make(mine, constraint="minimum_length(6)")


def test_options_without_a_default_are_known_too() -> None:
    def sized(*, size: int, rest: int = 2) -> Task:
        return Task(name="Sized", vocabulary=LETTERS, max_length=size + rest, reward=words().reward)

    tokengym.register_task("mine/Sized-v0", sized)
    assert tokengym.make_task("mine/Sized-v0", size=3).max_length == 5
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'size'"):
        tokengym.make_task("mine/Sized-v0")
    del gym.registry["mine/Sized-v0"]


# --- JSON -----------------------------------------------------------------------------------------

SMILES = Vocabulary.from_tokens([*"CNOF()=#12cn"], "smiles")
SYMBOLS = Vocabulary.from_tokens(["[C]", "[=O]"], "selfies")
SAVED = [
    AllowedTokens(["C", "N"]),
    BalancedBrackets([("(", ")"), ("C", "N")]),
    make_constraint("forbidden_tokens(['C'], on_empty='raise')"),
    MinimumLength(np.int64(3)),  # type: ignore[arg-type]
    NoRepetition(2, on_forbidden="raise"),
    make_constraint("selfies"),
    SMILESSyntax(on_empty="raise", on_forbidden="raise"),
    Template(["C", 2], open_end=True),
    All([MinimumLength(2), NoRepetition(1)], on_empty="raise"),
]


def test_every_constraint_is_tried() -> None:
    assert {type(constraint) for constraint in SAVED} == {*CONSTRAINTS.values(), All}


@pytest.mark.parametrize("constraint", SAVED, ids=repr)
def test_json_holds_all_of_a_constraint(constraint: Constraint) -> None:
    vocabulary = SYMBOLS if "SELFIES" in repr(constraint) else SMILES
    bound = constraint.bound(vocabulary, 6)
    text = json.dumps(constraint_to_json(bound))
    again = constraint_from_json(json.loads(text))
    assert json.dumps(constraint_to_json(again)) == text
    assert type(again) is type(constraint)
    assert (again.on_empty, again.on_forbidden) == (constraint.on_empty, constraint.on_forbidden)
    tokens_BT = torch.arange(vocabulary.num_actions)[:, None]
    rebuilt = again.bound(vocabulary, 6)
    for prefixes_BT in (tokens_BT[:, :0], tokens_BT, tokens_BT.repeat(1, 3)):
        expected_BA = bound.allowed(bound.after(prefixes_BT))
        assert torch.equal(rebuilt.allowed(rebuilt.after(prefixes_BT)), expected_BA)


def test_reading_json_imports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    value = constraint_to_json(NoRepetition(2) & NoFirst())
    assert value["options"]["parts"][1] == {"name": f"{__name__}:NoFirst"}
    monkeypatch.delitem(sys.modules, "this", raising=False)
    for name in (f"{__name__}:NoFirst", "this:Zen"):
        with pytest.raises(UnknownConstraintError, match=f"'{name}' is none of allowed_tokens"):
            constraint_from_json({"name": name, "options": {}})
    assert "this" not in sys.modules
