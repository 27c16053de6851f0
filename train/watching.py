"""Says what a scorer is being asked when it takes long, so that one that hangs is not silent."""

from __future__ import annotations

import math
import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console

_PATIENCE = 10.0  # seconds before anything is said


class Watch:
    """A context in which somebody is asked one thing after the other.

    Args:
        console: where to say what takes long.
        patience: seconds that it may take until then.
    """

    def __init__(self, console: Console, patience: float = _PATIENCE) -> None:
        self._console, self._patience = console, patience
        self._ended = threading.Event()
        self._asked, self._since = "nothing yet", math.inf
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def tell(self, asked: str) -> None:
        """Hear what is asked now."""
        self._asked, self._since = asked, time.monotonic()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        if kind is not None:
            self._say(f"it ended while it was asked about {self._asked}")

    def _watch(self) -> None:
        said = ""
        while not self._ended.wait(self._patience / 10):
            if time.monotonic() - self._since > self._patience and said != self._asked:
                said = self._asked
                self._say(
                    f"still waiting for the score of {said}; Ctrl-C ends it, and timeout=5 makes "
                    "what takes longer than 5 s a failure"
                )

    def _say(self, said: str) -> None:
        self._console.print(said, soft_wrap=True)
