"""What a set is worth, and what of it each sequence is owed.

A set objective gives a value v(S) to the sequences of a batch together: how many are different, how
far they lie apart. A policy learns from a value for each sequence, and gets it one of two ways.

``credit_by="marginal"``: what the set would lose without the sequence,

    score_i = v(S) + (n - 1) (v(S) - v(S without i)) = n v(S) - (n - 1) v(S without i),

the jackknife's pseudo-values (Quenouille, 1956; Tukey, 1958). The factor n - 1 brings the marginal
contribution, which shrinks as the set grows, to the scale of v: where v is the mean of one number a
sequence, score_i is that number, and in general the mean of the scores is v(S) less the jackknife's
estimate of its bias. The term v(S), the same for all, is what a baseline takes away again.

``credit_by="shared"``: v(S) for every sequence. It says how good the batch is and not whose merit
that is, so with a baseline taken over the batch nothing can be learnt from it.

Either way a score depends on the whole batch: the credit is always "terminal", there is no memo,
and where single episodes end one at a time (a TokenEnv), a set holds that one sequence. A set that
cannot be valued fails as a whole.
"""

# Shapes: B sequences
from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, get_args

import torch

from ..base import Reward, Scores
from ..black_box import named
from ..checks import check_choice
from ..crew import called
from ..failures import Failures, OnError, short

if TYPE_CHECKING:
    from ...envs.sequences import Sequences

CreditBy = Literal["marginal", "shared"]
_MOST_FAILED = 0.9  # the share of failed sequences that ends a run
Canonical = Callable[[str], str | None]


class SetObjective(Reward):
    """A value of a set of texts, with credit to each; subclasses define ``value``.

    The set is of canonical forms, where the task has one (RDKit's for molecules), else of the texts
    as they are. What has none, such as a string that is no molecule, is not in it and scores 0.0.

    Args:
        credit_by: ``"marginal"``, what the set would lose without it, or ``"shared"``, the value.
        on_error: ``"raise"`` an ``ObjectiveError``, or ``"skip"``: a set that cannot be valued, and
            a text that has no form because that raised, are not ok.

    Attributes:
        canonical: the task's canonical form; None where it has none.
    """

    canonical: Canonical | None = None

    def __init__(self, credit_by: CreditBy = "marginal", on_error: OnError = "raise") -> None:
        check_choice(get_args(CreditBy), credit_by=credit_by)
        self.credit_by = credit_by
        self._failures = Failures(_MOST_FAILED, on_error)

    @property
    def first_failure(self) -> str:
        """What failed first, and why; empty when nothing has."""
        return self._failures.first

    @abstractmethod
    def value(self, forms: list[str]) -> float:
        """What the sequences of these forms are worth together; defined for none and one, too."""

    def pseudo_values(self, forms: list[str]) -> Sequence[float]:
        """N v(S) - (n - 1) v(S without i) for each of them: here by n + 1 calls of ``value``."""
        n, whole = len(forms), self.value(forms)
        return [n * whole - (n - 1) * self.value(forms[:i] + forms[i + 1 :]) for i in range(n)]

    def __call__(self, sequences: Sequences) -> Scores:
        """Score B sequences as one set.

        Raises:
            ObjectiveError: with ``on_error="raise"``, when there is not one finite score for each.
        """
        texts = sequences.texts
        values: list[float] = [0.0] * len(texts)
        places: dict[int, str] = {}
        for place, text in enumerate(texts):
            try:
                form = called(self.form, text)
            except Exception as error:
                self._failures.meet(self.name, text, f"raised {named(error)}", cause=error)
                values[place] = math.nan
            else:
                places |= {} if form is None else {place: form}
        for place, score in zip(places, self._scores(list(places.values())), strict=True):
            values[place] = score
        self._failures.count(len(texts), sum(map(math.isnan, values)))
        return Scores.of(self.name, torch.tensor(values, device=sequences.tokens_BT.device))

    def _scores(self, forms: list[str]) -> Sequence[float]:
        """A score for each of a set; NaN for all where that failed."""
        error, n = None, len(forms)
        try:
            scores = called(self._credits, forms)
            if len(scores) == n and all(map(math.isfinite, scores)):
                return scores
            why = f"has the scores {scores[:8]}"
        except Exception as raised:
            error, why = raised, f"raised {named(raised)}"
        remedy, first = "expected a finite number for each", forms[0] if forms else ""
        where = f"for a set of {n} that begins with {short(first)}"
        self._failures.meet(self.name, first, why, remedy, error, where=where)
        return [math.nan] * n

    def _credits(self, forms: list[str]) -> list[float]:
        shared = self.credit_by == "shared"
        return [self.value(forms)] * len(forms) if shared else list(self.pseudo_values(forms))

    def ensure_usable(self) -> None:
        """As for any reward."""
        self._failures.ensure_few(self.name)

    def adopt_canonical(self, canonical: Canonical | None) -> None:
        """Take the task's canonical form: what is equal by it is equal here."""
        self.canonical = canonical

    def form(self, text: str) -> str | None:
        """What a text is in the set; None when it is not in it."""
        return text if self.canonical is None else self.canonical(text)
