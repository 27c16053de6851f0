"""Training: runs, evaluation, reports, the command line."""

from .evaluation import figures_of_samples, figures_of_texts
from .training import PretrainConfig, RunError, TrainConfig, train

__all__ = [
    "PretrainConfig",
    "RunError",
    "TrainConfig",
    "figures_of_samples",
    "figures_of_texts",
    "train",
]
