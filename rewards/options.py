"""The keywords of objectives, as types; ``Objective`` says what they mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypedDict

from .executing import Where
from .failures import OnError

Canonical = Callable[[str], str | None]


class KeepingOptions(TypedDict, total=False):
    """The keywords that every objective takes; ``Objective`` says what they mean."""

    canonical: Canonical | Literal["task"] | None
    memo: bool | str | Path
    version: str | int
    budget: int | None
    on_error: OnError
    max_failed_share: float


class ObjectiveOptions(KeepingOptions, total=False):
    """Those, and where to score; for whatever is Python called by us."""

    executor: Where | None
    timeout: float | None
