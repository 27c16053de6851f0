"""SeqGAN's convolutional discriminator (Yu et al., 2017, arXiv 1609.05473, section 3.3).

Text classification by convolution (Kim, 2014) over an embedding, with twelve filter widths, the
maximum over time, one highway layer (Srivastava et al., 2015) and dropout.

Scores are always computed in eval mode. There a filter over tokens is a sum of rows looked up in a
table (embedding times filter column), which is several times faster than the convolution; and the
maximum is taken before bias and ReLU, which is the same number because both are monotone.
The padding's embedding is zero and every sequence is read as if padded to one fixed length, so a
score does not depend on the batch that a sequence stands in.
"""

# Shapes: B sequences, T steps, C columns read, W windows, K features, F filters of one width
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..base import Scores, TrainableReward
from ..derived import Derived

if TYPE_CHECKING:
    from ...envs.sequences import Sequences
    from ...envs.vocabulary import Vocabulary

PAPER_WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20)
PAPER_FILTERS = (100, 200, 200, 200, 200, 100, 100, 100, 100, 100, 160, 160)
_CHUNK = 256  # sequences scored at once: bounds memory, and stays in cache


class ConvDiscriminator(TrainableReward):
    """The probability that a sequence is real, in (0, 1), learnt from real and generated ones.

    Args:
        embedding: size of a token's embedding.
        widths: filter widths, in tokens.
        filters: how many filters of each width.
        dropout: share of features dropped while training.
        l2: weight of half the squared norm of the output layer in the loss.
        learning_rate: of Adam.
    """

    name = "conv_discriminator"
    range = (0.0, 1.0)
    network: ConvNetwork

    def __init__(
        self,
        embedding: int = 64,
        widths: Sequence[int] = PAPER_WIDTHS,
        filters: Sequence[int] = PAPER_FILTERS,
        dropout: float = 0.25,
        l2: float = 0.2,
        learning_rate: float = 1e-4,
    ) -> None:
        if len(widths) != len(filters) or not widths or min(*widths, *filters) < 1:
            raise ValueError(
                f"widths are {tuple(widths)} and filters {tuple(filters)}; expected two lists of "
                "positive numbers, equally long"
            )
        self.embedding, self.widths, self.filters = embedding, tuple(widths), tuple(filters)
        self.dropout, self.l2, self.learning_rate = dropout, l2, learning_rate
        self.vocabulary: Vocabulary | None = None

    def prepare(self, vocabulary: Vocabulary, max_length: int, device: torch.device | str) -> None:
        """Make the network; later calls only move it.

        Raises:
            ValueError: it was made for another vocabulary or a shorter length.
        """
        if self.vocabulary is None:
            self.vocabulary, self.max_length, self.device = vocabulary, max_length, device
            self.initialise(seed=0)
        elif self.vocabulary != vocabulary or self.max_length < max_length:
            raise ValueError(
                f"this discriminator reads {self.vocabulary} and up to {self.max_length} tokens, "
                f"not {vocabulary} and {max_length}; make a new one for each task"
            )
        elif self.device != device:
            self.device = device
            self.network.to(device)

    def initialise(self, seed: int) -> None:
        """Make the weights anew."""
        assert self.vocabulary is not None, "prepare comes first"
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = ConvNetwork(
                self.vocabulary.num_inputs,
                self.vocabulary.pad,
                self.max_length,
                self.embedding,
                self.widths,
                self.filters,
                self.dropout,
            )
        self.network = network.to(self.device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.learning_rate)
        self.updates = 0

    def __call__(self, sequences: Sequences) -> Scores:
        """The probability of being real, for each of B sequences."""
        tokens_BT = self._read(sequences)
        training = self.network.training
        self.network.eval()
        with torch.no_grad():
            logits = [self.network.fast_logits(chunk) for chunk in tokens_BT.split(_CHUNK)]
        self.network.train(training)
        logits_B = torch.cat(logits) if logits else tokens_BT.new_zeros(0)
        return Scores.of(self.name, logits_B.sigmoid().to(sequences.tokens_BT.device))

    def update(self, real: Sequences, generated: Sequences) -> dict[str, float]:
        """One step on the binary cross-entropy, real sequences labelled 1, generated ones 0."""
        batches = [self._read(batch) for batch in (real, generated)]
        self.network.train()
        real_B, generated_B = (self.network(tokens_BT) for tokens_BT in batches)
        loss = 0.5 * (F.softplus(-real_B).mean() + F.softplus(generated_B).mean())
        output = self.network.output
        penalty = 0.5 * self.l2 * (output.weight.square().sum() + output.bias.square().sum())
        self.optimizer.zero_grad(set_to_none=True)
        (loss + penalty).backward()
        self.optimizer.step()
        self.updates += 1
        right = torch.cat([real_B > 0, generated_B <= 0]).float().mean()
        return {"loss": float(loss.detach()), "accuracy": float(right)}

    def _read(self, sequences: Sequences) -> Tensor:
        if self.vocabulary is None:  # used by hand, outside an environment or an agent
            length = sequences.tokens_BT.shape[1]
            self.prepare(sequences.vocabulary, length, sequences.tokens_BT.device)
        elif self.vocabulary != sequences.vocabulary:
            raise ValueError(
                f"this discriminator reads {self.vocabulary}, the sequences are of "
                f"{sequences.vocabulary}; make a new one for each task"
            )
        longest = int(sequences.lengths_B.max()) if len(sequences) else 0
        if longest > self.max_length:
            raise ValueError(
                f"this discriminator reads up to {self.max_length} tokens and a sequence has "
                f"{longest}; call prepare(vocabulary, max_length, device) before its first use"
            )
        return sequences.tokens_BT[:, :longest].to(self.device)


class ConvNetwork(nn.Module):
    """Tokens to one logit; see the top of this file."""

    def __init__(
        self,
        num_inputs: int,
        pad: int,
        max_length: int,
        embedding: int,
        widths: tuple[int, ...],
        filters: tuple[int, ...],
        dropout: float,
    ) -> None:
        super().__init__()
        self.widths, self.pad = widths, pad
        self.columns = max(max_length, *widths)
        self.embedding = nn.Embedding(num_inputs, embedding, padding_idx=pad)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(embedding, count, width) for width, count in zip(widths, filters, strict=True)
        )
        K = sum(filters)
        self.highway = nn.Linear(K, 2 * K)
        nn.init.constant_(self.highway.bias[K:], -2.0)  # begins by handing features on
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(K, 1)
        self._tables = Derived([self.embedding, self.convolutions], self._make_tables)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Logits (B,) by convolution, with gradients."""
        embedded_BEC = self.embedding(self._columns(tokens_BT, max(self.widths))).transpose(1, 2)
        pooled = []
        for width, (weight, bias) in zip(self.widths, self._filters(), strict=True):
            columns = min(self.columns, tokens_BT.shape[1] + width)
            windows_BFW = F.conv1d(embedded_BEC[:, :, :columns], weight)
            pooled.append(F.relu(windows_BFW.amax(dim=2) + bias))
        return self._head(torch.cat(pooled, dim=1))

    def fast_logits(self, tokens_BT: Tensor) -> Tensor:
        """The same logits by table look-up, without gradients."""
        if not len(tokens_BT):
            return tokens_BT.new_zeros(0, dtype=torch.float32)
        pooled = []
        tables = zip(self.widths, self._tables.get(), self._filters(), strict=True)
        for width, table, (_, bias) in tables:
            columns_BC = self._columns(tokens_BT, width)
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

    def _columns(self, tokens_BT: Tensor, width: int) -> Tensor:
        """Pad so that every window is seen, one of padding alone too where there is one."""
        columns = min(self.columns, tokens_BT.shape[1] + width)
        return F.pad(tokens_BT, (0, columns - tokens_BT.shape[1]), value=self.pad)

    def _head(self, features_BK: Tensor) -> Tensor:
        new_BK, gate_BK = self.highway(features_BK).chunk(2, dim=1)
        gate_BK = gate_BK.sigmoid()
        mixed_BK = gate_BK * F.relu(new_BK) + (1 - gate_BK) * features_BK
        logits_B: Tensor = self.output(self.dropout(mixed_BK))[:, 0]
        return logits_B

    def _make_tables(self) -> list[Tensor]:
        """For each width a table (width * V, F): row k * V + v is filter column k times token v."""
        tables = []
        with torch.no_grad():
            for weight, _ in self._filters():
                columns_KEF = weight.permute(2, 1, 0)
                tables.append((self.embedding.weight @ columns_KEF).flatten(0, 1).contiguous())
        return tables
