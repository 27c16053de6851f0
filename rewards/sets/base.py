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
and where single episodes end one at a time (a TokenEnv), a set holds that one sequence.
"""

# Shapes: B sequences
from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, get_args

import torch

from ..base import Reward, Scores
from ..objective import ObjectiveError

if TYPE_CHECKING:
    from ...envs.sequences import Sequences

CreditBy = Literal["marginal", "shared"]
Canonical = Callable[[str], str | None]


class SetObjective(Reward):
    """A value of a set of texts, with credit to each; subclasses define ``value``.

    The set is of canonical forms, where the task has one (RDKit's for molecules), else of the texts
    as they are. What has none, such as a string that is no molecule, is not in it and scores 0.0.

    Args:
        credit_by: ``"marginal"`` or ``"shared"``, as the top of this file says.

    Attributes:
        canonical: the task's canonical form; None where it has none.
    """

    canonical: Canonical | None = None

    def __init__(self, credit_by: CreditBy = "marginal") -> None:
        if credit_by not in get_args(CreditBy):
            raise ValueError(f"credit_by is {credit_by!r}; expected 'marginal' or 'shared'")
        self.credit_by = credit_by

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
            ObjectiveError: there is not one finite score for each.
        """
        found = list(map(self.form, sequences.texts))
        places = [place for place, form in enumerate(found) if form is not None]
        forms = [form for form in found if form is not None]
        shared = self.credit_by == "shared"
        scores = [self.value(forms)] * len(forms) if shared else self.pseudo_values(forms)
        if len(scores) != len(forms) or not all(map(math.isfinite, scores)):
            raise ObjectiveError(
                f"objective {self.name!r} has the scores {list(scores)[:8]} for a set of "
                f"{len(forms)}, which begins with {forms[:1]}; expected a finite number for each"
            )
        values_B = torch.zeros(len(found), device=sequences.tokens_BT.device)
        values_B[places] = values_B.new_tensor(scores)
        return Scores.of(self.name, values_B)

    def adopt_canonical(self, canonical: Canonical | None) -> None:
        """Take the task's canonical form: what is equal by it is equal here."""
        self.canonical = canonical

    def form(self, text: str) -> str | None:
        """What a text is in the set; None when it is not in it."""
        return text if self.canonical is None else self.canonical(text)
