"""SeqGAN's synthetic task (Yu et al., 2017, arXiv 1609.05473, section 4.1), and two relatives.

A random network writes the real data and tells how probable a sequence is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from ...rewards import RewardSpec
from ..task import Task
from .base import StepSource
from .gru import GRUOracle
from .lstm import LSTMOracle
from .task import source_task
from .transformer import TransformerOracle

Network = Literal["lstm", "gru", "transformer"]


def oracle(
    *,
    source: Network = "lstm",
    length: int = 20,
    seed: int = 0,
    weights: str | None = None,
    data_size: int = 10_000,
    reward: RewardSpec | None = None,
) -> Task:
    """The task ``tokengym/Oracle-v0``: write tokens that a random network finds probable.

    Args:
        source: which network: ``"lstm"`` (SeqGAN's), ``"gru"`` or ``"transformer"``.
        length: how many tokens every sequence has; SeqGAN's are 20 and 40.
        seed: of the random network, and of the data that it writes.
        weights: an ``.npz`` for ``LSTMOracle.from_npz``, instead of a random network.
        data_size: how many real sequences there are.
        reward: by default the mean log-probability under the source.

    Raises:
        ValueError: an unknown source, a length below 1, or weights for another than the LSTM.
        DataError: the weights cannot be loaded.
    """
    if weights is None:
        network = _random_oracle(source, length, seed)
    elif source != "lstm":
        raise ValueError(f"weights are an LSTM's and source is {source!r}; leave one of them out")
    else:
        network = LSTMOracle.from_npz(weights, length)
    return source_task("Oracle", network, data_size, seed, reward)


@lru_cache(maxsize=2)
def _random_oracle(source: str, length: int, seed: int) -> StepSource:
    if source == "lstm":
        return LSTMOracle.random(seed, length=length)
    if source == "gru":
        return GRUOracle(seed, length=length)
    if source == "transformer":
        return TransformerOracle(seed, length=length)
    raise ValueError(f"source is {source!r}; expected 'lstm', 'gru' or 'transformer'")
