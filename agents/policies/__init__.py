from .base import Policy, State
from .recurrent import GRUPolicy, LSTMPolicy
from .transformer import TransformerPolicy

__all__ = ["GRUPolicy", "LSTMPolicy", "Policy", "State", "TransformerPolicy"]
