"""The latent utility of a sample: M small recurrent encoders, computed together.

Each member is a GRU (Cho et al., 2014, arXiv 1406.1078) over embedded tokens, and its utility a
linear function of the mean of its states: every token has its say, which few ratings teach sooner
than they teach a state to remember. The members share nothing; they stand in one tensor so that a
step costs one product of matrices instead of M.
"""

# Shapes: M members, B sequences, T steps, V input ids, E embedding, H hidden units
from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from ...envs.vocabulary import Vocabulary


class Utilities(nn.Module):
    """Tokens to M utilities; see the top of this file.

    Args:
        vocabulary: of the tokens.
        members: M.
        hidden: H, and E as well.
        dropout: share of units dropped while training, before the last layer.
    """

    def __init__(
        self, vocabulary: Vocabulary, members: int, hidden: int, dropout: float = 0.1
    ) -> None:
        super().__init__()
        M, H = members, hidden
        self.pad, self.dropout, self.hidden = vocabulary.pad, dropout, hidden
        self.embedding_MVH = nn.Parameter(torch.randn(M, vocabulary.num_inputs, H))
        self.input_MHG = nn.Parameter(_uniform(H, M, H, 3 * H))
        self.input_bias_M1G = nn.Parameter(_uniform(H, M, 1, 3 * H))
        self.state_MHG = nn.Parameter(_uniform(H, M, H, 3 * H))
        self.state_bias_M1G = nn.Parameter(_uniform(H, M, 1, 3 * H))
        self.output_MH1 = nn.Parameter(_uniform(H, M, H, 1))

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Utilities (M, B), float32; what comes after a sequence's end has no part in them."""
        mask_BT = tokens_BT.ne(self.pad)
        mask_BT[:, 0] = True  # of an empty sequence one padding is read
        mean_MBH = self._mean_state(tokens_BT, mask_BT)
        mean_MBH = F.dropout(mean_MBH, self.dropout, self.training)
        return torch.bmm(mean_MBH, self.output_MH1)[:, :, 0]

    def _mean_state(self, tokens_BT: Tensor, mask_BT: Tensor) -> Tensor:
        M, H, _ = self.state_MHG.shape
        # What the input adds to the gates depends on the token alone: a row of a table.
        table_MVG = torch.baddbmm(self.input_bias_M1G, self.embedding_MVH, self.input_MHG)
        state_MBH = table_MVG.new_zeros(M, len(tokens_BT), H)
        sum_MBH = state_MBH
        for tokens_B, mask_B in zip(tokens_BT.unbind(1), mask_BT.unbind(1), strict=True):
            state_MBH = self._step(table_MVG[:, tokens_B], state_MBH)
            sum_MBH = sum_MBH + state_MBH * mask_B[:, None]
        return sum_MBH / mask_BT.sum(dim=1)[:, None]

    def _step(self, given_MBG: Tensor, state_MBH: Tensor) -> Tensor:
        """The next state: reset and update gates, then what is new."""
        H = state_MBH.shape[2]
        kept_MBG = torch.baddbmm(self.state_bias_M1G, state_MBH, self.state_MHG)
        gates = (given_MBG[..., : 2 * H] + kept_MBG[..., : 2 * H]).sigmoid()
        reset_MBH, update_MBH = gates.chunk(2, dim=2)
        fresh_MBH = (given_MBG[..., 2 * H :] + reset_MBH * kept_MBG[..., 2 * H :]).tanh()
        return fresh_MBH.lerp(state_MBH, update_MBH)


def _uniform(fan_in: int, *shape: int) -> Tensor:
    bound = fan_in**-0.5
    return torch.empty(shape).uniform_(-bound, bound)
