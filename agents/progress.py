"""Progress bars of the agents' long work."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from tqdm import tqdm


class ProgressBar(BaseCallback):
    """A progress bar over the tokens of training sequences."""

    def __init__(self, label: str) -> None:
        super().__init__()
        self._label = label

    def _on_training_start(self) -> None:
        done, total = self.model.num_timesteps, self.locals["total_timesteps"]
        self._bar = progress_bar(self._label, done, total, "token", shown=True)

    def _on_step(self) -> bool:
        if (new := self.model.num_timesteps - self._bar.n) > 0:
            self._bar.update(new)
            buffer = self.model.ep_info_buffer
            if buffer:
                self._bar.set_postfix(reward=f"{np.mean([e['r'] for e in buffer]):.3f}")
        return True

    def _on_training_end(self) -> None:
        self._bar.close()


def progress_bar(label: str, done: int, total: int, unit: str, shown: bool) -> tqdm[Any]:
    """A bar that begins at ``done`` of ``total``."""
    return tqdm(
        desc=label,
        initial=done,
        total=total,
        unit=unit,
        unit_scale=unit == "token",
        disable=not shown,
        dynamic_ncols=True,
        mininterval=0.5,
    )
