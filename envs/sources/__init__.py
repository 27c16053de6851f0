"""Sources: distributions over sequences whose likelihood and entropy are known."""

from .base import IMPOSSIBLE, Entropy, SourceLogProb, StepSource
from .copy import CopySource
from .dyck import DyckSource
from .gru import GRUOracle
from .hmm import HMMSource
from .lstm import LSTMOracle
from .markov import MarkovSource
from .mixture import MarkovMixtureSource
from .transformer import TransformerOracle

__all__ = [
    "IMPOSSIBLE",
    "CopySource",
    "DyckSource",
    "Entropy",
    "GRUOracle",
    "HMMSource",
    "LSTMOracle",
    "MarkovMixtureSource",
    "MarkovSource",
    "SourceLogProb",
    "StepSource",
    "TransformerOracle",
]
