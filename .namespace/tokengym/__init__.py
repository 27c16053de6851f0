"""tokengym: write discrete sequences as a Gymnasium environment, and train agents that score well.

``import tokengym`` registers the tasks with Gymnasium.
"""

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
