"""Objectives made of a function that somebody wrote.

    @tokengym.objective                        # a batch: list[str] -> list[float | None]
    def halogens(texts):
        return [text.count("Cl") + text.count("F") for text in texts]

    @tokengym.objective(per_sequence=True)     # one: str -> float | None
    def short(text):
        return 1.0 / (1 + len(text))

What is true of every objective (memo, budget, failures) is in objective.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, SupportsIndex, Unpack, cast, get_args, overload

from .base import Credit
from .checks import check_choice, check_name, checked_range
from .crew import Answer, called, one_by_one
from .executing import import_reference, reference_to
from .objective import Objective, ObjectiveOptions

BatchFunction = Callable[[list[str]], Sequence[float | None]]
SequenceFunction = Callable[[str], float | None]
_ANY = (-float("inf"), float("inf"))


class FunctionObjective(Objective):
    """An objective made of a function; usually written with the decorator ``objective``.

    Args:
        function: of a list of texts, or of one text.
        per_sequence: the function takes one text, not a list.
        name: in logs and errors; the function's own name by default.
        range: the lowest and the highest score, for whoever reads them.
        credit: ``"rollouts"`` to score every Monte Carlo completion with it (for cheap ones).
        **options: as for ``Objective``.
    """

    changes_no_score = ("range", "credit")

    _origin: FunctionObjective | None

    def __init__(
        self,
        function: BatchFunction | SequenceFunction,
        *,
        per_sequence: bool = False,
        name: str | None = None,
        range: tuple[float, float] = _ANY,
        credit: Credit = "terminal",
        **options: Unpack[ObjectiveOptions],
    ) -> None:
        super().__init__(**options)
        check_choice(get_args(Credit), credit=credit)
        self._options, self._origin = options, None
        self.function = function
        self.per_sequence = per_sequence
        own = str(getattr(function, "__name__", type(function).__name__))
        self.name = own if name is None else name
        check_name(self.name)
        self.range = checked_range(range)
        self.credit = credit
        self.__doc__ = function.__doc__

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        """Travel by name where there is one: the function's own name means this object.

        Or the one that this was made of by ``with_options``.
        """
        if self._origin is not None:
            here = ("executor", "timeout")
            return _remade, (
                self._origin,
                {k: v for k, v in self._options.items() if k not in here},
            )
        reference = reference_to(self, self.function)
        return (import_reference, reference) if reference else super().__reduce_ex__(protocol)

    def __getstate__(self) -> dict[str, object]:
        """As for any objective."""
        return super().__getstate__() | {"_options": {}}  # of which executors cannot travel

    def with_options(self, **options: Unpack[ObjectiveOptions]) -> FunctionObjective:
        """Another objective of the same function, with other keywords of ``Objective``."""
        made = FunctionObjective(
            self.function,
            per_sequence=self.per_sequence,
            name=self.name,
            range=self.range,
            credit=self.credit,
            **cast(ObjectiveOptions, {**self._options, **options}),
        )
        made._origin = self
        return made

    def score(self, texts: list[str]) -> Sequence[Answer]:
        """Call the function, once for the batch or once for each text."""
        if self.per_sequence:
            function = cast(SequenceFunction, self.function)
            return one_by_one(lambda text: called(function, text), texts)
        return cast(BatchFunction, self.function)(texts)


def _remade(origin: FunctionObjective, options: ObjectiveOptions) -> FunctionObjective:
    return origin.with_options(**options)


@overload
def objective(function: BatchFunction, /) -> FunctionObjective: ...
@overload
def objective(
    *,
    per_sequence: Literal[False] = False,
    name: str | None = None,
    range: tuple[float, float] = ...,
    credit: Credit = "terminal",
    **options: Unpack[ObjectiveOptions],
) -> Callable[[BatchFunction], FunctionObjective]: ...
@overload
def objective(
    *,
    per_sequence: Literal[True],
    name: str | None = None,
    range: tuple[float, float] = ...,
    credit: Credit = "terminal",
    **options: Unpack[ObjectiveOptions],
) -> Callable[[SequenceFunction], FunctionObjective]: ...
def objective(
    function: BatchFunction | None = None,
    /,
    *,
    per_sequence: bool = False,
    name: str | None = None,
    range: tuple[float, float] = _ANY,
    credit: Credit = "terminal",
    **options: Unpack[ObjectiveOptions],
) -> FunctionObjective | Callable[[Any], FunctionObjective]:
    """Make a reward of a function of texts; the arguments are those of ``FunctionObjective``."""

    def decorate(function: BatchFunction | SequenceFunction) -> FunctionObjective:
        if not callable(function):
            raise TypeError(f"objective decorates a function, got {function!r}")
        return FunctionObjective(
            function, per_sequence=per_sequence, name=name, range=range, credit=credit, **options
        )

    return decorate if function is None else decorate(function)
