"""A regular expression as an objective.

The engine is RE2 (extra ``texts``), whose time is linear in the text for every pattern. Python's
own can take exponential time, for ``(a*)*b`` on a row of 40 letters longer than any run, and no
time-out within the process could interrupt it. RE2 has no back-references and no look-around, the
two things that linear time does not allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from .objective import Objective, ObjectiveOptions

try:
    import re2
except ImportError as error:  # pragma: no cover - the message is tested in a subprocess
    raise ImportError(
        "regular expressions need RE2, which is not installed; install it with "
        "pip install 'tokengym[texts]'"
    ) from error


class Pattern(Objective):
    """1.0 for a text in which a regular expression is found, 0.0 for one without.

    Args:
        pattern: in RE2's syntax; ``^`` and ``$`` hold it to the whole text.
        forbidden: 1.0 for texts without it.
        **options: as for ``Objective``.

    Raises:
        ValueError: it is no such expression.
    """

    name = "pattern"
    range = (0.0, 1.0)
    microseconds = 5.0

    def __init__(
        self, pattern: str, forbidden: bool = False, **options: Unpack[ObjectiveOptions]
    ) -> None:
        super().__init__(**options)
        self.pattern, self.forbidden = pattern, forbidden
        silent = re2.Options()
        silent.log_errors = False
        try:
            self._compiled = re2.compile(pattern, silent)
        except re2.error as error:
            why = error.args[0].decode() if isinstance(error.args[0], bytes) else error
            raise ValueError(f"{pattern!r} is no regular expression of RE2: {why}") from error

    def score(self, texts: list[str]) -> Sequence[float | None]:
        """1.0 or 0.0 a text."""
        return [float((self._compiled.search(t) is not None) != self.forbidden) for t in texts]
