"""How many different sequences a set holds, how many are new, how much of a reference it finds.

For these three the value without a sequence follows from counts, in one pass over the set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal, get_args

from ..failures import OnError
from ..reference import Reference, reference_lines
from .base import Canonical, CreditBy, SetObjective

By = Literal["identical", "scaffold"]


class Uniqueness(SetObjective):
    """The share of different ones: v(S) = (different forms) / n.

    The marginal score is 1 for a sequence that occurs once and 0 for one that occurs again, however
    often: each copy is superfluous as long as there is another.

    Args:
        credit_by: as for ``SetObjective``.
        on_error: as for ``SetObjective``.
    """

    name = "uniqueness"
    range = (0.0, 1.0)
    microseconds = 2.0

    def value(self, forms: list[str]) -> float:
        """The share."""
        return len(set(forms)) / max(len(forms), 1)

    def pseudo_values(self, forms: list[str]) -> Sequence[float]:
        """1 or 0: the number of different forms falls by one, or not at all."""
        counts = Counter(forms)
        return [float(counts[form] == 1) for form in forms]


class _AgainstReference(SetObjective):
    """A set objective with a reference, in canonical form like the set."""

    def __init__(
        self,
        reference: Reference,
        credit_by: CreditBy = "marginal",
        on_error: OnError = "raise",
    ) -> None:
        super().__init__(credit_by, on_error)
        self._texts = reference_lines(reference)
        self._known = set(self._texts)

    def adopt_canonical(self, canonical: Canonical | None) -> None:
        """Bring the reference to the task's canonical form, too; what has none is left out.

        Raises:
            ValueError: nothing of it has one.
        """
        super().adopt_canonical(canonical)
        self._known = {form for text in self._texts if (form := self.form(text)) is not None}
        if not self._known:
            raise ValueError(
                f"{self.name}: none of the {len(self._texts)} texts of the reference, such as "
                f"{self._texts[0][:80]!r}, has a canonical form in this task; is it the right "
                "file, and are the texts in its column 'smiles' or 'text', or its first?"
            )


class Novelty(_AgainstReference):
    """The share that is not in a reference: v(S) = (forms not in it) / n.

    It is a mean, so the marginal score is 1 or 0: whether the sequence itself is new.

    Args:
        reference: what is known: texts, or a file of them.
        credit_by: as for ``SetObjective``.
        on_error: as for ``SetObjective``.
    """

    name = "novelty"
    range = (0.0, 1.0)
    microseconds = 2.0

    def value(self, forms: list[str]) -> float:
        """The share."""
        return sum(self.pseudo_values(forms)) / max(len(forms), 1)

    def pseudo_values(self, forms: list[str]) -> Sequence[float]:
        """1 or 0."""
        return [float(form not in self._known) for form in forms]


class Coverage(_AgainstReference):
    """How much of a reference a set finds: v(S) = (its keys that are in the set) / (its keys).

    The marginal score is v(S), and (n - 1) / (keys) more for a sequence that alone finds a key.
    That is large when the reference is small; the mean over the set is at most 2 v(S).

    Args:
        reference: what is to be found: texts, or a file of them.
        by: what the key is: ``"identical"``, the form itself, or ``"scaffold"``, a molecule's
            Murcko scaffold; without rings it has none.
        credit_by: as for ``SetObjective``.
        on_error: as for ``SetObjective``.
    """

    name = "coverage"
    range = (0.0, float("inf"))
    microseconds = 2.0  # by scaffold 300

    def __init__(
        self,
        reference: Reference,
        by: By = "identical",
        credit_by: CreditBy = "marginal",
        on_error: OnError = "raise",
    ) -> None:
        super().__init__(reference, credit_by, on_error)
        if by not in get_args(By):
            raise ValueError(f"by is {by!r}; expected 'identical' or 'scaffold'")
        if credit_by == "shared":
            self.range = (0.0, 1.0)
        self.by = by
        self._find_keys()

    def adopt_canonical(self, canonical: Canonical | None) -> None:
        """As for any set objective with a reference."""
        super().adopt_canonical(canonical)
        self._find_keys()

    def _find_keys(self) -> None:
        self._keys = {key for key in self._keys_of(sorted(self._known)) if key}
        if not self._keys:
            raise ValueError(f"coverage by {self.by}: nothing of the reference has a key")

    def _keys_of(self, forms: list[str]) -> Sequence[str | None]:
        if self.by == "identical":
            return forms
        from ..molecules.structure import scaffold_of  # RDKit is an extra

        return [scaffold_of(form) for form in forms]

    def value(self, forms: list[str]) -> float:
        """The share that is found."""
        return len(self._keys.intersection(self._keys_of(forms))) / len(self._keys)

    def pseudo_values(self, forms: list[str]) -> Sequence[float]:
        """v(S), and more for those that alone find a key."""
        found = self._keys_of(forms)
        counts = Counter(key if key in self._keys else None for key in found)
        share = len(counts.keys() - {None}) / len(self._keys)
        alone = (len(forms) - 1) / len(self._keys)
        return [share + alone * (key in self._keys and counts[key] == 1) for key in found]
