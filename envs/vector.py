"""The writing of B sequences at once as a Gymnasium vector environment, natively batched.

The same episodes as ``TokenEnv``, row by row, with one reward call for all sequences that end in a
step.
"""

# Shapes: B = num_envs sequences, E of them ending in this step, T = max_length steps
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from .constraints import RowMasks
from .task import Task

Infos = dict[str, Any]


class TokenVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """B environments of one task; spaces, rewards, ends and infos as ``TokenEnv`` describes them.

    Args:
        task: what is written and what it is worth.
        num_envs: B.
        autoreset_mode: ``SAME_STEP``: a row that ends begins anew in the same step, its last
            observation and info under ``final_obs`` and ``final_info``, as Stable-Baselines3 means
            it. ``NEXT_STEP``: the step after the end begins anew, its action is ignored.
            ``DISABLED``: rows wait for ``reset(options={"reset_mask": bool (B,)})``.
        render_mode: ``"ansi"``, ``"rgb_array"`` (a tuple of B) or None.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}  # noqa: RUF012 - Gymnasium's

    def __init__(
        self,
        task: Task,
        num_envs: int = 1,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs is {num_envs}; expected at least 1")
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(
                f"render_mode is {render_mode!r}; expected one of {self.metadata['render_modes']}"
            )
        self.task = task
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = task.observation_space
        self.single_action_space = task.action_space
        self.observation_space = batch_space(task.observation_space, num_envs)
        self.action_space = batch_space(task.action_space, num_envs)
        self._pad, self._num_actions = task.vocabulary.pad, task.vocabulary.num_actions
        self._tokens_BT = np.full((num_envs, task.max_length), self._pad, np.int64)
        self._lengths_B = np.zeros(num_envs, np.int64)
        self._ended_B = np.zeros(num_envs, bool)
        self._same_step = self.autoreset_mode is AutoresetMode.SAME_STEP
        self._begun = False
        self._masks = None if task.constraint is None else RowMasks(task.constraint, num_envs)
        self._rows_B = np.arange(num_envs)
        self._free_BA = np.ones((num_envs, self._num_actions), np.int8)
        self._all_B = np.ones(num_envs, bool)

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, Infos]:
        """Begin new sequences: all, or the rows of ``options["reset_mask"]``, bool (B,).

        ``options["prompt"]`` is one prompt for all, or a list of B.
        """
        if isinstance(seed, list):
            if len(seed) != self.num_envs:
                raise ValueError(
                    f"{len(seed)} seeds for {self.num_envs} environments; give one each"
                )
            seed = seed[0]
        super().reset(seed=seed)
        options = dict(options or {})
        rows = _rows_to_reset(options.pop("reset_mask", None), self.num_envs)
        prompts = options.get("prompt")
        if not isinstance(prompts, list | tuple):
            prompts = [prompts] * self.num_envs
        elif len(prompts) != self.num_envs:
            raise ValueError(
                f"{len(prompts)} prompts for {self.num_envs} environments; give one each"
            )
        starts = self._encode_prompts(options, prompts, rows)
        self._restart(rows if self._begun else self._rows_B)
        for row, start in starts.items():
            self._tokens_BT[row, : len(start)] = start
            self._lengths_B[row] = len(start)
        self._begun = True
        if self._masks is not None:
            longest = int(self._lengths_B[rows].max())
            self._masks.restart(rows, self._tokens_BT[rows, :longest])
            self._masks.refresh()
        return self._tokens_BT.copy(), {} if self._masks is None else self._mask_info(self._masks)

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Infos]:
        """Write one token in each row: observations, float64 rewards, terminated, truncated, infos.

        Raises:
            gymnasium.error.ResetNeeded: before the first ``reset``, or (``DISABLED``) after an end.
            ValueError: an action is no token, or one that the constraint forbids where its
                ``on_forbidden`` is ``"raise"``.
        """
        if not self._begun:
            raise gym.error.ResetNeeded("no sequence is being written; call reset() first")
        (waiting,) = self._ended_B.nonzero()
        if len(waiting) and self.autoreset_mode is AutoresetMode.DISABLED:
            raise gym.error.ResetNeeded(
                f"environments {waiting.tolist()} have ended; call "
                "reset(options={'reset_mask': mask}) first"
            )
        tokens_B = self._checked(actions)
        refusals = {} if self._masks is None else self._refusals(self._masks, tokens_B)
        if len(waiting):  # NEXT_STEP: this step only begins them anew
            self._restart(waiting)
            tokens_B[waiting] = self._pad
        self._tokens_BT[self._rows_B, self._lengths_B] = tokens_B
        self._lengths_B += 1
        self._lengths_B[waiting] = 0
        ended_B = self._lengths_B == self.task.max_length
        if (eos := self.task.vocabulary.eos) is not None:
            ended_B |= tokens_B == eos
        if self._masks is not None:
            self._masks.advance(tokens_B, ended_B, list(refusals))
        rewards_B, truncated_B = np.zeros(self.num_envs), np.zeros(self.num_envs, bool)
        (rows_E,) = ended_B.nonzero()
        infos: Infos = {}
        if len(rows_E):
            self._begun = False  # until they are scored: if that raises, all begin anew
            infos = self._finish(rows_E, ended_B, rewards_B, refusals)
            self._begun = True
        if self._masks is not None:
            self._masks.refresh()
            infos |= self._mask_info(self._masks)
        if refusals:
            self._put_refusals(infos, refusals, ~ended_B if self._same_step else self._all_B)
        return self._tokens_BT.copy(), rewards_B, ended_B, truncated_B, infos

    @property
    def action_masks(self) -> Callable[[], np.ndarray]:
        """A method without arguments: what may be written next, bool (B, A).

        Only where the task has a constraint, as in ``TokenEnv``.
        """
        if self._masks is None:
            raise AttributeError("this task has no constraint, so there are no action_masks")
        masks = self._masks
        return lambda: masks.mask_BA.copy()

    def _checked(self, actions: np.ndarray) -> np.ndarray:
        tokens_B = np.asarray(actions)
        A = self._num_actions
        if tokens_B.shape != (self.num_envs,) or tokens_B.dtype.kind not in "iu":
            raise ValueError(
                f"actions have shape {tokens_B.shape} and dtype {tokens_B.dtype}; expected "
                f"({self.num_envs},) integers"
            )
        tokens_B = tokens_B.astype(np.int64)
        unsigned_B = tokens_B.view(np.uint64)  # negative ones are large
        if unsigned_B.max() >= A:
            wrong = tokens_B[unsigned_B >= A][0]
            raise ValueError(f"action {wrong} is outside the {A} actions (0..{A - 1})")
        return tokens_B

    def _encode_prompts(
        self, options: dict[str, Any], prompts: list[Any] | tuple[Any, ...], rows: np.ndarray
    ) -> dict[int, np.ndarray]:
        """The tokens that rows begin with, each prompt encoded once."""
        texts = {
            row: self.task.prompt_of({**options, "prompt": prompts[row]}) for row in rows.tolist()
        }
        encoded = {p: self.task.encode_prompt(p) for p in texts.values() if p is not None}
        return {row: encoded[text] for row, text in texts.items() if text is not None}

    def _refusals(self, masks: RowMasks, tokens_B: np.ndarray) -> dict[int, str]:
        """What is said of the forbidden tokens that are about to be written, by row."""
        (rows,) = masks.forbids(tokens_B).nonzero()
        found = {
            row: masks.refusal(int(tokens_B[row]), int(self._lengths_B[row]) + 1)
            for row in rows.tolist()
        }
        if found and masks.constraint.on_forbidden == "raise":
            row, refusal = next(iter(found.items()))
            raise ValueError(
                f"environment {row}: {refusal}; choose among those where info['action_mask'] is 1"
            )
        return found

    def _mask_info(self, masks: RowMasks) -> Infos:
        mask_BA = masks.mask_BA.view(np.int8).copy()
        return {"action_mask": mask_BA, "_action_mask": self._all_B.copy()}

    def _restart(self, rows: np.ndarray) -> None:
        self._tokens_BT[rows] = self._pad
        self._lengths_B[rows] = 0
        self._ended_B[rows] = False
        if self._masks is not None:
            self._masks.restart(rows)

    def _finish(
        self,
        rows_E: np.ndarray,
        ended_B: np.ndarray,
        rewards_B: np.ndarray,
        refusals: dict[int, str],
    ) -> Infos:
        """Score the rows that ended; fills ``rewards_B`` and gives the infos."""
        tokens_ET = self._tokens_BT[rows_E]
        sequences, scores = self.task.score(tokens_ET, self._lengths_B[rows_E])
        ok_E = scores.ok_B.numpy()
        rewards_B[rows_E[ok_E]] = scores.values_B.numpy()[ok_E]
        mask_B = ended_B.copy()  # one for all infos of this step
        info: Infos = {}
        parts: Infos = {}
        self._put(info, "text", np.array(sequences.texts, object), rows_E, mask_B)
        self._put(info, "tokens", tokens_ET, rows_E, mask_B)
        for name, part_E in scores.parts.items():
            self._put(parts, name, part_E.numpy().astype(float), rows_E, mask_B)
        info["reward_parts"], info["_reward_parts"] = parts, mask_B
        self._put(info, "reward_failed", ~ok_E, rows_E, mask_B)
        if not self._same_step:
            self._ended_B |= ended_B
            return info
        if self._masks is not None:  # anything is allowed after the end
            self._put(info, "action_mask", self._free_BA[: len(rows_E)], rows_E, mask_B)
        if refusals:
            self._put_refusals(info, refusals, ended_B)
        final_obs = np.empty(self.num_envs, object)
        for row, tokens_T in zip(rows_E.tolist(), tokens_ET.copy(), strict=True):
            final_obs[row] = tokens_T
        self._restart(rows_E)
        return {
            "final_obs": final_obs,
            "_final_obs": mask_B,
            "final_info": info,
            "_final_info": mask_B,
        }

    def _put(
        self,
        infos: Infos,
        key: str,
        values_E: np.ndarray,
        rows_E: np.ndarray | list[int],
        mask_B: np.ndarray,
    ) -> None:
        """Gymnasium's form: an array over all rows, and under ``_key`` which rows have the key."""
        make = np.empty if values_E.dtype == object else np.zeros  # empty objects are None
        infos[key] = make((self.num_envs, *values_E.shape[1:]), values_E.dtype)
        infos[key][rows_E] = values_E
        infos[f"_{key}"] = mask_B

    def _put_refusals(self, infos: Infos, refusals: dict[int, str], shown_B: np.ndarray) -> None:
        if rows := [row for row in refusals if shown_B[row]]:
            texts = np.array([refusals[row] for row in rows], object)
            self._put(infos, "forbidden", texts, rows, np.isin(self._rows_B, rows))

    def render(self) -> tuple[Any, ...] | None:
        """One text or picture for each row, as ``render_mode`` says."""
        if self.render_mode is None:
            return None
        texts = self.task.vocabulary.decode(self._tokens_BT)
        return tuple(texts if self.render_mode == "ansi" else map(self.task.draw, texts))


def _rows_to_reset(mask: object, num_envs: int) -> np.ndarray:
    if mask is None:
        return np.arange(num_envs)
    if (
        not isinstance(mask, np.ndarray)
        or mask.shape != (num_envs,)
        or mask.dtype != bool
        or not mask.any()
    ):
        raise ValueError(
            f"reset_mask is {mask!r}; expected a bool array of shape ({num_envs},) with a True"
        )
    return np.flatnonzero(mask)
