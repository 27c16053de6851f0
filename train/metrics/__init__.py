"""Figures: what generated sequences are like, each with its standard error."""

from .estimate import Estimate, mean_of, share_of, unique_share
from .sequences import nats_a_token, text_figures

__all__ = ["Estimate", "mean_of", "nats_a_token", "share_of", "text_figures", "unique_share"]
