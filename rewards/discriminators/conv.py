"""SeqGAN's convolutional discriminator (Yu et al., 2017, arXiv 1609.05473, section 3.3).

Text classification by convolution (Kim, 2014) over an embedding, with twelve filter widths, the
maximum over time, one highway layer (Srivastava et al., 2015) and dropout.

When scores are computed, a filter over tokens is a sum of rows looked up in a table (embedding
times filter column), which is several times faster than the convolution; and the maximum is taken
before bias and ReLU, which is the same number because both are monotone.
The padding's embedding is zero and every sequence is read as if padded to one fixed length, so a
score does not depend on the batch that a sequence stands in.

Spectral normalisation (Miyato et al., 2018, arXiv 1802.05957) divides the weights of every layer by
an estimate of their largest singular value. It bounds the layers; of the whole, whose highway
multiplies what it reads with a gate, it bounds nothing everywhere.
"""

# Shapes: B sequences, T steps, C columns read, W windows, E embedding, K features, F filters of one
#         width
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ..derived import Derived
from .base import Discriminator
from .network import TokenNetwork

if TYPE_CHECKING:
    from ...envs.vocabulary import Vocabulary

PAPER_WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20)
PAPER_FILTERS = (100, 200, 200, 200, 200, 100, 100, 100, 100, 100, 160, 160)


@dataclass(eq=False)
class ConvDiscriminator(Discriminator):
    """How real a sequence is, by convolution; learnt from real and generated ones."""

    embedding: int = 64
    """Size of a token's embedding."""
    widths: Sequence[int] = PAPER_WIDTHS
    """Filter widths, in tokens."""
    filters: Sequence[int] = PAPER_FILTERS
    """How many filters of each width."""
    dropout: float = 0.25
    """Share of features dropped while training."""
    _: KW_ONLY
    l2: float = 0.2
    """Weight of half the squared norm of the output layer in the loss."""
    spectral_norm: bool = False
    """Divide the weights of every layer by their spectral norm."""

    name = "conv_discriminator"

    def __post_init__(self) -> None:
        """Check the options."""
        widths, filters = tuple(self.widths), tuple(self.filters)
        if len(widths) != len(filters) or not widths or min(*widths, *filters) < 1:
            raise ValueError(
                f"widths are {widths} and filters {filters}; expected two lists of positive "
                "numbers, equally long"
            )
        super().__post_init__()

    def make_network(self, vocabulary: Vocabulary, max_length: int) -> ConvNetwork:
        """The convolutional network."""
        network = ConvNetwork(
            vocabulary,
            max_length,
            self.embedding,
            tuple(self.widths),
            tuple(self.filters),
            self.dropout,
        )
        if self.spectral_norm:
            for layer in (*network.convolutions, network.highway, network.output):
                spectral_norm(layer)
        return network


class ConvNetwork(TokenNetwork):
    """Tokens to one output; see the top of this file."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        max_length: int,
        embedding: int,
        widths: tuple[int, ...],
        filters: tuple[int, ...],
        dropout: float,
    ) -> None:
        super().__init__()
        self.widths, self.pad = widths, vocabulary.pad
        self.columns = max(max_length, *widths)
        self.embedding = nn.Embedding(vocabulary.num_inputs, embedding, padding_idx=self.pad)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(embedding, count, width) for width, count in zip(widths, filters, strict=True)
        )
        K = sum(filters)
        self.highway = nn.Linear(K, 2 * K)
        nn.init.constant_(self.highway.bias[K:], -2.0)  # begins by handing features on
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(K, 1)
        self._tables = Derived([self.embedding, self.convolutions], self._make_tables)

    def judge(self, embedded_BTE: Tensor, mask_BT: Tensor) -> Tensor:
        """Outputs (B,) by convolution; padding is what is embedded as zero."""
        T, widest = embedded_BTE.shape[1], max(self.widths)
        embedded_BEC = F.pad(embedded_BTE.transpose(1, 2), (0, self._padding(T, widest)))
        pooled = []
        for width, (weight, bias) in zip(self.widths, self._filters(), strict=True):
            windows_BFW = F.conv1d(embedded_BEC[:, :, : T + self._padding(T, width)], weight)
            pooled.append(F.relu(windows_BFW.amax(dim=2) + bias))
        return self._head(torch.cat(pooled, dim=1))

    def fast_outputs(self, tokens_BT: Tensor) -> Tensor:
        """The same by table look-up."""
        pooled = []
        tables = zip(self.widths, self._tables.get(), self._filters(), strict=True)
        for width, table, (_, bias) in tables:
            padding = self._padding(tokens_BT.shape[1], width)
            columns_BC = F.pad(tokens_BT, (0, padding), value=self.pad)
            offsets = torch.arange(width, device=columns_BC.device) * self.embedding.num_embeddings
            windows = columns_BC.unfold(1, width, 1) + offsets
            sums = F.embedding_bag(windows.reshape(-1, width), table, mode="sum")
            pooled_BF = sums.view(len(tokens_BT), -1, table.shape[1]).amax(dim=1)
            pooled.append(F.relu(pooled_BF + bias))
        return self._head(torch.cat(pooled, dim=1))

    def _filters(self) -> Iterator[tuple[Tensor, Tensor]]:
        for convolution in self.convolutions:
            assert isinstance(convolution, nn.Conv1d)
            assert convolution.bias is not None
            yield convolution.weight, convolution.bias

    def _padding(self, columns: int, width: int) -> int:
        """How much, so that every window is seen, one of padding alone too where there is one."""
        return min(self.columns - columns, width)

    def _head(self, features_BK: Tensor) -> Tensor:
        new_BK, gate_BK = self.highway(features_BK).chunk(2, dim=1)
        gate_BK = gate_BK.sigmoid()
        mixed_BK = gate_BK * F.relu(new_BK) + (1 - gate_BK) * features_BK
        outputs_B: Tensor = self.output(self.dropout(mixed_BK))[:, 0]
        return outputs_B

    def _make_tables(self) -> list[Tensor]:
        """For each width a table (width * V, F): row k * V + v is filter column k times token v."""
        tables = []
        with torch.no_grad():
            for weight, _ in self._filters():
                columns_KEF = weight.permute(2, 1, 0)
                tables.append((self.embedding.weight @ columns_KEF).flatten(0, 1).contiguous())
        return tables
