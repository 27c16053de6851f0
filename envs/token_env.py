"""The writing of one sequence as a Gymnasium environment, one token a step."""

# Shapes: T = max_length steps
from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, SupportsIndex

import gymnasium as gym
import numpy as np

from .constraints import RowMasks
from .task import Task


class TokenEnv(gym.Env[np.ndarray, np.int64]):
    """Write a sequence token by token.

    ## Observation space
    ``Box(0, V-1, (T,), int64)``: the tokens written so far, then padding.

    ## Action space
    ``Discrete(A)``: the token to write next.

    ## Reward
    0.0 until the sequence ends, then the task's reward of it. Where a component fails (its scorer
    could not score this sequence), the reward is 0.0 and ``info["reward_failed"]`` is True.

    ## Episode end
    ``terminated`` at the end token and at ``max_length`` tokens: the limit is part of the task and
    can be seen in the observation. Never truncated.

    ## Info
    At the end: ``text``; ``tokens``, int64 (T,) with padding; ``reward_parts``, each component's
    own value by name; ``reward_failed``. Before it: nothing.
    Where the task has a constraint, always ``action_mask``, int8 (A,): 1 for what may be written
    next (for anything, after the end); the method ``action_masks()`` gives it as bool. What is
    written in spite of it is named in ``forbidden``, and from then on nothing is forbidden; with
    ``on_forbidden="raise"`` it is an error instead.

    ## Options of reset
    ``{"prompt": text}`` starts from these tokens.

    Args:
        task: what is written and what it is worth.
        render_mode: ``"ansi"`` for the text so far; ``"rgb_array"`` for a picture of it (of the
            text itself where the domain has no other), of one size over an episode; None.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}  # noqa: RUF012 - Gymnasium's

    def __init__(self, task: Task, render_mode: str | None = None) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(
                f"render_mode is {render_mode!r}; expected one of {self.metadata['render_modes']}"
            )
        self.task = task
        self.render_mode = render_mode
        self.observation_space = task.observation_space
        self.action_space = task.action_space
        self._tokens_T = np.full(task.max_length, task.vocabulary.pad, np.int64)
        self._length: int | None = None  # None when there is no episode to step
        self._masks = None if task.constraint is None else RowMasks(task.constraint, 1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin a new sequence, empty or from ``options["prompt"]``."""
        super().reset(seed=seed)
        prompt = self.task.prompt_of(options)
        start = np.empty(0, np.int64) if prompt is None else self.task.encode_prompt(prompt)
        self._tokens_T.fill(self.task.vocabulary.pad)
        self._tokens_T[: len(start)] = start
        self._length = len(start)
        if self._masks is not None:
            self._masks.restart(np.zeros(1, int), start[None])
            self._masks.refresh()
        return self._tokens_T.copy(), self._mask_info()

    def step(self, action: SupportsIndex) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Write one token.

        Raises:
            gymnasium.error.ResetNeeded: before the first ``reset`` or after the end.
            ValueError: the action is no token, or one that the constraint forbids where its
                ``on_forbidden`` is ``"raise"``.
        """
        if self._length is None:
            raise gym.error.ResetNeeded("no sequence is being written; call reset() first")
        token = operator.index(action)
        if not 0 <= token < self.task.vocabulary.num_actions:
            raise ValueError(
                f"action {token} is outside the {self.task.vocabulary.num_actions} actions "
                f"(0..{self.task.vocabulary.num_actions - 1})"
            )
        ended = token == self.task.vocabulary.eos or self._length + 1 == self.task.max_length
        info = self._constrain(token, self._length + 1, ended)
        self._tokens_T[self._length] = token
        self._length += 1
        if not ended:
            return self._tokens_T.copy(), 0.0, False, False, info
        length, self._length = self._length, None  # ended, even if the reward should raise
        reward, final_info = self._finish(length)
        return self._tokens_T.copy(), reward, True, False, final_info | info

    @property
    def action_masks(self) -> Callable[[], np.ndarray]:
        """A method without arguments: what may be written next, bool (A,).

        Only where the task has a constraint: sb3-contrib asks whether the attribute exists.
        """
        if self._masks is None:
            raise AttributeError("this task has no constraint, so there are no action_masks")
        masks = self._masks
        return lambda: masks.mask_BA[0].copy()

    def _mask_info(self) -> dict[str, Any]:
        return (
            {} if self._masks is None else {"action_mask": self._masks.mask_BA[0].astype(np.int8)}
        )

    def _constrain(self, token: int, position: int, ended: bool) -> dict[str, Any]:
        """Carry the masks along; what the info says of them."""
        if self._masks is None:
            return {}
        tokens_1 = np.array([token])
        forbidden = bool(self._masks.forbids(tokens_1)[0])
        refusal = self._masks.refusal(token, position) if forbidden else None
        if refusal and self._masks.constraint.on_forbidden == "raise":
            raise ValueError(f"{refusal}; choose among those where info['action_mask'] is 1")
        self._masks.advance(tokens_1, np.array([ended]), [0] if forbidden else [])
        self._masks.refresh()
        return self._mask_info() | ({"forbidden": refusal} if refusal else {})

    def _finish(self, length: int) -> tuple[float, dict[str, Any]]:
        sequences, scores = self.task.score(self._tokens_T[None].copy(), np.array([length]))
        failed = not bool(scores.ok_B[0])
        info = {
            "text": sequences.texts[0],
            "tokens": self._tokens_T.copy(),
            "reward_parts": {name: float(part_B[0]) for name, part_B in scores.parts.items()},
            "reward_failed": failed,
        }
        return 0.0 if failed else float(scores.values_B[0]), info

    def render(self) -> Any:
        """The text so far, or its picture, as ``render_mode`` says; None without one."""
        if self.render_mode is None:
            return None
        text = self.task.vocabulary.decode(self._tokens_T[None])[0]
        return text if self.render_mode == "ansi" else self.task.draw(text)
