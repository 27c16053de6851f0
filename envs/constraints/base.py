"""The Constraint contract: which tokens may come next.

A constraint of one's own needs ``mask`` alone, from the tokens so far. What is asked at every step
of a long sequence is better carried along: ``start``, ``advance`` and ``allowed`` are the
incremental form, which every constraint has (by default it carries the tokens and asks ``mask``).
States are tuples of tensors with the batch first, as those of policies are, so that rows can be
selected when others have ended.

A constraint looks ahead by itself: what it allows can be finished within ``max_length``. Two of
them combined with ``&`` may leave nothing; ``on_empty`` says what happens then.
"""

# Shapes: B sequences, T = max_length steps, A actions
from __future__ import annotations

import difflib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable
from copy import copy
from dataclasses import KW_ONLY, dataclass, field
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Literal, Self

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ..vocabulary import Vocabulary

State = tuple[Tensor, ...]  # every tensor has the batch first, so rows can be selected
OnEmpty = Literal["fallback", "raise"]
OnForbidden = Literal["allow", "raise"]


class EmptyMaskError(ValueError):
    """A constraint leaves no action, and its ``on_empty`` is ``"raise"``."""


@dataclass(eq=False)
class Constraint(ABC):
    """Which tokens may come next; subclasses define ``mask``.

    What it is for is set by ``bound``: ``self.vocabulary``, ``self.max_length`` and ``self.device``
    can be read in ``mask``.

    Args:
        on_empty: what happens where no action is left. ``"fallback"``: the end token is allowed
            (every token, in a language without one), it is counted in ``fallbacks``, and the first
            time a warning says so. ``"raise"``: an ``EmptyMaskError``.
        on_forbidden: what an environment does with an action that is forbidden. ``"allow"``: it is
            written, ``info["forbidden"]`` names it, and as nothing can be promised any more,
            everything is allowed for the rest of the episode; so agents that read no masks can be
            used. ``"raise"``: a ValueError names the token and its position.
    """

    _: KW_ONLY
    on_empty: OnEmpty = field(default="fallback", repr=False)
    on_forbidden: OnForbidden = field(default="allow", repr=False)

    @abstractmethod
    def mask(self, tokens_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """Which tokens may come next, bool (B, A).

        Args:
            tokens_BT: int64, the tokens so far, then ``pad``.
            lengths_B: int64, how many there are; less than T.
        """

    # --- the incremental form ---------------------------------------------------------------

    def start(self, batch: int) -> State:
        """The state of ``batch`` empty sequences."""
        shape = (batch, self.max_length)
        tokens_BT = torch.full(shape, self.vocabulary.pad, dtype=torch.int64, device=self.device)
        return tokens_BT, torch.zeros(batch, dtype=torch.int64, device=self.device)

    def advance(self, state: State, tokens_B: Tensor) -> State:
        """The state after one more token in each row; ``pad`` leaves a row as it is.

        Tokens are allowed ones. What follows the end token means nothing.
        """
        tokens_BT, lengths_B = state
        at_B1 = lengths_B.clamp(max=self.max_length - 1)[:, None]
        written_B = (tokens_B != self.vocabulary.pad) & (lengths_B < self.max_length)
        new_B = torch.where(written_B, tokens_B, tokens_BT.gather(1, at_B1)[:, 0])
        return tokens_BT.scatter(1, at_B1, new_B[:, None]), lengths_B + written_B

    def allowed(self, state: State) -> Tensor:
        """The mask of a state, bool (B, A); what is allowed may be nothing."""
        tokens_BT, lengths_B = state
        found = self.mask(tokens_BT, lengths_B.clamp(max=self.max_length - 1))
        expected = (len(tokens_BT), self.vocabulary.num_actions)
        if found.shape != expected or found.dtype != torch.bool:
            raise TypeError(
                f"the mask of {self} has shape {tuple(found.shape)} and dtype {found.dtype}; "
                f"expected {expected} and torch.bool"
            )
        return found

    # --- what everybody calls ---------------------------------------------------------------

    def bound(
        self, vocabulary: Vocabulary, max_length: int, device: torch.device | str = "cpu"
    ) -> Self:
        """A copy for a vocabulary, a T and a device; itself where it is for these already.

        Raises:
            ValueError: the constraint cannot be met with them.
        """
        purpose = (vocabulary, max_length, torch.device(device))
        if self.__dict__.get("_purpose") == purpose:
            return self
        for name, value, known in (
            ("on_empty", self.on_empty, ("fallback", "raise")),
            ("on_forbidden", self.on_forbidden, ("allow", "raise")),
        ):
            if value not in known:
                raise ValueError(f"{name} is {value!r}; expected one of {', '.join(known)}")
        self.__dict__.setdefault("_counter", [0])  # one for all copies
        made = copy(self)
        made.__dict__["_purpose"] = purpose
        made.prepare()
        return made

    def prepare(self) -> None:  # noqa: B027 - most constraints of one's own need none
        """Work out what depends on the vocabulary, T and the device; by default nothing."""

    @property
    def vocabulary(self) -> Vocabulary:
        """What is written."""
        return self._bound_purpose()[0]

    @property
    def max_length(self) -> int:
        """T, the most tokens that a sequence has, the end token counted."""
        return self._bound_purpose()[1]

    @property
    def device(self) -> torch.device:
        """Where the masks are."""
        return self._bound_purpose()[2]

    @property
    def fallbacks(self) -> int:
        """How many times no action was left, over all copies of this constraint."""
        return int(self.__dict__.get("_counter", [0])[0])

    def actions(
        self, state: State, free_B: Tensor | None = None, *, counted: bool = True
    ) -> Tensor:
        """The mask to act on, bool (B, A), never empty: ``allowed``, and ``on_empty`` after it.

        Args:
            state: of B rows.
            free_B: rows where everything is allowed: those that have ended.
            counted: False asks again about what was counted already.

        Raises:
            EmptyMaskError: a row has no action left and ``on_empty`` is ``"raise"``.
        """
        mask_BA = self.allowed(state)
        if free_B is not None:
            mask_BA = mask_BA | free_B[:, None]
        filled_B = mask_BA.any(dim=1)
        if bool(filled_B.all()):
            return mask_BA
        return self._fall_back(mask_BA, ~filled_B, counted)

    def after(self, tokens_BT: Tensor) -> State:
        """The state after these tokens, ``pad`` in the rows that are shorter."""
        state = self.start(len(tokens_BT))
        for tokens_B in tokens_BT.to(self.device).unbind(dim=1):
            state = self.advance(state, tokens_B)
        return state

    def follow(self, tokens_BT: Tensor) -> tuple[State, Tensor]:
        """After tokens that may be forbidden: the state, and the rows where nothing is, bool (B,).

        Those have ended, or hold a forbidden token, and were read no further, as in environments.
        """
        pad, eos = self.vocabulary.pad, self.vocabulary.eos
        state = self.start(len(tokens_BT))
        free_B = torch.zeros(len(tokens_BT), dtype=torch.bool, device=self.device)
        for tokens_B in tokens_BT.to(self.device).unbind(dim=1):
            mask_BA = self.actions(state, free_B, counted=False)
            allowed_B1 = mask_BA.gather(1, tokens_B.clamp(max=mask_BA.shape[1] - 1)[:, None])
            free_B = free_B | ((tokens_B != pad) & ~allowed_B1[:, 0])
            if eos is not None:
                free_B = free_B | (tokens_B == eos)
            state = self.advance(state, tokens_B.masked_fill(free_B, pad))
        return state, free_B

    @torch.no_grad()
    def along(self, tokens_BT: Tensor) -> Tensor:
        """The masks under which given tokens were written, bool (B, T, A), the first at [:, 0].

        All True after a row's end.
        """
        tokens_BT = tokens_BT.to(self.device)
        state = self.start(len(tokens_BT))
        ended_B = torch.zeros(len(tokens_BT), dtype=torch.bool, device=self.device)
        masks: list[Tensor] = []
        for tokens_B in tokens_BT.unbind(dim=1):
            ended_B = ended_B | (tokens_B == self.vocabulary.pad)
            masks.append(self.actions(state, ended_B, counted=False))
            state = self.advance(state, tokens_B)
            if self.vocabulary.eos is not None:
                ended_B = ended_B | (tokens_B == self.vocabulary.eos)
        return torch.stack(masks, dim=1)

    def check_prompt(self, prompt: str, tokens_T: Tensor) -> None:
        """See that a prefix may be written, and written on.

        Raises:
            ValueError: it contradicts the constraint; the message names both and the token.
        """
        state = self.start(1)
        for position, token in enumerate(tokens_T.tolist(), start=1):
            if not bool(self.allowed(state)[0, token]):
                raise ValueError(
                    f"the prompt {prompt!r} contradicts the constraint {self}: it forbids token "
                    f"{self.vocabulary.tokens[token]!r} at position {position}; change "
                    "the prompt, or make the task without the constraint"
                )
            state = self.advance(state, torch.tensor([token], device=self.device))
        if not bool(self.allowed(state).any()):
            raise ValueError(
                f"the prompt {prompt!r} contradicts the constraint {self}: it allows nothing after "
                "it; change the prompt, or make the task without the constraint"
            )

    def __and__(self, other: Constraint) -> Constraint:
        if not isinstance(other, Constraint):
            return NotImplemented
        return All([self, other])

    # --- inside ------------------------------------------------------------------------------

    def _bound_purpose(self) -> tuple[Vocabulary, int, torch.device]:
        if "_purpose" not in self.__dict__:
            raise ValueError(
                f"{self} belongs to no task yet; give it to one, or call "
                "bound(vocabulary, max_length)"
            )
        purpose: tuple[Vocabulary, int, torch.device] = self.__dict__["_purpose"]
        return purpose

    def _fall_back(self, mask_BA: Tensor, empty_B: Tensor, counted: bool) -> Tensor:
        row = int(empty_B.nonzero()[0, 0])
        if self.on_empty == "raise":
            raise EmptyMaskError(
                f"{self} leaves no action in row {row} of {len(mask_BA)}; its parts contradict "
                "each other there, or a token it needs is not in the vocabulary"
            )
        eos = self.vocabulary.eos
        if counted:
            counter = self.__dict__["_counter"]
            if counter[0] == 0:
                instead = "every token is" if eos is None else "the end token is"
                warnings.warn(
                    f"{self} left no action in row {row}: {instead} allowed there; this and later "
                    "ones are counted in constraint.fallbacks",
                    stacklevel=3,
                )
            counter[0] += int(empty_B.sum())
        instead_A = torch.ones_like(mask_BA[0])
        if eos is not None:
            instead_A = torch.arange(len(instead_A), device=instead_A.device) == eos
        return mask_BA | (empty_B[:, None] & instead_A)

    def _ids_of(self, tokens: Iterable[str]) -> list[int]:
        """The ids of tokens; an error with the nearest names for one that does not exist."""
        known = self.vocabulary.tokens
        for token in (tokens := list(tokens)):
            if token not in known:
                near = difflib.get_close_matches(token, known, n=3) or known[:8]
                raise ValueError(
                    f"{self} names the token {token!r}, which is not in the vocabulary; near it "
                    f"are {', '.join(map(repr, near))}"
                )
        return [known.index(token) for token in tokens]


class IncrementalConstraint(Constraint):
    """A constraint by its incremental form; subclasses define ``start, advance, allowed``."""

    @abstractmethod
    def start(self, batch: int) -> State:
        """The state of ``batch`` empty sequences."""

    @abstractmethod
    def advance(self, state: State, tokens_B: Tensor) -> State:
        """The state after one more token in each row; ``pad`` leaves a row as it is."""

    @abstractmethod
    def allowed(self, state: State) -> Tensor:
        """The mask of a state, bool (B, A)."""

    def mask(self, tokens_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """Which tokens may come next, bool (B, A); reads all that was written."""
        return self.allowed(self.after(tokens_BT[:, : int(lengths_B.max())]))


@dataclass(eq=False)
class All(IncrementalConstraint):
    """All of several constraints, usually written ``a & b``: what every one of them allows.

    It raises where one of its parts would raise.
    """

    parts: list[Constraint]

    def __post_init__(self) -> None:
        nested = [p.parts if type(p) is All else [p] for p in self.parts]
        self.parts = [part for parts in nested for part in parts]
        if any(part.on_empty == "raise" for part in self.parts):
            self.on_empty = "raise"
        if any(part.on_forbidden == "raise" for part in self.parts):
            self.on_forbidden = "raise"

    def prepare(self) -> None:
        """Bind the parts too."""
        self.parts = [part.bound(*self._bound_purpose()) for part in self.parts]
        ends = accumulate((len(part.start(1)) for part in self.parts), initial=0)
        self._slices = [slice(*pair) for pair in pairwise(ends)]

    def start(self, batch: int) -> State:
        """The states of the parts, one after the other."""
        return tuple(tensor for part in self.parts for tensor in part.start(batch))

    def advance(self, state: State, tokens_B: Tensor) -> State:
        """Advance every part."""
        pairs = zip(self.parts, self._slices, strict=True)
        return tuple(t for part, mine in pairs for t in part.advance(state[mine], tokens_B))

    def allowed(self, state: State) -> Tensor:
        """What every part allows."""
        pairs = zip(self.parts, self._slices, strict=True)
        masks = [part.allowed(state[mine]) for part, mine in pairs]
        return torch.stack(masks).all(dim=0)

    def __repr__(self) -> str:
        return " & ".join(map(repr, self.parts))
