"""What a fork must not share with its parent: workers that run, and threads that only it has.

A fork has a copy of every pipe, so both processes would read the answers to what either asked; and
it has none of the threads, so what waits for one waits for ever. AsyncVectorEnv forks, for one.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forgetful(Protocol):
    """Has something that belongs to the process that started it."""

    def forget(self) -> None:
        """In a fork: let go of it without ending it; what is needed is started again."""
        ...


def forget_in_forks(owner: Forgetful) -> None:
    """Have ``owner.forget()`` called in every fork of this process, for as long as it is used."""
    _OWNERS.add(owner)


def _forget() -> None:
    for owner in list(_OWNERS):
        owner.forget()


_OWNERS: WeakSet[Forgetful] = WeakSet()
if hasattr(os, "register_at_fork"):  # POSIX
    os.register_at_fork(after_in_child=_forget)
