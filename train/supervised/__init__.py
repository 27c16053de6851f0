"""The supervised path: learners that fit a policy to real sequences."""

from .learner import Learner
from .loading import load_learner
from .scheduled_sampling import ScheduledSampling
from .teacher_forcing import TeacherForcing

__all__ = ["Learner", "ScheduledSampling", "TeacherForcing", "load_learner"]
