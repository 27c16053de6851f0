"""What a run sees of its rounds: whether to go on, and whether any of them had a signal."""

from __future__ import annotations

from collections.abc import Callable

from stable_baselines3.common.callbacks import BaseCallback

from ..agents.base import Round


class Rounds(BaseCallback):
    """Asks once a round whether to go on.

    Args:
        go_on: False stops.

    Attributes:
        flat: whether there were rounds, and none in which one sequence was worth more than another.
    """

    def __init__(self, go_on: Callable[[], bool]) -> None:
        super().__init__()
        self._ask = go_on
        self._round = -1
        self._spreads: set[bool] = set()

    @property
    def flat(self) -> bool:
        """Whether nothing could be learnt."""
        return self._spreads == {False}

    def _on_rollout_end(self) -> None:
        made: Round = self.locals["made"]
        if "train/advantage_std" in made.metrics:
            self._spreads.add(made.metrics["train/advantage_std"] != 0)

    def _on_step(self) -> bool:
        rounds = getattr(self.model, "rounds", 0)
        if rounds == self._round:
            return True
        self._round = rounds
        return self._ask()
