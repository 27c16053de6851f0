"""What an agent remembers of the best sequences, its own and others', to learn from them again."""

# Shapes: B sequences, T steps, A actions
from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from stable_baselines3.common.type_aliases import GymEnv
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..envs import Sequences
from .policies.conditions import checked_condition
from .replay import Remembered, read_experience
from .taught import TaughtAgent


class RememberingAgent(TaughtAgent):
    """An agent with a memory of good sequences; ``self.replay`` is what is in it."""

    def remember(self, sequences: Sequences | list[str], scores: Tensor | list[float]) -> None:
        """Keep the best of these for replay; with ``experience`` a file's, before the first round.

        They may be anybody's: what is learnt from replayed sequences holds whoever wrote them, and
        their scores are taken for what the task's reward would say. What the task's constraint
        forbids is left out.

        Args:
            sequences: what was written, under which conditions (``sequences.given``) where the
                policy reads any.
            scores: what each was worth (B,); NaN: not known.

        Raises:
            ValueError: there is no environment; a sequence is too long, or is none of the
                vocabulary, or it has no condition, and the policy reads one; or the scores are not
                one number for each sequence.
        """
        if self.task is None:
            raise ValueError(
                "there is no environment whose sequences these are; call set_env first"
            )
        sequences, canonical = self._real_sequences(sequences), self.task.canonical
        if size := self.policy.condition_size:
            checked_condition(sequences.condition_B, len(sequences), size)
        else:
            sequences = replace(sequences, condition_B=None)  # which nobody would read
        values_B = _checked_scores(scores, len(sequences)).to(self.device)
        values_B = values_B.masked_fill(~self._can_be_written(sequences), torch.nan)
        keys = [(canonical(text) if canonical else None) or text for text in sequences.texts]
        self.replay.add(keys, sequences, values_B)

    def _read_inputs(self) -> None:
        """Remember the best of the file of experience, once."""
        super()._read_inputs()
        path = self.experience
        if path is None or path == self.experience_read or self.task is None:
            return
        if self.policy.condition_size:
            raise ValueError(
                f"the policy reads a condition, and the sequences of {path!r} have none; leave "
                "experience out, or call agent.remember(sequences.given(...), ...)"
            )
        self.remember(*read_experience(path))
        self.experience_read = path

    def _setup_loaded(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        super()._setup_loaded(tensors, state)
        self._forget_what_does_not_fit()

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """Use another environment with the same vocabulary; what it forbids is forgotten."""
        super().set_env(env, force_reset)
        self._forget_what_does_not_fit()

    def _forget_what_does_not_fit(self) -> None:
        self.replay.keep(
            lambda row: (
                len(row.tokens_T) <= self.max_length
                and bool(self._can_be_written(self._sequences_of([row])).all())
            )
        )

    def _draw_replayed(self, seed: int) -> tuple[Sequences, Tensor]:
        """Remembered sequences, under their conditions, and their scores."""
        rows = self.replay.draw(self.replay_batch_size, seed)
        values_B = torch.tensor([row.value for row in rows], device=self.device)
        return self._sequences_of(rows), values_B

    def _sequences_of(self, rows: list[Remembered]) -> Sequences:
        vocabulary = self.policy.vocabulary
        tokens_BT = pad_sequence(
            [row.tokens_T for row in rows], batch_first=True, padding_value=vocabulary.pad
        )
        sequences = Sequences.from_tokens(tokens_BT.to(self.device), vocabulary)
        if conditions := [row.condition_C for row in rows if row.condition_C is not None]:
            sequences = sequences.given(torch.stack(conditions).to(self.device))
        return sequences

    def _can_be_written(self, sequences: Sequences) -> Tensor:
        """Whether the constraint allows every token; bool (B,)."""
        tokens_BT = sequences.tokens_BT.to(self.device)
        allowed_BTA = self._allowed(tokens_BT)
        if allowed_BTA is None:
            return torch.ones_like(tokens_BT[:, 0], dtype=torch.bool)
        chosen_BT1 = tokens_BT.clamp(max=self.policy.vocabulary.num_actions - 1)[:, :, None]
        padding_BT = tokens_BT == self.policy.vocabulary.pad
        return (allowed_BTA.gather(2, chosen_BT1)[:, :, 0] | padding_BT).all(dim=1)

    def _allowed(self, tokens_BT: Tensor) -> Tensor | None:
        """The masks under which the tokens were written, (B, T, A); None without a constraint."""
        if self.constraint is None:
            return None
        bound = self.constraint.bound(self.policy.vocabulary, self.max_length, tokens_BT.device)
        return bound.along(tokens_BT)


def _checked_scores(scores: Tensor | list[float], n: int) -> Tensor:
    """The scores as float64 (B,); raises where they are anything else, or infinite."""
    try:
        values_B = torch.as_tensor(scores, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"the scores are {scores!r}; expected numbers, NaN: not known") from error
    if values_B.shape != (n,) or values_B.isinf().any():
        raise ValueError(
            f"the scores have shape {tuple(values_B.shape)} and {int(values_B.isinf().sum())} are "
            f"infinite; expected ({n},), a finite number for each sequence, NaN: not known"
        )
    return values_B
