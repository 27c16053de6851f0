"""Sharper distributions for writing: temperature, top-k and nucleus.

Top-k (Fan et al., 2018, arXiv 1805.04833) keeps the k most probable tokens, the nucleus (Holtzman
et al., 2020, arXiv 1904.09751) the fewest whose probability together reaches p. What is kept keeps
its logits, so a softmax over them is the renormalised distribution, exactly. The temperature comes
first, the nucleus last, each of what the one before has left; of equal tokens, the lower id.
"""

# Shapes: R rows, A actions
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Sharpening:
    """What is done to logits before a token is drawn.

    Args:
        temperature: logits are divided by it.
        top_k: how many tokens are kept; None keeps all.
        top_p: the probability that the nucleus has at least; None, or 1, keeps all.

    Raises:
        ValueError: one of them out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}; expected more than 0")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k is {self.top_k}; expected at least 1, or None for all")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; expected more than 0, at most 1")

    def __call__(self, logits_RA: Tensor) -> Tensor:
        """The sharper logits, -inf where a token is left out; float32 or float64."""
        if self.temperature != 1.0:  # the largest is 0, so that none becomes infinite
            logits_RA = logits_RA - logits_RA.amax(dim=1, keepdim=True)
            logits_RA = logits_RA / max(self.temperature, torch.finfo(logits_RA.dtype).tiny)
        top_k = logits_RA.shape[1] if self.top_k is None else min(self.top_k, logits_RA.shape[1])
        top_p = 1.0 if self.top_p is None else self.top_p
        if top_k == logits_RA.shape[1] and top_p == 1.0:
            return logits_RA
        ranked_RA, tokens_RA = logits_RA.sort(dim=1, descending=True, stable=True)
        ranked_RA[:, top_k:] = -torch.inf
        if top_p < 1.0:
            p_RA = ranked_RA.double().softmax(dim=1)
            before_RA = p_RA.cumsum(dim=1) - p_RA
            ranked_RA[:, 1:].masked_fill_(before_RA[:, 1:] >= top_p, -torch.inf)
        return torch.empty_like(logits_RA).scatter_(1, tokens_RA, ranked_RA)
