"""The supervised path: learners that fit a policy to real sequences."""

from .learner import Learner
from .loading import load_learner
from .teacher_forcing import TeacherForcing

__all__ = ["Learner", "TeacherForcing", "load_learner"]
