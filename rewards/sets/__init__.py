from .base import SetObjective
from .keys import Coverage, Novelty, Uniqueness

__all__ = ["Coverage", "Novelty", "SetObjective", "Uniqueness"]
