"""Training: runs, evaluation, reports, the command line."""

from .evaluation import evaluate, figures_of_samples, figures_of_texts
from .scores import RoundScores, ScoreLog, read_scores, weigh
from .training import PretrainConfig, RunError, TrainConfig, train

__all__ = [
    "PretrainConfig",
    "RoundScores",
    "RunError",
    "ScoreLog",
    "TrainConfig",
    "evaluate",
    "figures_of_samples",
    "figures_of_texts",
    "read_scores",
    "train",
    "weigh",
]
