"""The Reward contract: what a batch of finished sequences is worth.

A reward is called with a batch and knows no environment. Its components combine with numbers and
operators, ``0.5 * ConvDiscriminator() + 0.5 * QED() * Valid()``, and every component's own values
are kept beside the total.

A component that fails on a sequence marks it not ok. A failure is never 0 and never 1: its value is
NaN, it is left out of the gradient, and it is counted. A string that is no molecule is no failure;
its druglikeness is a true 0.0.
"""

# Shapes: B sequences
from __future__ import annotations

import functools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, cast

import torch
from torch import Tensor, nn

from .checks import check_name
from .parts import function_name, joined_parts
from .returned import LARGEST
from .state import State, flatten_optimizer, restore_optimizer, with_prefix

if TYPE_CHECKING:
    from ..envs.sequences import Sequences
    from ..envs.vocabulary import Vocabulary

Credit = Literal["rollouts", "terminal"]
Kind = Literal["component", "operator", "transform", "schedule"]


@dataclass(frozen=True, eq=False)
class Scores:
    """What a reward says of B sequences.

    Args:
        values_B: float32, on the sequences' device; NaN where ``ok_B`` is False.
        ok_B: bool, False where a component failed.
        parts: every component's own value by name, (B,) float32, NaN where it failed. A name that
            stands twice is numbered, ``qed#2``; what a transform was given is ``qed.raw``.
    """

    values_B: Tensor
    ok_B: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, values_B: Tensor, ok_B: Tensor | None = None) -> Scores:
        """The scores of a single component; not ok where ``ok_B`` says so or one is not finite."""
        values_B = values_B.detach().float()  # what float32 cannot hold is not finite either
        finite_B = values_B.isfinite()
        ok_B = finite_B if ok_B is None else ok_B & finite_B
        values_B = values_B.masked_fill(~ok_B, torch.nan)
        return cls(values_B, ok_B, {name: values_B})


@dataclass(frozen=True)
class Progress:
    """Where a run stands before one of its rounds.

    Args:
        round: the number of the round, from 0.
        share: how much of the run's timesteps is done, in [0, 1].
    """

    round: int = 0
    share: float = 0.0


def _timed(call: Callable[[Reward, Sequences], Scores]) -> Callable[[Reward, Sequences], Scores]:
    """A ``__call__`` of texts too, that adds what it takes to its reward's ``milliseconds``."""

    @functools.wraps(call)
    def timed(self: Reward, sequences: Sequences) -> Scores:
        if isinstance(sequences, list):
            sequences = cast("Sequences", Texts(sequences))
        before, start = self.milliseconds, time.perf_counter()
        scores = call(self, sequences)
        # Not added to what it may have become within: a call of the class above is a part of this.
        self.milliseconds = before + 1e3 * (time.perf_counter() - start)
        return scores

    return timed


class Texts:
    """A list of texts in the place of sequences, for rewards that read nothing else."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.tokens_BT = torch.zeros(len(texts), 0, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.texts)

    def __getattr__(self, name: str) -> NoReturn:
        raise TypeError(
            f"a list of texts has no {name}, which this reward reads; encode the texts with "
            "task.vocabulary.encode(texts)"
        )


class Reward(ABC):
    """Scores a batch of sequences; subclasses define ``__call__``.

    A reward that reads nothing but texts takes a list of them too: ``(QED() * Valid())(["CCO"])``.

    Attributes:
        name: a component's values are logged under it; of what is made of others it is the
            expression that ``make_reward`` reads.
        kind: what it is, for lists: a component, or made of others by an operator, a transform or
            a schedule.
        credit: ``"rollouts"`` when the reward is cheap enough to score every Monte Carlo
            completion, ``"terminal"`` when it scores the finished sequence once.
        range: the lowest and the highest value, as far as they are known.
        milliseconds: what its calls have taken since ``take_statistics`` was last asked.
        microseconds: what a sequence typically costs on one core, as measured; None: unknown.
    """

    name: str = "reward"
    kind: Kind = "component"
    credit: Credit = "terminal"
    range: tuple[float, float] = (-float("inf"), float("inf"))
    milliseconds: float = 0.0

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if isinstance(own := vars(cls).get("name"), str):
            check_name(own)
        if "__call__" in vars(cls):
            cls.__call__ = _timed(cls.__call__)  # type: ignore[assignment, method-assign]

    microseconds: float | None = None

    @property
    def first_failure(self) -> str:
        """What it could not score first, and why; empty when there was nothing."""
        return ""

    @abstractmethod
    def __call__(self, sequences: Sequences) -> Scores:
        """Score B sequences."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.name}>"

    @property
    def children(self) -> tuple[Reward, ...]:
        """The rewards that this one is made of; none for a component."""
        return ()

    @property
    def label(self) -> str:
        """The name of its own values among the parts; in short what makes it, if others do."""
        return function_name(type(self)) if self.children else self.name

    def walk(self) -> Iterator[Reward]:
        """Every reward of the expression from left to right, each object once; this one first."""
        seen: set[int] = set()
        stack: list[Reward] = [self]
        while stack:
            reward = stack.pop()
            if id(reward) not in seen:
                seen.add(id(reward))
                stack.extend(reversed(reward.children))
                yield reward

    def components(self) -> Iterator[Reward]:
        """The leaves of the expression, each object once."""
        return (reward for reward in self.walk() if not reward.children)

    def named(self) -> dict[str, Reward]:
        """Every reward of the expression by its name, numbered (``qed#2``) where it has a twin."""
        found: dict[str, Reward] = {}
        for reward in self.walk():
            found[_numbered(reward.name, found)] = reward
        return found

    def terms(self) -> list[tuple[float, Reward]]:
        """The reward as a weighted sum in this round; a single term when it is no sum.

        An agent credits each term its own way. A schedule changes the weights from round to round,
        and what it leaves out is not among the terms, so it is not called.
        """
        return [(1.0, self)]

    def prepare(self, vocabulary: Vocabulary, max_length: int, device: torch.device | str) -> None:
        """Tell the components which sequences will come; what needs no telling ignores it."""
        for child in self.children:
            child.prepare(vocabulary, max_length, device)

    def begin_round(self, progress: Progress) -> None:
        """Hear where the run stands; an agent says so before every round.

        Outside a run, and before it, a reward is as in round 0.
        """
        for child in self.children:
            child.begin_round(progress)

    def end_round(self, sequences: Sequences, scores: Scores) -> None:
        """Hear what the round's training sequences scored, neither completions nor evaluations.

        A component that stands twice in an expression hears it twice.
        """
        for child in self.children:
            child.end_round(sequences, scores)

    def adopt_canonical(self, canonical: Callable[[str], str | None] | None) -> None:
        """Hand the task's canonical form, if it has one, to the objectives that asked for it."""
        for child in self.children:
            child.adopt_canonical(canonical)

    def adopt_folder(self, folder: Path) -> None:
        """Hand a run's folder to what keeps files of its own there."""
        for child in self.children:
            child.adopt_folder(folder)

    def ensure_usable(self) -> None:
        """Ask before a round, or an episode's end, whether the reward can go on scoring.

        Raises:
            BudgetExhausted: an objective has scored as many sequences as it may.
            ObjectiveError: an objective fails on too large a share of them.
        """
        for child in self.children:
            child.ensure_usable()

    def state(self) -> State:
        """What a checkpoint has to keep of this reward: named tensors and JSON values.

        Of itself alone: whoever saves asks every reward of the expression (``named``).
        """
        return {}, {}

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:  # noqa: B027
        """The inverse of ``state``, after ``prepare``."""

    def take_statistics(self) -> dict[str, float]:
        """Figures of the calls since this was last asked: ``milliseconds``, and its own."""
        taken, self.milliseconds = self.milliseconds, 0.0
        return {"milliseconds": taken}

    def __add__(self, other: Reward) -> Reward:
        if not isinstance(other, Reward):
            return NotImplemented
        return Sum([*_summands(self), *_summands(other)])

    def __radd__(self, other: float) -> Reward:
        return self if other == 0 else NotImplemented  # so that sum([...]) works

    def __mul__(self, other: float | Reward) -> Reward:
        if isinstance(other, int | float):
            return Sum([(other * weight, reward) for weight, reward in _summands(self)])
        if not isinstance(other, Reward):
            return NotImplemented
        mine, theirs = _summands(self), _summands(other)
        if len(mine) != 1 or len(theirs) != 1:
            return Product([self, other])
        (weight, left), (other_weight, right) = mine[0], theirs[0]
        product = Product([*_factors(left), *_factors(right)])
        scale = weight * other_weight
        return product if scale == 1.0 else Sum([(scale, product)])

    __rmul__ = __mul__


class TrainableReward(Reward):
    """A reward that learns: a discriminator, a preference model.

    Attributes:
        network: its weights; exists once ``prepare`` was called.
        optimizer: what updates them.
        updates: how many updates it has had.
        from_outside: whether it learns from what may change at any moment, such as ratings; of
            several processes the first then learns for all.
    """

    credit: Credit = "rollouts"
    from_outside: bool = False
    network: nn.Module
    optimizer: torch.optim.Optimizer
    updates: int = 0

    @abstractmethod
    def initialise(self, seed: int) -> None:
        """Make the weights anew, as a function of the seed alone; after ``prepare``."""

    @abstractmethod
    def update(self, real: Sequences, generated: Sequences) -> dict[str, float]:
        """Learn from one batch of each; returns metrics for the log."""

    def state(self) -> State:
        """The weights, the optimiser, and the number of updates."""
        tensors, groups = flatten_optimizer("optimizer", self.optimizer)
        tensors |= {f"network.{k}": v for k, v in self.network.state_dict().items()}
        return tensors, {"optimizer": groups, "updates": self.updates}

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """The inverse of ``state``."""
        self.network.load_state_dict(with_prefix("network", tensors))
        restore_optimizer("optimizer", self.optimizer, tensors, state["optimizer"])
        self.updates = int(state["updates"])


class WeightedSum(Reward):
    """What is worth sum_i w_i r_i over its terms; subclasses define ``terms``."""

    @abstractmethod
    def terms(self) -> list[tuple[float, Reward]]:
        """The weights and the summands of this round."""

    def __call__(self, sequences: Sequences) -> Scores:
        """Score B sequences: sum_i w_i r_i, not ok where any summand is not; 0 without summands."""
        terms = [(weight, reward(sequences)) for weight, reward in self.terms()]
        return total_scores(
            sequences, [replace(s, values_B=weight * s.values_B) for weight, s in terms]
        )


class Sum(WeightedSum):
    """A weighted sum, usually written ``0.5 * a + 0.5 * b``.

    Raises:
        ValueError: a weight is not finite, or more than float32 can hold.
    """

    kind = "operator"

    def __init__(self, terms: list[tuple[float, Reward]]) -> None:
        for weight, reward in terms:
            if not abs(weight) <= LARGEST:
                raise ValueError(f"the weight of {reward.name} is {weight}; expected a number")
        self.weighted = terms
        self.name = " + ".join(_weighted_name(weight, reward) for weight, reward in terms)
        ends = [sorted(_times(weight, end) for end in reward.range) for weight, reward in terms]
        self.range = (sum(low for low, _ in ends), sum(high for _, high in ends))
        self.credit = joint_credit(self.children)

    @property
    def children(self) -> tuple[Reward, ...]:
        """The summands."""
        return tuple(reward for _, reward in self.weighted)

    def terms(self) -> list[tuple[float, Reward]]:
        """The weights and the summands, those of sums and schedules among them."""
        return [(w * v, term) for w, reward in self.weighted for v, term in reward.terms()]


class Product(Reward):
    """A product, usually written ``a * b``."""

    kind = "operator"

    def __init__(self, factors: list[Reward]) -> None:
        self._factors = tuple(factors)
        self.name = " * ".join(map(_factor_name, factors))
        low, high = 1.0, 1.0
        for reward in factors:
            ends = [_times(a, b) for a in (low, high) for b in reward.range]
            low, high = min(ends), max(ends)
        self.range = (low, high)
        self.credit = joint_credit(factors)

    @property
    def children(self) -> tuple[Reward, ...]:
        """The factors."""
        return self._factors

    def __call__(self, sequences: Sequences) -> Scores:
        """Score B sequences: prod_i r_i, not ok where any factor is not."""
        scores = [reward(sequences) for reward in self._factors]
        return joint_scores(torch.stack([s.values_B for s in scores]).prod(dim=0), scores)


def joint_credit(rewards: Iterable[Reward]) -> Credit:
    """``"rollouts"`` when all of them are that cheap."""
    return "rollouts" if all(reward.credit == "rollouts" for reward in rewards) else "terminal"


def joint_scores(values_B: Tensor, scores: Sequence[Scores]) -> Scores:
    """What was computed from ``scores``: not ok where any of them or a value is not finite.

    With all their parts.
    """
    ok_B = torch.stack([values_B.isfinite(), *(score.ok_B for score in scores)]).all(dim=0)
    parts = joined_parts([score.parts for score in scores])
    return Scores(values_B.masked_fill(~ok_B, torch.nan), ok_B, parts)


def total_scores(sequences: Sequences, scores: Sequence[Scores]) -> Scores:
    """Their sum: 0 where there are none, not ok where any of them is not."""
    if not scores:
        zeros_B = torch.zeros(len(sequences), device=sequences.tokens_BT.device)
        return Scores(zeros_B, torch.ones_like(zeros_B, dtype=torch.bool))
    return joint_scores(torch.stack([score.values_B for score in scores]).sum(dim=0), scores)


def _summands(reward: Reward) -> list[tuple[float, Reward]]:
    return reward.weighted if isinstance(reward, Sum) else [(1.0, reward)]


def _factors(reward: Reward) -> tuple[Reward, ...]:
    return reward.children if isinstance(reward, Product) else (reward,)


def _weighted_name(weight: float, reward: Reward) -> str:
    short = f"{weight:g}"
    number = short if float(short) == weight else repr(weight)
    return reward.name if weight == 1 else f"{number} * {_factor_name(reward)}"


def _factor_name(reward: Reward) -> str:
    return f"({reward.name})" if isinstance(reward, Sum) else reward.name


def _times(a: float, b: float) -> float:
    return 0.0 if 0.0 in (a, b) else a * b  # 0 * inf is 0 for a bound


def _numbered(name: str, taken: Mapping[str, object]) -> str:
    """The name itself, or with a number after it where others have it already."""
    count = sum(known == name or known.startswith(f"{name}#") for known in taken)
    return name if count == 0 else f"{name}#{count + 1}"
