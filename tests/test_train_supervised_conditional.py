"""Conditional learners: what a condition is worth, and what is written against what was asked."""

# Shapes: B sequences, C properties
from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokengym.agents import GRUPolicy
from tokengym.envs import Sequences, Vocabulary
from tokengym.rewards import make_reward
from tokengym.train.supervised import VRAE, Learner, TeacherForcing, load_learner
from tokengym.train.supervised.asked import (
    class_figures,
    correlation,
    measured,
    property_figures,
)

POLICIES: dict[str, dict[str, Any]] = {
    "GRU": {"embedding": 6, "hidden": 16},
    "LSTM": {"embedding": 6, "hidden": 16},
    "Transformer": {"width": 16, "heads": 2},
}
HERE = "tests.test_train_supervised_conditional"


def first_letter(texts: list[str]) -> list[float | None]:
    return [float("ab".index(text[0])) if text else None for text in texts]


def count_a(texts: list[str]) -> list[float | None]:
    return [float(text.count("a")) for text in texts]


@pytest.fixture
def letters(vocabulary: Vocabulary) -> Sequences:
    """Two classes of three texts each: H(x) = ln 6 and H(x | c) = ln 3."""
    return vocabulary.encode(["a", "aa", "aaa", "b", "bb", "bbb"] * 8)


@pytest.mark.parametrize("policy", POLICIES)
def test_given_its_class_a_sequence_costs_the_conditional_entropy(
    policy: str, letters: Sequences
) -> None:
    """Ln 3, below ln 6, which nobody reaches without the class; and what is asked for is written.

    The objective that names the class measures both the data and what is written.
    """
    learner = TeacherForcing(
        policy,
        vocabulary=letters.vocabulary,
        policy_kwargs=POLICIES[policy],
        classes=2,
        class_of=f"{HERE}:first_letter",
        batch_size=24,
        learning_rate=0.05,
        device="cpu",
    )
    figures = learner.fit(letters, max_epochs=40).evaluate(letters)
    cost = figures["nats_a_sequence"].value
    assert math.log(3) - 1e-6 < cost < math.log(3) + 0.2 < math.log(6)
    assert figures["class_accuracy"].value > 0.9
    assert figures["measured"].n == len(letters)
    written = learner.sample(60, condition=torch.tensor([1]), seed=1)
    assert sum(set(text) == {"b"} for text in written.texts) > 54
    free = learner.sample(60, seed=2)
    assert {"a", "b"} <= {text[:1] for text in free.texts}


def test_properties_steer_and_are_measured(vocabulary: Vocabulary) -> None:
    texts = ["a" * i + "b" * (i % 2) for i in range(6)] * 8
    learner = TeacherForcing(
        "GRU",
        vocabulary=vocabulary,
        policy_kwargs=POLICIES["GRU"],
        properties=[f"{HERE}:count_a"],
        batch_size=24,
        learning_rate=0.03,
        device="cpu",
    )
    before = learner.fit(texts, max_epochs=1).evaluate(texts)
    after = learner.fit(texts, max_epochs=40).evaluate(texts)
    assert after["count_a_correlation"].value > 0.9
    assert after["count_a_error"].value < 0.3 < before["count_a_error"].value
    assert after["measured"].value == 1


def test_figures_of_classes_by_hand() -> None:
    """Three of four right; the fifth has no class and is counted apart."""
    asked_B = torch.tensor([0, 1, 2, 2, 1])
    figures = class_figures(asked_B, torch.tensor([0.0, 1.0, 2.0, 0.0, math.nan]))
    assert (figures["class_accuracy"].value, figures["class_accuracy"].n) == (0.75, 4)
    assert figures["class_accuracy"].se == pytest.approx(math.sqrt(0.75 * 0.25 / 4))
    assert (figures["measured"].value, figures["measured"].n) == (0.8, 5)


def test_figures_of_properties_by_hand() -> None:
    """Errors 1, 0, 1, 0; x = 0, 1, 2, 3 against y = 1, 1, 3, 3: r = 4 / sqrt(5 * 4)."""
    asked_BC = torch.tensor([[0.0], [1.0], [2.0], [3.0], [9.0]])
    found_BC = torch.tensor([[1.0], [1.0], [3.0], [3.0], [math.nan]])
    figures = property_figures(["size"], asked_BC, found_BC)
    assert (figures["size_error"].value, figures["size_error"].n) == (0.5, 4)
    assert figures["size_error"].se == pytest.approx(math.sqrt(1 / 3) / 2)
    assert figures["size_correlation"].value == pytest.approx(4 / math.sqrt(20))
    assert figures["measured"].value == 0.8
    constant = correlation(np.arange(5.0), np.ones(5))
    assert math.isnan(constant.value)


def test_the_error_of_a_correlation_is_its_spread() -> None:
    """Over 400 pairs of 200 normal draws, r = 0.6; mean of the errors within 10 % of the spread."""
    rng = np.random.default_rng(0)
    x, noise = rng.standard_normal((2, 400, 200))
    found = [correlation(a, 0.6 * a + 0.8 * b) for a, b in zip(x, noise, strict=True)]
    spread = float(np.std([each.value for each in found], ddof=1))
    assert float(np.mean([each.se for each in found])) == pytest.approx(spread, rel=0.1)


def test_what_is_no_molecule_has_no_rings() -> None:
    pytest.importorskip("rdkit")
    texts = ["c1ccccc1", "CCO", "C1CC"]
    batch = Vocabulary.from_corpus(texts, "smiles").encode(texts)
    found_BC = measured([make_reward("rings"), make_reward("qed")], batch)
    assert found_BC[:2, 0].tolist() == [1, 0]
    assert found_BC[2].isnan().all()


@pytest.mark.parametrize("kind", [TeacherForcing, VRAE])
def test_T10_a_conditional_fit_goes_on_to_the_bit(
    kind: type[Learner], letters: Sequences, tmp_path: Path
) -> None:
    def learner() -> Learner:
        options: dict[str, Any] = {
            "policy_kwargs": POLICIES["Transformer"] | {"dropout": 0.2},
            "properties": [f"{HERE}:count_a"],
            "batch_size": 12,
            "device": "cpu",
        }
        if kind is VRAE:
            options |= {"latent": 2}
        return kind("Transformer", vocabulary=letters.vocabulary, **options)

    whole = learner().fit(letters, letters, max_epochs=2)
    begun = learner().fit(
        letters, letters, max_epochs=2, callback=lambda each: each.progress.step < 5
    )
    begun.save(tmp_path / "stopped")
    loaded = load_learner(tmp_path / "stopped", "cpu")
    loaded.fit(letters, letters, max_epochs=2, reset=False)
    assert str(whole.evaluate(letters)) == str(loaded.evaluate(letters))
    ours, theirs = whole.policy.state_dict(), loaded.policy.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_of": "rings"}, "class_of is 'rings' and classes 0; say how many"),
        ({"classes": 2, "properties": 1}, "give one"),
        ({"classes": -1}, "classes is -1; expected at least 0"),
    ],
)
def test_mistakes_are_told(vocabulary: Vocabulary, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TeacherForcing("GRU", vocabulary=vocabulary, **options)


def test_a_policy_of_ones_own_needs_the_modes_that_are_drawn(vocabulary: Vocabulary) -> None:
    with pytest.raises(ValueError, match="draws what it reads from 1 modes; make it with modes=3"):
        TeacherForcing(GRUPolicy(vocabulary, condition_size=3), classes=3)
    with pytest.raises(ValueError, match="modes=32"):
        TeacherForcing(GRUPolicy(vocabulary, condition_size=1), properties=1)
    TeacherForcing(GRUPolicy(vocabulary, condition_size=3, modes=3), classes=3)


def test_conditions_that_do_not_fit_are_told(letters: Sequences) -> None:
    vocabulary = letters.vocabulary
    carried = TeacherForcing("GRU", vocabulary=vocabulary, classes=2, device="cpu")
    with pytest.raises(ValueError, match=r"needs sequences.given\(conditions\)"):
        carried.fit(letters)
    with pytest.raises(ValueError, match="the labels are 0 to 47; expected those of 2 classes"):
        carried.fit(letters.given(torch.arange(48)))
    halves = TeacherForcing(
        "GRU",
        vocabulary=vocabulary,
        classes=2,
        class_of="linear(length, low=0.0, high=4.0)",
        device="cpu",
    )
    with pytest.raises(ValueError, match=r"expected 0, 1, 2, \.\.\."):
        halves.fit(["a", "ab"] * 4)
    fails = TeacherForcing(
        "GRU", vocabulary=vocabulary, classes=2, class_of=f"{HERE}:first_letter", device="cpu"
    )
    with pytest.raises(Exception, match="first_letter"):
        fails.fit(["a", "", "b"])
