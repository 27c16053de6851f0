"""What a round leaves in the log, under Stable-Baselines3's names where it has one."""

# Shapes: B sequences
from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from stable_baselines3.common.logger import Logger

from ..rewards import Reward, Scores

if TYPE_CHECKING:
    from .base import Round, SequenceAgent


def record_round(agent: SequenceAgent, made: Round) -> None:
    """The episodes, the reward's components, the round's metrics and the time."""
    assert agent.task is not None
    _record_episodes(agent, made)
    _record_reward(agent.logger, agent.task.reward, made.scores)
    if agent.constraint is not None:
        agent.logger.record("rollout/constraint_fallbacks", agent.constraint.fallbacks)
    for name, value in made.metrics.items():
        agent.logger.record(name, value)
    seconds = max((time.time_ns() - agent.start_time) / 1e9, 1e-9)
    done = agent.num_timesteps - agent._num_timesteps_at_start
    agent.logger.record("time/iterations", agent.rounds, exclude="tensorboard")
    agent.logger.record("time/fps", int(done / seconds))
    agent.logger.record("time/time_elapsed", int(seconds), exclude="tensorboard")
    agent.logger.record("time/total_timesteps", agent.num_timesteps, exclude="tensorboard")


def _record_episodes(agent: SequenceAgent, made: Round) -> None:
    """Their returns and lengths, those left out that could not be scored."""
    buffer = agent.ep_info_buffer
    assert buffer is not None
    for value, length, ok in zip(
        made.scores.values_B.tolist(),
        made.sequences.lengths_B.tolist(),
        made.scores.ok_B.tolist(),
        strict=True,
    ):
        if ok:
            buffer.append({"r": value, "l": length})
    for name, key in (("ep_rew_mean", "r"), ("ep_len_mean", "l")):
        if buffer:
            agent.logger.record(f"rollout/{name}", float(np.mean([e[key] for e in buffer])))


def _record_reward(logger: Logger, reward: Reward, scores: Scores) -> None:
    """Every component's values, failures and figures, and those before its transform."""
    for name, part_B in scores.parts.items():
        component, raw, _ = name.partition(".raw")
        mean = float(part_B.nanmean())  # NaN where all failed
        logger.record(f"reward/{component}/{'raw' if raw else 'mean'}", mean)
        logger.record(f"reward/{component}/failed", int(part_B.isnan().sum()))
    for name, each in reward.named().items():
        if not each.children:
            for figure, value in each.take_statistics().items():
                logger.record(f"reward/{name}/{figure}", value)
    logger.record("reward/failed", int((~scores.ok_B).sum()))
