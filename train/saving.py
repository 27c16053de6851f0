"""Checkpoints of a run, now and then, whatever the disk says."""

from __future__ import annotations

import time
import warnings

from rich.console import Console

from .run_folder import RunFolder, Saveable


class Saver:
    """Writes checkpoints into a run's folder.

    A disk that is full may have room again at the next one: the run goes on, with a warning, and
    only a last checkpoint that could not be written is an error.

    Args:
        folder: where to.
        saved: the agent or the learner.
        every: seconds between two.
        console: where to say that they are written again.
    """

    def __init__(self, folder: RunFolder, saved: Saveable, every: float, console: Console) -> None:
        self._folder, self._saved, self._every, self._console = folder, saved, every, console
        self._saved_at = time.monotonic()
        self._unsaved: OSError | None = None  # why the last one could not be written

    def save_if_due(self) -> None:
        """Write one if the last is old enough."""
        if time.monotonic() - self._saved_at >= self._every:
            self.save()

    def save(self) -> None:
        """Write one."""
        self._saved_at = time.monotonic()
        try:
            self._folder.save(self._saved)
        except OSError as error:
            if self._unsaved is None:
                warnings.warn(
                    f"no checkpoint could be written ({error}); the one before stays, the run goes "
                    f"on and tries again in {self._every:g} s; is the disk full?",
                    stacklevel=2,
                )
            self._unsaved = error
            return
        if self._unsaved is not None:
            self._console.print(f"checkpoints are written again: {self._folder.checkpoint}")
        self._unsaved = None

    def ensure_saved(self) -> None:
        """Check that the last one was written.

        Raises:
            OSError: it was not.
        """
        if self._unsaved is not None:
            raise OSError(
                f"the last checkpoint could not be written: {self._unsaved}; make room on the "
                "disk and resume from the one before"
            ) from self._unsaved
