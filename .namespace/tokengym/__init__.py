"""tokengym: write discrete sequences as a Gymnasium environment, and train agents that score well.

``import tokengym`` registers the tasks with Gymnasium.
"""

from importlib import import_module as _import_module
from types import ModuleType as _ModuleType

from .agents import (
    ORGAN,
    AugmentedHillClimb,
    GRUPolicy,
    LSTMPolicy,
    Policy,
    Reinforce,
    Reinvent,
    SeqGAN,
    action_values,
    sample,
)
from .envs import (
    Constraint,
    IntermediateReward,
    LastToken,
    Sequences,
    Task,
    TokenEnv,
    TokenVecEnv,
    TokenVectorEnv,
    Vocabulary,
    WithCondition,
    make_constraint,
    make_sb3,
    make_task,
    register_built_in_tasks,
    register_task,
)
from .rewards import (
    Objective,
    Reward,
    Scores,
    TrainableReward,
    make_reward,
    objective,
    register_reward,
)

__version__ = "0.1.0"

__all__ = [
    "ORGAN",
    "AugmentedHillClimb",
    "Constraint",
    "GRUPolicy",
    "IntermediateReward",
    "LSTMPolicy",
    "LastToken",
    "Objective",
    "Policy",
    "Reinforce",
    "Reinvent",
    "Reward",
    "Scores",
    "SeqGAN",
    "Sequences",
    "Task",
    "TokenEnv",
    "TokenVecEnv",
    "TokenVectorEnv",
    "TrainableReward",
    "Vocabulary",
    "WithCondition",
    "__version__",
    "action_values",
    "make_constraint",
    "make_reward",
    "make_sb3",
    "make_task",
    "objective",
    "register_reward",
    "register_task",
    "sample",
]

register_built_in_tasks()


def __getattr__(name: str) -> _ModuleType:
    if name != "train":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _import_module(".train", __name__)  # when it is wanted: it takes as long as the rest
