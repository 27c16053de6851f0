"""Which questions are put on the queue: new samples, and now and then what tells of the assessors.

Most ask about what the policy writes, chosen in choosing.py. A few repeat what was rated, a pair
the other way round, or have a known answer: they say how far answers can be relied on.
"""

# Shapes: B sequences, T steps
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..checks import check_share
from .choosing import choose
from .preference import PreferenceModel
from .ratings import Rating

if TYPE_CHECKING:
    from .queue import Item

_GOLD_WANTED = 3  # assessors for each question with a known answer


@dataclass(frozen=True, kw_only=True)
class Questions:
    """Makes questions; random numbers are torch's own generator's.

    Raises:
        ValueError: what should be a share is none.
    """

    random_share: float
    """Of the questions about new samples, how many ask about samples at random."""
    repeat_share: float
    """Of all, how many ask once more."""
    gold: Sequence[Rating]
    """Ratings whose answers are taken for known."""
    gold_share: float
    """Of all, how many have a known answer; none where there is no gold."""

    def __post_init__(self) -> None:
        check_share(
            random_share=self.random_share,
            repeat_share=self.repeat_share,
            gold_share=self.gold_share,
        )

    def make(
        self,
        count: int,
        model: PreferenceModel,
        texts: Sequence[str],
        tokens_BT: Tensor,
        rated: Sequence[tuple[str, str | None]],
        priority: float,
    ) -> list[Item]:
        """At most so many.

        Args:
            count: how many.
            model: what is known.
            texts: B different samples.
            tokens_BT: the same as tokens.
            rated: what may be asked again, (on the left) and on the right.
            priority: in the queue, where the highest is asked first.
        """
        from .queue import Item

        controls = (self._control(rated, priority) for _ in range(count))
        items = [item for item in controls if item is not None]
        for asked in choose(model, tokens_BT, count - len(items), self.random_share):
            right = None if asked.right is None else texts[asked.right]
            items.append(Item(texts[asked.left], right, asked.kind, priority=priority))
        return items

    def _control(self, rated: Sequence[tuple[str, str | None]], priority: float) -> Item | None:
        """With the probability of these shares one that was asked before, or has a known answer."""
        from .queue import Item

        drawn, which = torch.rand(()).item(), torch.rand(()).item()
        if drawn < self.repeat_share and rated:
            left, right = rated[int(which * len(rated))]
            left, right = (left, right) if right is None else (right, left)
            return Item(left, right, kind="repeat", priority=priority)
        if drawn > 1 - self.gold_share and self.gold:
            known = self.gold[int(which * len(self.gold))]
            return Item(
                known.left,
                known.right,
                kind="gold",
                gold=known.answer,
                wanted=_GOLD_WANTED,
                priority=priority,
            )
        return None
