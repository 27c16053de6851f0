"""Ctrl-C asks a run to stop at the next whole step; a second one stops at once.

So do SIGTERM, and SIGHUP, which a terminal sends when it is closed.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType, TracebackType
from typing import Self

_SIGNALS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


class StopRequest:
    """True once the user asked to stop; a context manager that listens for the signals."""

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[int, signal._HANDLER] = {}

    def __bool__(self) -> bool:
        return self._asked

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        print("\nstopping after this step; once more stops at once", file=sys.stderr, flush=True)
