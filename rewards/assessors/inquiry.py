"""One question to assessors: where it is asked, and where the ratings come from.

A store (``sqlite:///ratings.sqlite``) has a queue, from which a page hands questions out. A file
(``ratings.csv``, ``ratings.jsonl``) has none: whoever fills it decides what to rate.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from ..melodies import parse_event
from .ratings import Domain, Form, Rating, RatingsFile

if TYPE_CHECKING:
    from ...envs.vocabulary import Vocabulary
    from .queue import Item

Found = TypeVar("Found")
FILES = (".csv", ".jsonl")
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds before a store is tried again
_WAIT = 5.0  # seconds that a run waits for others to finish writing, before it goes on without


class Inquiry(Protocol):
    """A question that is being asked.

    Attributes:
        has_queue: whether it is asked by us.
    """

    has_queue: bool

    def ratings(self, after: int = 0) -> list[Rating]:
        """Those with a greater id."""
        ...

    def ask(self, items: Sequence[Item]) -> int:
        """Put items on the queue; how many were not there yet."""
        ...

    def waiting(self) -> int:
        """How many items have no answer yet."""
        ...

    def close(self) -> None:
        """Let go of what it is read from."""
        ...


class FileInquiry(RatingsFile):
    """Ratings from a file; nothing is asked.

    Raises:
        FileNotFoundError: there is no folder for it; the file itself may come later.
    """

    has_queue = False

    def __init__(self, path: str, form: Form) -> None:
        super().__init__(path, form=form)
        if not self.path.parent.is_dir():
            raise FileNotFoundError(
                f"the ratings are to be in {path}, and there is no folder {self.path.parent}; make "
                "it first"
            )

    def ask(self, items: Sequence[Item]) -> int:
        """Nothing is put anywhere."""
        return 0

    def waiting(self) -> int:
        """Nothing is."""
        return 0

    def close(self) -> None:
        """Nothing is open between two calls."""


class StoreInquiry:
    """A question in a store.

    Args:
        url: of the store.
        question: its text.
        form: of the answers.
        domain: what the samples are.
        wait: seconds for others to finish writing.

    Raises:
        StoreError: the database cannot be used; here and in every method.
    """

    has_queue = True

    def __init__(
        self, url: str, question: str, form: Form, domain: Domain, wait: float = 30.0
    ) -> None:
        try:
            from .store import Store
        except ImportError as error:
            raise ImportError(
                f"a store of ratings needs {error.name}: pip install 'tokengym[assessors]'"
            ) from error
        self.store = Store(url, wait)
        self.id = self.store.question(question, form=form, domain=domain)

    def ratings(self, after: int = 0) -> list[Rating]:
        """Those with a greater id, without skips and withdrawn ones."""
        return self.store.ratings(self.id, after)

    def ask(self, items: Sequence[Item]) -> int:
        """Put items on the queue; how many were not there yet."""
        return self.store.ask(self.id, items)

    def waiting(self) -> int:
        """How many items have no answer yet."""
        return self.store.waiting(self.id)

    def close(self) -> None:
        """Close the connections."""
        self.store.close()


def open_inquiry(store: str, question: str, form: Form, domain: Domain) -> Inquiry:
    """The question in the store or the file of this name, which a run does not wait long for."""
    if Path(store).suffix in FILES:
        return FileInquiry(store, form)
    return StoreInquiry(store, question, form, domain, _WAIT)


def domain_of(vocabulary: Vocabulary) -> Domain:
    """What texts of a vocabulary are: by its notation, and whether its words are notes."""
    if vocabulary.tokenization.startswith(("smiles", "selfies")):
        return "molecules"
    words = vocabulary.tokens[: vocabulary.num_actions - (vocabulary.eos is not None)]
    return "melodies" if all(map(parse_event, words)) else "text"


class Patience:
    """Does what may fail for reasons elsewhere, and says so once; after a failure it waits longer.

    Attributes:
        failing: whether the last try failed.
    """

    def __init__(self) -> None:
        self.failing = False
        self._pause, self._again_at = _FIRST_PAUSE, 0.0

    def tried(self, what: Callable[[], Found]) -> Found | None:
        """What it gives; None where it failed now, or a moment ago."""
        if self.failing and time.monotonic() < self._again_at:
            return None
        try:
            found = what()
        except (OSError, ValueError, RuntimeError) as error:
            if not self.failing:
                warnings.warn(
                    f"the ratings cannot be reached ({error}); the run goes on with what it knows "
                    "of them, and tries again",
                    stacklevel=2,
                )
            self._pause = min(2 * self._pause, _LONGEST_PAUSE) if self.failing else _FIRST_PAUSE
            self.failing, self._again_at = True, time.monotonic() + self._pause
            return None
        self.failing = False
        return found
