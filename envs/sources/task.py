"""From a source to a task."""

from __future__ import annotations

from functools import partial

from ...rewards import RewardSpec, make_reward
from ..task import Task
from .base import SourceLogProb, StepSource


def source_task(
    name: str,
    source: StepSource,
    data_size: int,
    seed: int,
    reward: RewardSpec | None,
) -> Task:
    """The task of writing what a source finds probable.

    Args:
        name: for people.
        source: what writes the real data.
        data_size: how many real sequences there are.
        seed: of the data.
        reward: by default the mean log-probability under the source.

    Raises:
        ValueError: no data.
    """
    if data_size < 1:
        raise ValueError(f"data_size is {data_size}; expected at least 1")
    return Task(
        name=name,
        vocabulary=source.vocabulary,
        max_length=source.length,
        reward=SourceLogProb(source) if reward is None else make_reward(reward),
        load_data=partial(source.sample, data_size, seed),
        source=source,
    )
