"""A diversity memory: what was found often enough over the run is no longer rewarded.

    DiversityMemory(QED(), by="scaffold", bucket_size=25)

REINVENT's diversity filters (Blaschke et al., 2020, J. Cheminformatics 12, 68). Sequences that are
alike fall in one bucket: those with the same canonical form, with the same Murcko scaffold, or near
the molecule that opened the bucket. A sequence whose reward reached ``minimum`` takes a place; the
rewards of what falls in a full bucket are multiplied by 0, or with ``penalty="linear"`` by 1 - n/N
for n of N places taken.

Places are taken at the end of a round, by its training sequences alone: a value does not depend on
where a sequence stands in its batch, neither completions nor evaluations change anything, and a
bucket may get more than N sequences in the round that fills it. REINVENT fills buckets within the
batch, and gives 0 to every molecule it has met before, whose place is not taken twice; for that,
wrap in ``DiversityMemory(..., by="identical", bucket_size=1)``. Agents that do not tell of the end
of a round (Stable-Baselines3's own) leave the memory empty.
"""

# Shapes: B sequences
from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import torch
from torch import Tensor

from .base import Reward, Scores
from .combining import call_text, checked_rewards
from .parts import transformed_parts
from .state import State

if TYPE_CHECKING:
    from ..envs.sequences import Sequences

By = Literal["identical", "scaffold", "similarity"]
Penalty = Literal["step", "linear"]
_AWAITED = 8  # batches that were scored and whose round may still end


class Likeness(Protocol):
    """Which bucket a text falls in."""

    def bucket(self, text: str) -> str | None:
        """The name of an open bucket, or the one under which it would open its own; or None."""

    def opened(self, bucket: str) -> None:
        """Hear that there is a bucket of this name."""


class DiversityMemory(Reward):
    """A reward that fades for what the run has found often enough.

    It is logged under the label of the reward, and what that was under the label with ``.raw``. A
    negative value stays as it is. The credit is "terminal".

    Args:
        reward: what is diminished.
        by: ``"identical"``: the task's canonical form, or the text where there is none.
            ``"scaffold"``: the Murcko scaffold; all molecules without rings share a bucket.
            ``"similarity"``: the most similar molecule that opened a bucket, if its Tanimoto
            similarity (ECFP4) is at least ``similarity``; else a bucket of its own.
        bucket_size: N, places in a bucket.
        minimum: of the reward, for a sequence to take a place.
        penalty: ``"step"`` or ``"linear"``.
        similarity: for ``by="similarity"``.

    Attributes:
        places: how many are taken in each bucket, in the order in which they were opened.
    """

    kind = "transform"

    def __init__(
        self,
        reward: Reward,
        *,
        by: By = "identical",
        bucket_size: int = 25,
        minimum: float = 0.4,
        penalty: Penalty = "step",
        similarity: float = 0.6,
    ) -> None:
        checked_rewards(type(self).__name__, [reward])
        if by not in get_args(By) or penalty not in get_args(Penalty):
            raise ValueError(
                f"by is {by!r} and penalty {penalty!r}; expected one of {', '.join(get_args(By))}, "
                f"and one of {', '.join(get_args(Penalty))}"
            )
        if bucket_size < 1 or not 0 < similarity <= 1:
            raise ValueError(
                f"bucket_size is {bucket_size} and similarity {similarity}; expected at least 1 "
                "place, and more than 0 and at most 1"
            )
        self.reward, self.by, self.penalty = reward, by, penalty
        self.bucket_size, self.minimum, self.similarity = bucket_size, minimum, similarity
        options = {"by": by, "bucket_size": bucket_size, "minimum": minimum, "penalty": penalty}
        near = similarity if by == "similarity" else None
        self.name = call_text(self, [reward], {**options, "similarity": near})
        low, high = reward.range
        self.range = (min(low, 0.0), max(high, 0.0))
        self.places: dict[str, int] = {}
        self._likeness = self._make_likeness()
        self._awaited: deque[tuple[Sequences, Tensor]] = deque(maxlen=_AWAITED)

    def _make_likeness(self) -> Likeness:
        if self.by == "identical":
            return _Identical()
        from .molecules.likeness import NearLeader, SameScaffold  # RDKit is an extra

        return SameScaffold() if self.by == "scaffold" else NearLeader(self.similarity)

    @property
    def children(self) -> tuple[Reward, ...]:
        """The reward that is diminished."""
        return (self.reward,)

    @property
    def label(self) -> str:
        """That of the reward."""
        return self.reward.label

    def __call__(self, sequences: Sequences) -> Scores:
        """Score B sequences, not ok where the reward is not."""
        scores = self.reward(sequences)
        raw_B = scores.values_B
        factors_B = raw_B.new_tensor([self._factor(text) for text in sequences.texts])
        values_B = torch.where(raw_B > 0, raw_B * factors_B, raw_B)
        self._awaited.append((sequences, raw_B))
        parts = transformed_parts(self.label, values_B, raw_B, scores.parts)
        return Scores(values_B, scores.ok_B, parts)

    def _factor(self, text: str) -> float:
        bucket = self._likeness.bucket(text)
        taken = 0 if bucket is None else self.places.get(bucket, 0)
        if self.penalty == "step":
            return float(taken < self.bucket_size)
        return max(0.0, 1 - taken / self.bucket_size)

    def end_round(self, sequences: Sequences, scores: Scores) -> None:
        """Let the round's sequences take their places, once however often it is told.

        What it was not asked to score in this round, because it rested, takes none.
        """
        super().end_round(sequences, scores)
        found = [raw_B for batch, raw_B in self._awaited if batch is sequences]
        if not found:
            return
        self._awaited = deque((p for p in self._awaited if p[0] is not sequences), _AWAITED)
        for text, value in zip(sequences.texts, found[0].tolist(), strict=True):
            if value >= self.minimum:  # NaN, a failure, is not
                self._take_place(text)

    def _take_place(self, text: str) -> None:
        bucket = self._likeness.bucket(text)
        if bucket is None:
            return
        if bucket not in self.places:
            self._likeness.opened(bucket)
        self.places[bucket] = self.places.get(bucket, 0) + 1

    def adopt_canonical(self, canonical: Callable[[str], str | None] | None) -> None:
        """Take the task's canonical form, by which sequences are identical."""
        super().adopt_canonical(canonical)
        if isinstance(self._likeness, _Identical):
            self._likeness.canonical = canonical

    def state(self) -> State:
        """The buckets and the places taken in them."""
        taken = torch.tensor(list(self.places.values()), dtype=torch.int64)
        return {"places": taken}, {"buckets": list(self.places)}

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """The inverse of ``state``."""
        self.places = dict(zip(state["buckets"], tensors["places"].tolist(), strict=True))
        self._likeness = self._make_likeness()
        for bucket in self.places:
            self._likeness.opened(bucket)


class _Identical:
    """A bucket for every canonical form."""

    canonical: Callable[[str], str | None] | None = None

    def bucket(self, text: str) -> str | None:
        return (self.canonical(text) if self.canonical else None) or text

    def opened(self, bucket: str) -> None:
        pass
