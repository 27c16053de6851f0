from .base import Policy, State
from .recurrent import GRUPolicy, LSTMPolicy

__all__ = ["GRUPolicy", "LSTMPolicy", "Policy", "State"]
