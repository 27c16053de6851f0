"""A task: everything that an episode is, in one object from which every form is made.

The single environment, the vector environment and the agents' whole-sequence path all read the same
``Task``, and score finished sequences with the same call.
"""

# Shapes: B sequences, T = max_length steps
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from ..rewards import Reward, Scores
from .constraints import Constraint
from .drawing import draw_text
from .sequences import Sequences
from .vocabulary import Vocabulary

if TYPE_CHECKING:
    from .sources.base import Entropy


class Source(Protocol):
    """A distribution over sequences that can be drawn from and whose likelihood is known."""

    def sample(self, n: int, seed: int = 0) -> Sequences:
        """Draw ``n`` sequences."""
        ...

    def log_prob(self, sequences: Sequences) -> Tensor:
        """Log-probability of every token in nats, (B, T), 0 in the padding."""
        ...

    def entropy(self) -> Entropy:
        """What no model's mean negative log-likelihood can be below, in nats a sequence."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """What is written, how long it may get, and what it is worth."""

    name: str
    """What the task is called, for people."""
    vocabulary: Vocabulary
    """What can be written."""
    max_length: int
    """T, the largest number of tokens of a sequence, the end token counted."""
    reward: Reward
    """What a finished sequence is worth."""
    constraint: Constraint | None = None
    """Which tokens may come next; everywhere that this task is written, by anyone."""
    load_data: Callable[[], Sequences] | None = field(default=None, repr=False)
    """Gives the real sequences to learn from, when they are first wanted."""
    domain: str = "text"
    """What a text is, and so which figures tell of it: ``"molecules"`` or ``"text"``."""
    source: Source | None = None
    """Where the data comes from, when its likelihood is known."""
    canonical: Callable[[str], str | None] | None = None
    """Text to the form in which equal things are equal; None for what is no valid text."""
    draw: Callable[[str], np.ndarray] = draw_text
    """Text to a picture, uint8 (height, width, 3), of one size for whatever was written so far."""

    def __post_init__(self) -> None:
        if self.max_length < 1:
            raise ValueError(f"max_length is {self.max_length}; expected at least 1")
        self.reward.adopt_canonical(self.canonical)
        self.reward.prepare(self.vocabulary, self.max_length, "cpu")
        if self.constraint is not None:
            if not isinstance(self.constraint, Constraint):
                raise TypeError(
                    f"the constraint is {self.constraint!r}; expected a tokengym.envs.Constraint, "
                    "of which a class of your own defines mask(tokens_BT, lengths_B)"
                )
            bound = self.constraint.bound(self.vocabulary, self.max_length)
            object.__setattr__(self, "constraint", bound)

    @cached_property
    def data(self) -> Sequences | None:
        """Real sequences to learn from, padded to T; None where the task has none."""
        return None if self.load_data is None else self.load_data().padded(self.max_length)

    @cached_property
    def observation_space(self) -> gym.spaces.Box:
        """The tokens so far, then padding: int64 (T,)."""
        highest = self.vocabulary.num_inputs - 1
        return gym.spaces.Box(0, highest, (self.max_length,), np.int64)

    @cached_property
    def action_space(self) -> gym.spaces.Discrete:
        """The token to write next: 0 .. A-1."""
        return gym.spaces.Discrete(self.vocabulary.num_actions)

    def score(
        self, tokens_BT: np.ndarray, lengths_B: np.ndarray | None = None
    ) -> tuple[Sequences, Scores]:
        """Score finished rows of tokens, padded to T; their lengths are looked for if not given.

        Raises:
            BudgetExhausted: an objective has scored as many sequences as its budget allows.
            ObjectiveError: an objective breaks its contract, or fails on too many sequences.
        """
        self.reward.ensure_usable()
        tokens = torch.from_numpy(tokens_BT)
        if lengths_B is None:
            sequences = Sequences.from_tokens(tokens, self.vocabulary)
        else:
            sequences = Sequences(tokens, torch.from_numpy(lengths_B), self.vocabulary)
        return sequences, self.reward(sequences)

    def encode_prompt(self, prompt: str) -> np.ndarray:
        """The ids of a prefix to start from.

        Raises:
            ValueError: an unknown token, no room left for one more token, or a prompt that the
                constraint forbids.
        """
        tokens: np.ndarray = self.vocabulary.encode([prompt], end=False).tokens_BT[0].numpy()
        if len(tokens) >= self.max_length:
            raise ValueError(
                f"the prompt {prompt!r} has {len(tokens)} tokens and max_length is "
                f"{self.max_length}; shorten it, so that at least one token can be written"
            )
        if self.constraint is not None:
            self.constraint.check_prompt(prompt, torch.from_numpy(tokens))
        return tokens

    def prompt_of(self, options: dict[str, object] | None) -> str | None:
        """The prompt in ``reset(options=...)``.

        Raises:
            ValueError: an option that does not exist.
            TypeError: a prompt that is no text.
        """
        options = options or {}
        if unknown := set(options) - {"prompt"}:
            raise ValueError(f"unknown reset option {sorted(unknown)}; known: 'prompt'")
        prompt = options.get("prompt")
        if prompt is not None and not isinstance(prompt, str):
            raise TypeError(f"the prompt is {prompt!r}; expected a text")
        return prompt
