"""A budget: how many different sequences an objective may be asked about.

What counts is a canonical form, once, whoever knew its score: a memo on disk that another run has
filled makes scoring cheaper, and no run's budget larger.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from .checks import check_whole


class BudgetExhausted(RuntimeError):  # noqa: N818 - an end, not an error
    """An objective has scored as many different sequences as its budget allows.

    The environments raise it at the end of the first sequence after that, so around the ``learn``
    of Stable-Baselines3's agents it is what to catch. This project's agents stop by themselves.
    """


class Budget:
    """Counts different keys, up to ``limit``.

    They are remembered by 64 bits of a hash: of a million, two share it with probability 3e-8.
    """

    def __init__(self, limit: int) -> None:
        check_whole(1, budget=limit)
        self.limit = limit
        self._seen: set[int] = set()

    @property
    def spent(self) -> int:
        """How many different keys there were."""
        return len(self._seen)

    @property
    def exhausted(self) -> bool:
        """Whether no other key is allowed."""
        return self.spent >= self.limit

    def refused(self, keys: Sequence[str]) -> Collection[str]:
        """Count keys in their order; those that the budget has no room for."""
        refused: set[str] = set()
        for key in dict.fromkeys(keys):
            number = _hash(key)
            if number not in self._seen:
                if self.exhausted:
                    refused.add(key)
                else:
                    self._seen.add(number)
        return refused

    def state(self) -> Tensor:
        """The hashes, int64, for a checkpoint."""
        return torch.tensor(sorted(self._seen), dtype=torch.int64)

    def restore(self, hashes: Tensor) -> None:
        """The inverse of ``state``."""
        self._seen = set(hashes.tolist())


def _hash(key: str) -> int:
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
