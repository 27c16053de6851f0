"""How an agent writes: whole sequences at once, or the next token for an observation (B, T)."""

# Shapes: B sequences, T steps, A actions
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..envs import Sequences
from .assembled import AssembledAgent, Purpose
from .precision import at_least_float32
from .pretraining import seeded
from .sampling import sample


class WritingAgent(AssembledAgent):
    """An agent that writes; every call without a seed gives other sequences."""

    def sample(
        self,
        n: int,
        *,
        seed: int | None = None,
        prompt: str | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> Sequences:
        """Write ``n`` sequences.

        Args:
            n: how many.
            seed: one seed, one result; None gives other sequences at every call.
            prompt: what all of them begin with.
            temperature: below 1 is sharper.
            top_k: only the k most probable tokens are drawn from.
            top_p: only the fewest tokens that have this probability together are drawn from.
        """
        if seed is None:
            seed = self._seed_of(Purpose.SAMPLE, self.sampled)
            self.sampled += 1
        return sample(
            self.policy,
            n,
            max_length=self.max_length,
            seed=seed,
            prompt=prompt,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            constraint=self.constraint,
        )

    @torch.no_grad()
    def predict(  # type: ignore[override] # observations here are arrays of tokens
        self,
        observation: np.ndarray,
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """The next token for an observation (T,) or a batch (B, T), and the state to carry.

        Args:
            observation: the tokens so far, then padding.
            state: the condition of each episode, where the policy reads one: it is drawn at the
                beginning of an episode, and to be handed back until its end. Otherwise None, for
                the observation holds the whole prefix.
            episode_start: bool (B,), which episodes begin; all where there is no state.
            deterministic: the most probable token instead of a drawn one.
        """
        single = np.ndim(observation) == 1
        tokens_BT = torch.as_tensor(np.atleast_2d(observation), device=self.device)
        length_B = (tokens_BT != self.policy.vocabulary.pad).sum(dim=1)
        length_B = length_B.clamp(max=tokens_BT.shape[1] - 1)
        condition_B = self._condition_of_episodes(len(tokens_BT), state, episode_start)
        logits_BTA = self.policy(tokens_BT[:, : int(length_B.max()) + 1], condition_B)
        logits_BA = logits_BTA[torch.arange(len(tokens_BT)), length_B]
        if self.constraint is not None:
            bound = self.constraint.bound(self.policy.vocabulary, self.max_length, self.device)
            written, free_B = bound.follow(tokens_BT[:, : int(length_B.max())])
            logits_BA = logits_BA.masked_fill(~bound.actions(written, free_B), -torch.inf)
        logits_BA = at_least_float32(logits_BA)
        if deterministic:
            action_B = logits_BA.argmax(dim=1)
        else:
            with seeded(self._seed_of(Purpose.PREDICTION, self._predictions)):
                action_B = torch.distributions.Categorical(logits=logits_BA).sample()
            self._predictions += 1
        actions: np.ndarray = action_B.cpu().numpy()
        carried = None if condition_B is None else (condition_B.cpu().numpy(),)
        return (actions[0] if single else actions), carried

    def _condition_of_episodes(
        self, B: int, state: tuple[np.ndarray, ...] | None, episode_start: np.ndarray | None
    ) -> Tensor | None:
        """What episodes are written under: as carried, drawn anew where they begin."""
        seed = self._seed_of(Purpose.PREDICTION, self._predictions)
        drawn_B = self.policy.draw_condition(seed, torch.arange(B, device=self.device))
        if drawn_B is None:
            return None
        self._predictions += 1
        if state is None:
            return drawn_B
        begins_B = torch.as_tensor(np.zeros(B, bool) if episode_start is None else episode_start)
        carried_B = torch.as_tensor(state[0]).to(drawn_B)
        return torch.where(begins_B.to(self.device)[:, None], drawn_B, carried_B)
