"""The supervised path: learning to write from real sequences alone."""

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

__all__ = [
    "Gumbel",
    "annealed_temperature",
    "draw_without_replacement",
    "gumbel_max",
    "gumbel_softmax",
    "gumbel_softmax_log_density",
    "inverse_temperature",
    "straight_through",
]
