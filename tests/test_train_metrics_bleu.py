"""BLEU and Self-BLEU by hand, and against sacrebleu on every pair."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tokengym.train.metrics.bleu import ORDERS, bleu_figures, self_bleu_figures


@pytest.mark.parametrize(
    ("text", "references", "expected"),
    [
        ("a b c", ["a b d"], math.sqrt(2 / 3 * 1 / 2)),
        ("a b", ["a b c d"], math.exp(1 - 4 / 2)),  # too short
        ("a b c", ["a b", "b c d"], 1.0),  # all references are one set of phrases
        ("a c", ["a b"], math.sqrt(1 / 2 * 1 / 2)),  # no bigram: half of one is counted
        ("a a a", ["a b"], math.sqrt(1 / 3 * 1 / 2 / 2)),  # an n-gram counts as often as there
        ("a a a", ["a a", "a b"], math.sqrt(2 / 3 * 1 / 2)),
        ("a b", ["a", "a b c"], 1.0),  # of two lengths as near, the shorter
        ("a", ["a b"], math.exp(1 - 2)),  # orders longer than the text are left out
        ("c d", ["a b"], 0.0),
        ("", ["a b"], 0.0),
    ],
)
def test_bleu_2_by_hand(text: str, references: list[str], expected: float) -> None:
    figures = bleu_figures([text.split()], [each.split() for each in references])
    assert figures["bleu_2"].value == pytest.approx(expected)


def test_smoothing_halves_with_every_order_without_a_match() -> None:
    figures = bleu_figures([["a", "x", "b", "y", "c"]], [["a", "b", "c", "d", "e"]])
    for k, precisions in {2: (3 / 5, 1 / 8), 3: (3 / 5, 1 / 8, 1 / 12)}.items():
        assert figures[f"bleu_{k}"].value == pytest.approx(math.prod(precisions) ** (1 / k))


def test_no_text_is_its_own_reference() -> None:
    apart = self_bleu_figures([["a", "b"], ["c", "d"], ["e", "f"]])
    assert all(apart[f"self_bleu_{k}"].value == 0.0 for k in ORDERS)
    copies = self_bleu_figures([["a", "b"]] * 3)
    assert all(copies[f"self_bleu_{k}"].value == 1.0 for k in ORDERS)
    # a b | a c: one of two words, no bigram; of e f nothing.
    some = self_bleu_figures([["a", "b"], ["a", "c"], ["e", "f"]])
    assert some["self_bleu_2"].value == pytest.approx((0.5 + 0.5 + 0.0) / 3)
    assert self_bleu_figures([["a"], ["a"]])["self_bleu_2"].value == 1.0
    assert math.isnan(self_bleu_figures([["a"], ["a"]])["self_bleu_2"].se)
    assert math.isnan(self_bleu_figures([["a"]])["self_bleu_2"].value)


def texts(number: int, seed: int) -> list[list[str]]:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 10, size=number)
    return [[str(word) for word in generator.integers(0, 5, size=length)] for length in lengths]


@pytest.mark.parametrize("k", ORDERS)
def test_both_equal_sacrebleu(k: int) -> None:
    sacrebleu = pytest.importorskip("sacrebleu.metrics.bleu")
    metric = sacrebleu.BLEU(max_ngram_order=k, tokenize="none", effective_order=True)
    written, known = texts(40, seed=0), texts(30, seed=1)

    def score(text: list[str], references: list[list[str]]) -> float:
        found = metric.sentence_score(" ".join(text), [" ".join(each) for each in references])
        return float(found.score) / 100

    against = [score(text, known) for text in written]
    assert bleu_figures(written, known)[f"bleu_{k}"].value == pytest.approx(np.mean(against))
    own = [score(text, written[:i] + written[i + 1 :]) for i, text in enumerate(written)]
    assert self_bleu_figures(written)[f"self_bleu_{k}"].value == pytest.approx(np.mean(own))


def test_the_error_of_self_bleu_is_the_jackknifes() -> None:
    written = texts(40, seed=2)
    without = [
        self_bleu_figures([text for i, text in enumerate(written) if i % 20 != group])
        for group in range(20)
    ]
    values = np.array([figures["self_bleu_3"].value for figures in without])
    expected = math.sqrt(19 / 20 * ((values - values.mean()) ** 2).sum())
    found = self_bleu_figures(written)["self_bleu_3"]
    assert found.se == pytest.approx(expected)
    assert found.n == 40
