"""Schedules: rewards whose weights change over a run.

    Ramp(QED(), start=0, end=1, over=0.5)            # ramp(qed, start=0, end=1, over=0.5)
    Alternate(QED(), LogP(), period=10)              # alternate(qed, logp, period=10)
    Curriculum(Valid(), QED(), thresholds=[0.9])     # curriculum(valid, qed, thresholds=[0.9])

A constant weight is a plain factor, ``0.5 * qed``. Before every round an agent says where the run
stands; outside a run, a schedule is as in round 0. What has no weight in a round is not called and
has no part in its scores: an expensive objective costs nothing while it rests. Discriminators learn
on meanwhile. Totals of rounds with other weights do not compare; the parts do.
"""

# Shapes: B sequences
from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .base import Progress, Reward, Scores, WeightedSum, joint_credit
from .checks import check_numbers
from .combining import call_text, checked_rewards

if TYPE_CHECKING:
    from ..envs.sequences import Sequences


class Schedule(WeightedSum):
    """A sum of rewards with the weights of the round; subclasses define ``weights``.

    Attributes:
        progress: where the run stands.
    """

    kind = "schedule"
    progress = Progress()

    def __init__(self, *rewards: Reward, **options: object) -> None:
        self._rewards = checked_rewards(type(self).__name__, rewards)
        self.name = call_text(self, rewards, options)
        self.credit = joint_credit(rewards)

    @property
    def children(self) -> tuple[Reward, ...]:
        """All rewards, those that rest too."""
        return self._rewards

    @abstractmethod
    def weights(self) -> Sequence[float]:
        """The weight of each reward in this round."""

    def terms(self) -> list[tuple[float, Reward]]:
        """The weights and summands of the rewards that have a weight in this round."""
        pairs = zip(self.weights(), self.children, strict=True)
        return [(w * v, term) for w, reward in pairs if w for v, term in reward.terms()]

    def begin_round(self, progress: Progress) -> None:
        """Take the weights of the round."""
        super().begin_round(progress)
        self.progress = progress

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Where it stands, so that a loaded agent scores as the saved one did."""
        return {}, {"round": self.progress.round, "share": self.progress.share}

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """The inverse of ``state``."""
        self.progress = Progress(int(state["round"]), float(state["share"]))


class Ramp(Schedule):
    """A weight that goes linearly from ``start`` to ``end``, and stays there.

    Args:
        reward: what is weighted.
        start: its weight in the first round.
        end: its weight from the share ``over`` of the run's timesteps on.
        over: that share, in (0, 1].
    """

    def __init__(self, reward: Reward, *, start: float, end: float, over: float = 1.0) -> None:
        super().__init__(reward, start=start, end=end, over=None if over == 1 else over)
        if not 0 < over <= 1:
            raise ValueError(f"{self.name}: over is {over}; expected more than 0, at most 1")
        if not (math.isfinite(start) and math.isfinite(end)):
            raise ValueError(f"{self.name}: expected a finite start and end")
        self.start, self.end, self.over = start, end, over
        ends = [end for weight in (start, end) for end in (weight * reward).range]
        self.range = (min(ends), max(ends))

    def weights(self) -> Sequence[float]:
        """Start + (end - start) min(share / over, 1)."""
        done = min(self.progress.share / self.over, 1.0)
        return [self.start + (self.end - self.start) * done]


class Alternate(Schedule):
    """One reward at a time, each for ``period`` rounds, in turn; as ORGAN alternates objectives.

    Guimaraes et al. (2017), arXiv 1705.10843.

    Args:
        *rewards: in the order of their turns.
        period: rounds.
    """

    def __init__(self, *rewards: Reward, period: int = 1) -> None:
        super().__init__(*rewards, period=period)
        if not isinstance(period, int) or period < 1:
            raise ValueError(f"{self.name}: period is {period!r}; expected 1 round or more")
        self.period = period
        lows, highs = zip(*(reward.range for reward in rewards), strict=True)
        self.range = (min(lows), max(highs))

    def weights(self) -> Sequence[float]:
        """1 for the reward whose turn it is, 0 for the others."""
        turn = self.progress.round // self.period % len(self.children)
        return [float(place == turn) for place in range(len(self.children))]


class Curriculum(Schedule):
    """The first reward, and the next added once the one before it is good enough.

    Reward i + 1 joins in the round after the one in which the mean of what reward i scored is above
    threshold i, completions counted where it scores them, failures not. What has joined stays. Each
    reward is one term of the sum: with a discriminator and an objective in it, it is "terminal".

    Args:
        *rewards: in the order of joining.
        thresholds: of the mean value of each reward but the last.
    """

    def __init__(self, *rewards: Reward, thresholds: Sequence[float]) -> None:
        super().__init__(*rewards, thresholds=thresholds)
        check_numbers(thresholds=thresholds)
        if len(thresholds) != len(rewards) - 1:
            raise ValueError(
                f"{self.name}: {len(thresholds)} thresholds; expected {len(rewards) - 1}, one for "
                "each reward but the last"
            )
        self.thresholds = tuple(thresholds)
        self.joined = 1
        self._stages = [_Stage(reward) for reward in rewards]
        lows, highs = zip(*(reward.range for reward in rewards), strict=True)
        self.range = (min(accumulate(lows)), max(accumulate(highs)))

    def weights(self) -> Sequence[float]:
        """1 for what has joined, 0 for the others."""
        return [float(place < self.joined) for place in range(len(self.children))]

    def terms(self) -> list[tuple[float, Reward]]:
        """What has joined."""
        return [(1.0, stage) for stage in self._stages[: self.joined]]

    def begin_round(self, progress: Progress) -> None:
        """Count anew."""
        super().begin_round(progress)
        for stage in self._stages:
            stage.total, stage.count = 0.0, 0

    def end_round(self, sequences: Sequences, scores: Scores) -> None:
        """Let the next reward join, if the last one is good enough."""
        super().end_round(sequences, scores)
        if self.joined <= len(self.thresholds):
            last = self._stages[self.joined - 1]
            if last.count and last.total / last.count > self.thresholds[self.joined - 1]:
                self.joined += 1

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Where it stands, and how many have joined."""
        tensors, state = super().state()
        return tensors, {**state, "joined": self.joined}

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """The inverse of ``state``."""
        super().restore(tensors, state)
        self.joined = int(state["joined"])


class _Stage(Reward):
    """A reward that keeps count of what it scored since it was last asked."""

    def __init__(self, reward: Reward) -> None:
        self.reward = reward
        self.name, self.credit, self.range = reward.name, reward.credit, reward.range
        self.total, self.count = 0.0, 0

    @property
    def children(self) -> tuple[Reward, ...]:
        """The reward."""
        return (self.reward,)

    def __call__(self, sequences: Sequences) -> Scores:
        """Score B sequences."""
        scores = self.reward(sequences)
        self.total += float(scores.values_B[scores.ok_B].double().sum())
        self.count += int(scores.ok_B.sum())
        return scores
