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
        self._pad = task.vocabulary.pad
        self._tokens_BT = np.full((num_envs, task.max_length), self._pad, np.int64)
        self._lengths_B = np.zeros(num_envs, np.int64)
        self._ended_B = np.zeros(num_envs, bool)
        self._begun = False
        self._masks = None if task.constraint is None else RowMasks(task.constraint, num_envs)
        self._rows_B = np.arange(num_envs)

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, Infos]:
        """Begin new sequences: all, or the rows of ``options["reset_mask"]``, bool (B,).

        ``options["prompt"]`` is one prompt for all, or a list of B.
        """
        super().reset(seed=seed if not isinstance(seed, list) else seed[0])
        options = dict(options or {})
        mask_B = _reset_mask(options.pop("reset_mask", None), self.num_envs)
        prompts = options.get("prompt")
        if not isinstance(prompts, list | tuple):
            prompts = [prompts] * self.num_envs
        elif len(prompts) != self.num_envs:
            raise ValueError(
                f"{len(prompts)} prompts for {self.num_envs} environments; give one each"
            )
        starts = self._encode_prompts(options, prompts, mask_B)
        self._restart(mask_B if self._begun else np.ones(self.num_envs, bool))
        for row, start in starts.items():
            self._tokens_BT[row, : len(start)] = start
            self._lengths_B[row] = len(start)
        self._begun = True
        if self._masks is not None:
            longest = int(self._lengths_B[mask_B].max())
            prefixes_BT = np.where(mask_B[:, None], self._tokens_BT[:, :longest], self._pad)
            self._masks.restart(mask_B, prefixes_BT)
            self._masks.refresh()
        return self._tokens_BT.copy(), self._mask_info()

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
        tokens_B = self._checked(actions)
        same_step = self.autoreset_mode is AutoresetMode.SAME_STEP
        writing_B = ~self._ended_B
        waiting = not same_step and bool(self._ended_B.any())
        if waiting and self.autoreset_mode is AutoresetMode.DISABLED:
            raise gym.error.ResetNeeded(
                f"environments {np.flatnonzero(self._ended_B).tolist()} have ended; call "
                "reset(options={'reset_mask': mask}) first"
            )
        forbidden_B, refusals = self._refused(tokens_B, writing_B)
        if waiting:  # NEXT_STEP: this step only begins them anew
            self._restart(self._ended_B.copy())
            tokens_B[~writing_B] = self._pad
        self._tokens_BT[self._rows_B, self._lengths_B] = tokens_B
        self._lengths_B += writing_B
        ended_B = self._lengths_B == self.task.max_length
        if (eos := self.task.vocabulary.eos) is not None:
            ended_B |= tokens_B == eos
        if self._masks is not None:
            self._masks.advance(tokens_B, forbidden_B | ended_B)
        rewards_B, infos = np.zeros(self.num_envs), dict[str, Any]()
        if len(rows_E := np.flatnonzero(ended_B)):
            self._begun = False  # until they are scored: if that raises, all begin anew
            infos = self._finish(rows_E, ended_B, rewards_B, refusals)
            self._begun = True
        if self._masks is not None:
            self._masks.refresh()
        if refusals:
            shown_B = forbidden_B & ~ended_B if same_step else forbidden_B
            self._put_refusals(infos, refusals, shown_B)
        truncated_B = np.zeros(self.num_envs, bool)
        return self._tokens_BT.copy(), rewards_B, ended_B, truncated_B, infos | self._mask_info()

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
        A = self.task.vocabulary.num_actions
        if tokens_B.shape != (self.num_envs,) or tokens_B.dtype.kind not in "iu":
            raise ValueError(
                f"actions have shape {tokens_B.shape} and dtype {tokens_B.dtype}; expected "
                f"({self.num_envs},) integers"
            )
        tokens_B = tokens_B.astype(np.int64)
        wrong_B = tokens_B.view(np.uint64) >= A  # negative ones are large then
        if wrong_B.any():
            raise ValueError(
                f"action {tokens_B[wrong_B][0]} is outside the {A} actions (0..{A - 1})"
            )
        return tokens_B

    def _encode_prompts(
        self, options: dict[str, Any], prompts: list[Any] | tuple[Any, ...], mask_B: np.ndarray
    ) -> dict[int, np.ndarray]:
        """The tokens that rows begin with, each prompt encoded once."""
        rows = np.flatnonzero(mask_B).tolist()
        texts = {row: self.task.prompt_of({**options, "prompt": prompts[row]}) for row in rows}
        encoded = {p: self.task.encode_prompt(p) for p in texts.values() if p is not None}
        return {row: encoded[text] for row, text in texts.items() if text is not None}

    def _refused(
        self, tokens_B: np.ndarray, writing_B: np.ndarray
    ) -> tuple[np.ndarray, dict[int, str]]:
        """Where a forbidden token is about to be written, and what is said of it, by row."""
        if self._masks is None:
            return np.zeros(self.num_envs, bool), {}
        forbidden_B = self._masks.forbids(tokens_B) & writing_B
        if not forbidden_B.any():
            return forbidden_B, {}
        refusals = {
            row: self._masks.refusal(int(tokens_B[row]), int(self._lengths_B[row]) + 1)
            for row in np.flatnonzero(forbidden_B).tolist()
        }
        if refusals and self._masks.constraint.on_forbidden == "raise":
            row, refusal = next(iter(refusals.items()))
            raise ValueError(
                f"environment {row}: {refusal}; choose among those where info['action_mask'] is 1"
            )
        return forbidden_B, refusals

    def _put_refusals(self, infos: Infos, refusals: dict[int, str], rows_B: np.ndarray) -> None:
        if rows_B.any():
            texts = [refusals[row] for row in np.flatnonzero(rows_B).tolist()]
            self._put(infos, "forbidden", np.array(texts, object), rows_B)

    def _mask_info(self) -> Infos:
        if self._masks is None:
            return {}
        mask_BA = self._masks.mask_BA.view(np.int8).copy()
        return {"action_mask": mask_BA, "_action_mask": np.ones(self.num_envs, bool)}

    def _restart(self, mask_B: np.ndarray) -> None:
        self._tokens_BT[mask_B] = self._pad
        self._lengths_B[mask_B] = 0
        self._ended_B[mask_B] = False
        if self._masks is not None:
            self._masks.restart(mask_B)

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
        rewards_B[rows_E] = np.where(ok_E, scores.values_B.numpy(), 0.0)  # NaN where not ok
        info: Infos = {}
        self._put(info, "text", np.array(sequences.texts, object), ended_B)
        self._put(info, "tokens", tokens_ET, ended_B)
        parts: Infos = {}
        for name, part_E in scores.parts.items():
            self._put(parts, name, part_E.numpy().astype(float), ended_B)
        info["reward_parts"], info["_reward_parts"] = parts, ended_B.copy()
        self._put(info, "reward_failed", ~ok_E, ended_B)
        if self.autoreset_mode is not AutoresetMode.SAME_STEP:
            self._ended_B |= ended_B
            return info
        if self._masks is not None:
            free_BA = np.zeros(self._masks.mask_BA.shape, np.int8)
            free_BA[rows_E] = 1  # after the end
            info["action_mask"], info["_action_mask"] = free_BA, ended_B.copy()
            if refusals:
                forbidden_B = np.isin(self._rows_B, list(refusals)) & ended_B
                self._put_refusals(info, refusals, forbidden_B)
        final_obs = np.empty(self.num_envs, object)
        for row, tokens_T in zip(rows_E, tokens_ET, strict=True):
            final_obs[row] = tokens_T.copy()
        self._restart(ended_B)
        return {
            "final_obs": final_obs,
            "_final_obs": ended_B.copy(),
            "final_info": info,
            "_final_info": ended_B.copy(),
        }

    def _put(self, infos: Infos, key: str, values_E: np.ndarray, mask_B: np.ndarray) -> None:
        """Gymnasium's form: an array over all rows, and under ``_key`` which rows have the key."""
        make = np.empty if values_E.dtype == object else np.zeros  # empty objects are None
        array = make((self.num_envs, *values_E.shape[1:]), values_E.dtype)
        array[mask_B] = values_E
        infos[key], infos[f"_{key}"] = array, mask_B.copy()

    def render(self) -> tuple[Any, ...] | None:
        """One text or picture for each row, as ``render_mode`` says."""
        if self.render_mode is None:
            return None
        texts = self.task.vocabulary.decode(self._tokens_BT)
        return tuple(texts if self.render_mode == "ansi" else map(self.task.draw, texts))


def _reset_mask(mask: object, num_envs: int) -> np.ndarray:
    if mask is None:
        return np.ones(num_envs, bool)
    if (
        not isinstance(mask, np.ndarray)
        or mask.shape != (num_envs,)
        or mask.dtype != bool
        or not mask.any()
    ):
        raise ValueError(
            f"reset_mask is {mask!r}; expected a bool array of shape ({num_envs},) with a True"
        )
    return mask
