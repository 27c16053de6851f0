"""What can be chosen of every discriminator, whatever its network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from .forms import Form, estimates_probability
from .losses import LABELLED, Loss


@dataclass(eq=False, kw_only=True)
class DiscriminatorOptions:
    """How a discriminator learns, and what it says; checked when it is made."""

    loss: Loss = "bce"
    """What is minimised; see losses.py."""
    reward: Form | None = None
    """What a sequence is worth; see forms.py. By default a probability, or else the logit."""
    learning_rate: float = 1e-4
    """Of Adam."""
    l2: float = 0.0
    """Weight of half the squared norm of the output layer in the loss."""
    smoothing: float = 0.0
    """Taken from the label of what is real; for ``bce`` and ``least_squares``."""
    gradient_penalty: float = 10.0
    """Its weight, with ``wasserstein`` without spectral normalisation."""
    noise: float = 0.0
    """Probability that a token is replaced by a random one, at the first update."""
    noise_updates: int = 1000
    """Over how many updates the noise falls linearly to nothing."""
    replay: int = 0
    """How many old generated sequences are kept, to be half of every batch."""
    gate: float = 1.0
    """The running AUC above which updates are skipped; 1 skips none."""

    spectral_norm = False  # a field where there are networks that it bounds

    def __post_init__(self) -> None:
        """Check them.

        Raises:
            ValueError: an option out of range, or two that have no meaning together.
        """
        self._check_names()
        self._check_numbers()

    def _check_names(self) -> None:
        for option, value, known in (
            ("loss", self.loss, get_args(Loss)),
            ("reward", self.reward or "logit", get_args(Form)),
        ):
            if value not in known:
                raise ValueError(f"{option} is {value!r}; expected one of {', '.join(known)}")
        if self.reward in ("probability", "log_ratio") and not estimates_probability(self.loss):
            raise ValueError(
                f"the loss {self.loss!r} estimates no probability, so reward={self.reward!r} means "
                "nothing; take reward='logit' or 'rank', or the loss 'bce' or 'least_squares'"
            )
        if self.smoothing and self.loss not in LABELLED:
            raise ValueError(
                f"the loss {self.loss!r} has no labels to smooth; expected smoothing=0, or one of "
                f"{', '.join(LABELLED)}"
            )

    def _check_numbers(self) -> None:
        for option, right, expected in (
            ("learning_rate", self.learning_rate > 0, "more than 0"),
            ("l2", self.l2 >= 0, "at least 0"),
            ("smoothing", 0 <= self.smoothing < 1, "at least 0, less than 1"),
            ("gradient_penalty", self.gradient_penalty > 0, "more than 0"),
            ("noise", 0 <= self.noise <= 1, "a probability"),
            ("noise_updates", self.noise_updates >= 1, "at least 1"),
            ("replay", self.replay >= 0, "at least 0"),
            ("gate", 0.5 < self.gate <= 1, "more than 0.5, at most 1"),
        ):
            if not right:
                raise ValueError(f"{option} is {getattr(self, option)!r}; expected {expected}")
