"""Black-box objectives: any program that gives texts numbers and that nobody can differentiate.

Order of scoring: decode, canonical form, budget, memo, unique only, objective, check, memo. How the
objective is asked and what becomes of its failures is in black_box.py.
"""

# Shapes: B sequences
from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

import torch
from torch import Tensor

from .base import Scores
from .black_box import BlackBox, named
from .budget import Budget, BudgetExhausted
from .checks import checked_memo
from .crew import called
from .executing import Where
from .failures import ObjectiveError, OnError
from .memo import Memo, SQLiteMemo
from .namespace import Told, Unnameable, arguments_of, tell, told_by
from .options import Canonical, KeepingOptions, ObjectiveOptions
from .state import State, with_prefix

if TYPE_CHECKING:
    from ..envs.sequences import Sequences

__all__ = ["KeepingOptions", "Objective", "ObjectiveError", "ObjectiveOptions"]


class Objective(BlackBox):
    """A black box over texts, scored through a memo; subclasses define ``score``.

    Args:
        canonical: text -> canonical form, or None when it has none. Texts with one canonical form
            share one score. ``"task"`` takes the task's (RDKit's for molecules, a melody without
            its transposition): right for an objective of the molecule, wrong for one of the text,
            such as its length. Without it, equal texts share one score, which is always right.
        memo: keep scores in memory; or in a file, ``"scores.sqlite"``, for later runs and for
            several processes at once. False when the same text may score differently.
        version: anything that tells these scores from others in such a file, beside what is told
            apart anyway: name, class, arguments, code and canonical form (see namespace.py). It
            has to change with arguments that cannot be told from others, such as models.
        budget: how many different canonical forms may be scored; the sequences beyond are not ok,
            agents end their run, and environments raise ``BudgetExhausted``.
        on_error: ``"raise"`` an ``ObjectiveError``, or ``"skip"``: the sequence is marked not ok.
        max_failed_share: a run stops when more than this share of the last sequences (256 of them,
            and what completes the oldest call) failed; 1 never stops it.
        executor: where to score, if not here: a ``concurrent.futures.Executor``, a function that
            makes one (which then is made again when it breaks), or a number of worker processes.
        timeout: seconds that one sequence may take; then the worker process that it hangs in is
            killed, and the sequence is a failure. Needs processes of ours, one by default.

    Attributes:
        memo: the scores that are known; None without one.
        spent: how many different sequences were asked for, where there is a budget.
        changes_no_score: of a class, the names of arguments that do not tell its scores from others
            on disk: how often a service is asked again, how many copies of a program run.
    """

    changes_no_score: ClassVar[tuple[str, ...]] = ()

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        """Note the arguments that decide what is scored."""
        made = super().__new__(cls)
        try:
            arguments = arguments_of(cls.__init__, args, kwargs)
        except TypeError:  # they do not fit, or are none (a copy): who is called next knows
            return made
        made._arguments = {}
        for name, value in cls.deciding(arguments).items():
            told = tell(value)
            made._arguments[name] = value if told.unfilled else told
        return made

    _arguments: dict[str, object]  # Told; or itself, where a closure is still to be filled

    @classmethod
    def deciding(cls, arguments: Mapping[str, object]) -> dict[str, object]:
        """Of the arguments it is made with, those that tell its scores from others on disk."""
        left = _OPTIONS.union(cls.changes_no_score)
        return {name: value for name, value in arguments.items() if name not in left}

    def __init__(
        self,
        *,
        canonical: Canonical | Literal["task"] | None = None,
        memo: bool | str | Path = True,
        version: str | int = "",
        budget: int | None = None,
        on_error: OnError = "raise",
        max_failed_share: float = 0.9,
        executor: Where | None = None,
        timeout: float | None = None,
    ) -> None:
        super().__init__(on_error, max_failed_share, executor, timeout)
        if canonical is not None and canonical != "task" and not callable(canonical):
            raise ValueError(f"canonical is {canonical!r}; expected a function, 'task' or None")
        self._canonical_of_task = canonical == "task"
        self.canonical: Canonical | None = canonical if callable(canonical) else None
        self.version = version
        self._memo_kind = checked_memo(memo)
        self._budget = None if budget is None else Budget(budget)
        self._hits = 0

    def __call__(self, sequences: Sequences) -> Scores:
        """Score B sequences by their texts."""
        values = self.score_texts(sequences.texts)
        values_B = torch.tensor(
            [torch.nan if value is None else value for value in values]
            if None in values
            else cast("list[float]", values),
            dtype=torch.float32,
            device=sequences.tokens_BT.device,
        )
        return Scores.of(self.name, values_B)

    # --- the order of scoring -----------------------------------------------------------------

    def score_texts(self, texts: list[str]) -> list[float | None]:
        """Checked scores of texts, each unique canonical form scored once; None for failures.

        Raises:
            ObjectiveError: with ``on_error="raise"``, when the objective breaks its contract.
        """
        if self.canonical is None:
            return self._score_keyed(texts, texts)
        keyed = {place: key for place, text in enumerate(texts) if (key := self._key(text))}
        found = self._score_keyed([texts[place] for place in keyed], list(keyed.values()))
        values: list[float | None] = [None] * len(texts)
        for place, value in zip(keyed, found, strict=True):
            values[place] = value
        if failed := len(texts) - len(keyed):
            self._failures.count(failed, failed)
        return values

    def _score_keyed(self, texts: list[str], keys: list[str]) -> list[float | None]:
        memo = self.memo
        refused = () if self._budget is None else self._budget.refused(keys)
        values: list[float | None] = [None] * len(keys) if memo is None else memo.get_many(keys)
        if refused:
            values = [None if k in refused else v for k, v in zip(keys, values, strict=True)]
        names: Sequence[Hashable] = range(len(keys)) if memo is None else keys
        first: dict[Hashable, int] = {}  # what has to be scored, and where it stands
        if None in values:
            for place, value in enumerate(values):
                if value is None and keys[place] not in refused:
                    first.setdefault(names[place], place)
        asked = {texts[place]: keys[place] for place in first.values()}

        def keep(scores: Mapping[str, float]) -> None:
            assert memo is not None
            memo.put_many({asked[text]: score for text, score in scores.items()})

        anew = self.score_anew(
            [texts[place] for place in first.values()], None if memo is None else keep
        )
        if first:
            fresh = dict(zip(first, anew, strict=True))
            values = [fresh.get(n, v) for n, v in zip(names, values, strict=True)]
        unpaid = sum(key in refused for key in keys) if refused else 0
        self._hits += len(keys) - unpaid - len(first)
        self._failures.count(len(keys) - unpaid, values.count(None) - unpaid)
        return values

    def _key(self, text: str) -> str | None:
        """The canonical form, or the text itself if it has none, told apart; None where it failed.

        Raises:
            ObjectiveError: with ``on_error="raise"``, instead of None.
        """
        assert self.canonical is not None
        error = None
        try:
            form = called(self.canonical, text)
            if form is None:
                return f"text {text}"
            if isinstance(form, str):
                return f"form {form}"
            why = f"returned {form!r} ({type(form).__name__})"
        except Exception as raised:
            error, why = raised, f"raised {named(raised)}"
        why = f"has a canonical form that {why}"
        self._failures.meet(self.name, text, why, "let it return a text, or None", error)
        return None

    def __getstate__(self) -> dict[str, object]:
        """What travels to a worker: what scores, not what is known or spent, nor the way there."""
        budget = None if self._budget is None else Budget(self._budget.limit)
        anew = {"_budget": budget, "_where": None, "_timeout": None}
        left = ("memo", "namespace", "_remote")
        return {k: v for k, v in vars(self).items() if k not in left} | anew

    # --- what it knows, may and has done -------------------------------------------------------

    @cached_property
    def memo(self) -> Memo | None:
        """The scores that are known."""
        if isinstance(self._memo_kind, bool):
            return Memo() if self._memo_kind else None
        return SQLiteMemo(self._memo_kind, self.namespace)

    @cached_property
    def namespace(self) -> str:
        """What its scores are kept under in a memo on disk; told once, before it has scored.

        Raises:
            ValueError: an argument is no plain value, so it cannot be told from another.
        """
        bases = [b for b in type(self).__mro__ if issubclass(b, Objective) and b is not Objective]
        try:
            told = told_by(
                {"class": tell(bases), "canonical": tell(self.canonical)}
                | {
                    f"argument {name}": value if isinstance(value, Told) else tell(value)
                    for name, value in self._arguments.items()
                },
                self.version,
            )
        except Unnameable as error:
            raise ValueError(
                f"objective {self.name!r} was made with {error}, which cannot be told from another "
                "such value in a memo on disk; give it a version= that changes whenever that does, "
                "or memo=True"
            ) from error
        kind = type(self)
        return f"{self.name} {kind.__module__}.{kind.__qualname__} {told}"

    @property
    def asks_again(self) -> bool:
        """Not where a budget says that asking has its price."""
        return self._budget is None

    @property
    def budget(self) -> int | None:
        """How many different sequences may be scored; None: any number."""
        return None if self._budget is None else self._budget.limit

    @property
    def spent(self) -> int:
        """How many different sequences were asked for; 0 without a budget."""
        return 0 if self._budget is None else self._budget.spent

    def prepare(self, vocabulary: object, max_length: int, device: torch.device | str) -> None:
        """Open the memo, so that a file that cannot be used says so before the work begins."""
        _ = self.memo, self._name_of_memory()

    def adopt_canonical(self, canonical: Canonical | None) -> None:
        """Take the task's canonical form where it was asked for."""
        if self._canonical_of_task and canonical is not self.canonical:
            self.canonical = canonical
            for derived in ("memo", "namespace"):  # keys are of another form
                self.__dict__.pop(derived, None)

    def ensure_usable(self) -> None:
        """As for any reward."""
        if self._budget is not None and self._budget.exhausted:
            raise BudgetExhausted(
                f"objective {self.name!r} has scored its budget of {self._budget.limit} sequences"
            )
        super().ensure_usable()

    def take_statistics(self) -> dict[str, float]:
        """Milliseconds, memo hits, and what is spent of a budget."""
        figures = super().take_statistics()
        if self.memo is not None:
            figures["memo_hits"], self._hits = self._hits, 0
        if self._budget is not None:
            figures["spent"] = self.spent
        return figures

    def state(self) -> State:
        """The memo in memory, what is spent of the budget, and the last failures."""
        tensors: dict[str, Tensor] = {}
        state: dict[str, Any] = {"failures": self._failures.state()}
        if self._budget is not None:
            tensors["budget"] = self._budget.state()
        if self.memo is not None and (named := self._name_of_memory()):
            tensors |= {f"memo.{name}": tensor for name, tensor in self.memo.state().items()}
            state["namespace"] = named
        return tensors, state

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """The inverse of ``state``; scores of another parametrisation are left out."""
        self._failures.restore(state["failures"])
        if self._budget is not None and "budget" in tensors:
            self._budget.restore(tensors["budget"])
        known = with_prefix("memo", tensors)
        if self.memo is not None and known and state["namespace"] == self._name_of_memory():
            self.memo.restore(known)

    def _name_of_memory(self) -> str | None:
        try:
            return self.namespace
        except ValueError:
            return None  # nobody could tell whose they are


_OPTIONS = frozenset(ObjectiveOptions.__annotations__)
