"""What a discriminator learns from besides the batch as it comes: old sequences, and noise."""

# Shapes: B sequences, T steps, R remembered sequences
from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from ...envs.vocabulary import Vocabulary


class Replay:
    """A bounded buffer of generated sequences, so that what was once told apart stays so.

    Shrivastava et al. (2017), arXiv 1612.07828, section 2.3.

    Args:
        capacity: the most sequences that it holds.
        max_length: T, the most tokens of a sequence.
        pad: the id of padding.
    """

    def __init__(self, capacity: int, max_length: int, pad: int) -> None:
        self.capacity, self.pad = capacity, pad
        self.tokens_RT = torch.empty((0, max_length), dtype=torch.int64)

    def mixed(self, tokens_BT: Tensor) -> Tensor:
        """The batch with half of it replaced by old sequences, if there are as many; keep it.

        Of too many sequences, old and new, those kept are drawn by torch's generator.
        """
        old = len(tokens_BT) // 2
        wide = self.tokens_RT.shape[1] - tokens_BT.shape[1]
        fresh_BT = F.pad(tokens_BT.cpu(), (0, wide), value=self.pad)
        batch_BT = fresh_BT
        if len(self.tokens_RT) >= old:
            drawn = torch.randperm(len(self.tokens_RT))[:old]
            batch_BT = torch.cat([fresh_BT[: len(fresh_BT) - old], self.tokens_RT[drawn]])
        together = torch.cat([self.tokens_RT, fresh_BT])
        if len(together) > self.capacity:
            together = together[torch.randperm(len(together))[: self.capacity]]
        self.tokens_RT = together
        longest = int((batch_BT != self.pad).sum(dim=1).max())
        return batch_BT[:, : max(longest, 1)].to(tokens_BT.device)

    def restore(self, tokens_RT: Tensor) -> None:
        """Take over what another buffer held.

        Raises:
            ValueError: these are no sequences of its length and vocabulary.
        """
        T = self.tokens_RT.shape[1]
        fits = tokens_RT.ndim == 2 and tokens_RT.shape[1] == T and tokens_RT.dtype == torch.int64
        if not fits or bool(((tokens_RT < 0) | (tokens_RT > self.pad)).any()):
            raise ValueError(
                f"the old sequences are {tokens_RT.dtype} of {tuple(tokens_RT.shape)}; expected "
                f"int64 of {T} tokens, each from 0 to {self.pad}"
            )
        self.tokens_RT = tokens_RT


def with_noise(tokens_BT: Tensor, probability: float, vocabulary: Vocabulary) -> Tensor:
    """Every token replaced, with this probability, by one drawn uniformly.

    Instance noise (Sonderby et al., 2017, arXiv 1610.04490; Arjovsky and Bottou, 2017) for tokens:
    both kinds of sequences get it, so that their distributions overlap. The end token neither goes
    nor comes, so lengths stay.
    """
    if probability == 0:
        return tokens_BT
    eos = -1 if vocabulary.eos is None else vocabulary.eos
    drawn_BT = torch.randint(vocabulary.num_actions - (eos >= 0), tokens_BT.shape)
    if eos >= 0:
        drawn_BT += drawn_BT >= eos
    hit_BT = (torch.rand(tokens_BT.shape) < probability).to(tokens_BT.device)
    inside_BT = (tokens_BT < vocabulary.num_actions) & (tokens_BT != eos)
    return torch.where(hit_BT & inside_BT, drawn_BT.to(tokens_BT.device), tokens_BT)
