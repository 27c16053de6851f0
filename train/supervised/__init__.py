"""The supervised path: learners that fit a policy to real sequences."""

from .aae import AAE
from .gumbel import (
    Gumbel,
    annealed_temperature,
    draw_without_replacement,
    gumbel_max,
    gumbel_softmax,
    gumbel_softmax_log_density,
    inverse_temperature,
    straight_through,
)
from .gumbel_gan import GumbelGAN
from .learner import Learner
from .loading import load_learner
from .professor_forcing import ProfessorForcing
from .scheduled_sampling import ScheduledSampling
from .teacher_forcing import TeacherForcing
from .vrae import VRAE

__all__ = [
    "AAE",
    "VRAE",
    "Gumbel",
    "GumbelGAN",
    "Learner",
    "ProfessorForcing",
    "ScheduledSampling",
    "TeacherForcing",
    "annealed_temperature",
    "draw_without_replacement",
    "gumbel_max",
    "gumbel_softmax",
    "gumbel_softmax_log_density",
    "inverse_temperature",
    "load_learner",
    "straight_through",
]
