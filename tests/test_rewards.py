"""Rewards: values stay with their sequences, failure is never a value, names are found."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from typing import Any

import pytest
import tokengym
import torch
from tokengym.envs import Sequences, Vocabulary
from tokengym.rewards import (
    ConvDiscriminator,
    FunctionObjective,
    ObjectiveError,
    RepetitionPenalty,
    Reward,
    Scores,
    UnknownRewardError,
    make_reward,
    objective,
)
from tokengym.rewards.molecules import QED, LogP, SyntheticAccessibility, Valid, canonical_smiles

MOLECULES = ["CCO", "c1ccccc1", "C(", "CC(=O)Oc1ccccc1C(=O)O", "", "OCC", "CCN(CC)CC", "xx"]


@pytest.fixture
def molecules() -> Sequences:
    return Vocabulary.from_corpus(MOLECULES, "smiles").encode(MOLECULES)


def small_discriminator() -> ConvDiscriminator:
    return ConvDiscriminator(embedding=8, widths=(1, 2, 3, 5), filters=(6, 6, 6, 6))


@objective
def length(texts: list[str]) -> list[float]:
    """The length of a text."""
    return [float(len(text)) for text in texts]


@objective(per_sequence=True, name="starts")
def starts_with_c(text: str) -> float | None:
    return None if text == "" else float(text[0] == "C")


def test_both_forms_of_the_decorator(molecules: Sequences) -> None:
    assert length(molecules).values_B.tolist() == [len(text) for text in MOLECULES]
    scores = starts_with_c(molecules)
    assert scores.ok_B.tolist() == [text != "" for text in MOLECULES]
    assert math.isnan(scores.values_B[4])
    assert scores.parts["starts"][0] == 1.0


def test_operators(molecules: Sequences) -> None:
    reward = 0.5 * length + 2 * starts_with_c * length
    scores = reward(molecules)
    by_hand = [0.5 * len(t) + 2 * (t[0] == "C") * len(t) if t else math.nan for t in MOLECULES]
    torch.testing.assert_close(scores.values_B, torch.tensor(by_hand), equal_nan=True)
    assert [weight for weight, _ in reward.terms()] == [0.5, 2]
    assert set(scores.parts) == {"length", "starts", "length#2"}
    assert {component.name for component in reward.components()} == {"length", "starts"}
    total = sum([length, starts_with_c])
    assert isinstance(total, Reward)
    assert total.name == "length + starts"


@pytest.mark.parametrize(
    "make",
    [QED, Valid, LogP, SyntheticAccessibility, small_discriminator, lambda: length],
    ids=["qed", "valid", "logp", "sa", "discriminator", "function"],
)
def test_shuffled_sequences_find_their_rewards_again(make: Any, molecules: Sequences) -> None:
    reward: Reward = make()
    before = reward(molecules).values_B
    order = torch.tensor([5, 2, 7, 0, 3, 1, 6, 4])
    torch.testing.assert_close(reward(molecules[order]).values_B, before[order])
    torch.testing.assert_close(make()(molecules[order]).values_B, before[order])


def test_known_molecules() -> None:
    assert QED().score_texts(["CC(=O)Oc1ccccc1C(=O)O"])[0] == pytest.approx(0.5501, abs=1e-3)
    assert LogP(-1.0, 1.0).score_texts(["CCO"])[0] == pytest.approx((-0.0014 + 1) / 2, abs=1e-3)
    assert Valid().score_texts(["CCO", "C(", ""]) == [1.0, 0.0, 0.0]
    assert SyntheticAccessibility().score_texts(["CCO"]) == [pytest.approx(0.862, abs=0.01)]
    for reward in (QED(), LogP(), SyntheticAccessibility()):
        assert reward.score_texts(["C(", ""]) == [0.0, 0.0]  # no molecule: a true zero
    assert canonical_smiles("OCC") == canonical_smiles("CCO") == "CCO"


def test_the_memo_scores_a_canonical_form_once() -> None:
    asked: list[str] = []

    def count(texts: list[str]) -> list[float]:
        asked.extend(texts)
        return [float(len(asked))] * len(texts)

    reward = FunctionObjective(count, canonical=canonical_smiles)
    first = reward.score_texts(["CCO", "OCC", "CC", "C("])
    assert asked == ["CCO", "CC", "C("]
    assert reward.score_texts(["CC", "C(", "OCC"]) == [first[2], first[3], first[0]]
    assert len(asked) == 3
    assert reward.take_statistics()["memo_hits"] == 4
    assert reward.take_statistics()["memo_hits"] == 0
    forgetful = FunctionObjective(count, memo=False)
    forgetful.score_texts(["CC", "CC"])
    assert len(asked) == 5


BROKEN: dict[str, tuple[Any, str]] = {
    "short": (lambda texts: [1.0], "returned 1 scores for 2 sequences"),
    "nan": (lambda texts: [1.0, math.nan], "returned nan .* for 'bb'"),
    "infinite": (lambda texts: [math.inf, 1.0], "returned inf .* for 'a'"),
    "string": (lambda texts: ["high", 1.0], "returned 'high' .str. for 'a'"),
    "raises": (lambda texts: 1 / 0, "raised ZeroDivisionError"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_objective_is_named_with_the_first_sequence(kind: str) -> None:
    function, message = BROKEN[kind]
    with pytest.raises(ObjectiveError, match=f"objective 'mine' {message}"):
        FunctionObjective(function, name="mine").score_texts(["a", "bb"])


@pytest.mark.filterwarnings("ignore:objective")
def test_skipping_leaves_out_what_fails() -> None:
    def picky(texts: list[str]) -> list[float]:
        if "bb" in texts:
            raise RuntimeError("no bb")
        return [float(len(text)) for text in texts]

    reward = FunctionObjective(picky, on_error="skip")
    assert reward.score_texts(["a", "bb", "ccc"]) == [1.0, None, 3.0]
    assert FunctionObjective(BROKEN["nan"][0], on_error="skip").score_texts(["a", "b"])[1] is None


def test_repetition_penalty_by_hand() -> None:
    texts = ["CCO", "OCC", "CC", "C("]
    sequences = Vocabulary.from_corpus(texts, "smiles").encode(texts)
    penalty = RepetitionPenalty(canonical_smiles)(sequences)
    assert penalty.values_B.tolist() == [0.375, 0.375, 0.75, 0.75]
    assert RepetitionPenalty()(sequences).values_B.tolist() == [1.0] * 4


def test_names_and_expressions() -> None:
    reward = make_reward("0.5 * conv_discriminator(embedding=8) + 0.5 * qed * valid")
    assert reward.name == "0.5 * conv_discriminator + 0.5 * qed * valid"
    assert [r.credit for _, r in reward.terms()] == ["rollouts", "terminal"]
    assert reward.range == (0.0, 1.0)
    mine = make_reward(f"2 * {__name__}:length")
    assert mine.terms()[0][1] is length
    assert isinstance(make_reward(lambda texts: [0.0 for _ in texts]), FunctionObjective)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("qde", "did you mean qed"),
        ("no_such_module:score", "no module 'no_such_module'"),
        (f"{__name__}:lenght", "did you mean length"),
        ("qed -", "cannot read the reward"),
        ("qed * qed ** 2", "cannot read the reward"),
        ("__import__('os').system('true')", "cannot read the reward"),
        ("3", "is a number"),
        ("qed(colour=1)", "colour"),
    ],
)
def test_what_is_no_reward(spec: str, message: str) -> None:
    with pytest.raises((UnknownRewardError, ValueError), match=message):
        make_reward(spec)


def test_without_rdkit_the_error_names_the_extra() -> None:
    program = (
        "import sys; sys.modules['rdkit'] = None\n"
        f"sys.path[:0] = {sys.path!r}\n"
        "import tokengym, gymnasium\n"
        "gymnasium.make('tokengym/Molecules-v0')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert "pip install 'tokengym[molecules]'" in done.stderr


def test_top_level_decorator_is_the_same() -> None:
    assert tokengym.objective is objective


class Values(Reward):
    """A reward that says what it is told to, finite or not."""

    name = "values"

    def __init__(self, *values: float) -> None:
        self.values_B = torch.tensor(values, dtype=torch.float64)

    def __call__(self, sequences: Sequences) -> Scores:
        """Score B sequences."""
        return Scores.of(self.name, self.values_B)


@pytest.mark.parametrize("name", ["dock#1", "dock#", "dock.raw", ""])
def test_names_that_number_a_part_or_mark_it_as_raw_are_refused(name: str) -> None:
    def dock(texts: list[str]) -> list[float]:
        return [1.0 for _ in texts]

    with pytest.raises(ValueError, match=f"name is '{name}'; expected a text"):
        objective(name=name)(dock)
    dock.__name__ = name
    with pytest.raises(ValueError, match=f"name is '{name}'; expected a text"):
        objective(dock)
    with pytest.raises(ValueError, match=f"name is '{name}'; expected a text"):
        type("Dock", (Values,), {"name": name})


def test_what_is_not_finite_in_float32_is_a_failure() -> None:
    two = Vocabulary.from_tokens(["a"], "characters").encode(["a", "a"])
    for value in (math.inf, -math.inf, math.nan, 1e39):
        scores = Values(value, 0.5)(two)
        assert scores.ok_B.tolist() == [False, True]
        assert math.isnan(scores.values_B[0])
    large = Values(1e30, 0.5)
    for reward in (1e30 * large, large * large, 1e30 * large + large):  # the parts are finite
        scores = reward(two)
        assert scores.ok_B.tolist() == [False, True]
        assert math.isnan(scores.values_B[0])


@pytest.mark.parametrize("weight", [math.inf, -math.inf, math.nan, 1e39])
def test_a_weight_that_is_no_number_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match=f"the weight of length is {re.escape(str(weight))}"):
        weight * length
    with pytest.raises(ValueError, match=r"the weight of qed is inf"):
        make_reward("1e400 * qed")


def test_rewards_of_texts_take_a_list_of_them() -> None:
    texts = ["CCO", "C(", "c1ccccc1"]
    expected = Vocabulary.from_corpus(MOLECULES, "smiles").encode(texts)
    for reward in (length, QED(), 0.5 * QED() * Valid() + 0.1 * length, RepetitionPenalty()):
        torch.testing.assert_close(
            reward(texts).values_B,  # type: ignore[arg-type] # beyond the contract of sequences
            reward(expected).values_B,
        )
    with pytest.raises(TypeError, match=r"a list of texts has no vocabulary.*task\.vocabulary\.en"):
        small_discriminator()(texts)  # type: ignore[arg-type]


def test_a_reward_shows_its_expression() -> None:
    assert repr(0.5 * QED() + length) == "<Sum: 0.5 * qed + length>"
    assert repr(length) == "<FunctionObjective: length>"


def test_discriminator_refuses_what_it_would_cut(vocabulary: Vocabulary) -> None:
    reward = small_discriminator()
    reward(vocabulary.encode(["ab"]))  # by hand: it was made for 3 tokens
    with pytest.raises(ValueError, match="reads up to 3 tokens and a sequence has 4; call prepare"):
        reward(vocabulary.encode(["aba"]))
