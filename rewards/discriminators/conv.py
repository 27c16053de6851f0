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
#         width, R completions
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ..derived import Derived
from ..packed import linear, pack
from .base import Discriminator
from .network import PrefixStates, TokenNetwork

if TYPE_CHECKING:
    from ...envs.vocabulary import Vocabulary

Highway = Literal["separate", "shared", "none"]
Scoring = Literal["float32", "bfloat16"]
_MATRICES: dict[Highway, int] = {"separate": 2, "shared": 1, "none": 0}
_ROWS = 128  # whose windows are computed at once, so that they stay in cache
_HIGHWAY_ROWS = 256  # the same of the highway

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
    highway: Highway = "separate"
    """Matrices for the gate and what it lets in: two, one for both, or no highway."""
    scoring: Scoring = "float32"
    """What scores are computed in."""

    name = "conv_discriminator"

    def __post_init__(self) -> None:
        """Check the options."""
        widths, filters = tuple(self.widths), tuple(self.filters)
        if len(widths) != len(filters) or not widths or min(*widths, *filters) < 1:
            raise ValueError(
                f"widths are {widths} and filters {filters}; expected two lists of positive "
                "numbers, equally long"
            )
        for option, value, known in (
            ("highway", self.highway, get_args(Highway)),
            ("scoring", self.scoring, get_args(Scoring)),
        ):
            if value not in known:
                raise ValueError(f"{option} is {value!r}; expected one of {', '.join(known)}")
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
            self.highway,
            torch.bfloat16 if self.scoring == "bfloat16" else torch.float32,
        )
        if self.spectral_norm:
            for layer in (*network.convolutions, network.highway, network.output):
                if layer is not None:
                    spectral_norm(layer)
        return network


class ConvNetwork(TokenNetwork):
    """Tokens to one output; see the top of this file."""

    chunk = 1024  # for each of them a table is read through the cache

    def __init__(
        self,
        vocabulary: Vocabulary,
        max_length: int,
        embedding: int,
        widths: tuple[int, ...],
        filters: tuple[int, ...],
        dropout: float,
        highway: Highway = "separate",
        scoring: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.widths, self.pad, self.scoring = widths, vocabulary.pad, scoring
        self.columns = max(max_length, *widths)
        self.embedding = nn.Embedding(vocabulary.num_inputs, embedding, padding_idx=self.pad)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(embedding, count, width) for width, count in zip(widths, filters, strict=True)
        )
        K, matrices = sum(filters), _MATRICES[highway]
        self.highway = nn.Linear(K, matrices * K) if matrices else None
        if self.highway is not None:
            nn.init.constant_(self.highway.bias[(matrices - 1) * K :], -2.0)  # hands features on
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(K, 1)
        self._memory: list[Tensor] = []  # of the tables
        self._kernels = Derived([self.embedding, self.convolutions], self._make_kernels)
        if self.highway is not None:
            self._prepared = Derived([self.highway], self._prepare_highway)

    # --- with gradients -------------------------------------------------------------------------

    def judge(self, embedded_BTE: Tensor, mask_BT: Tensor) -> Tensor:
        """Outputs (B,) by convolution; padding is what is embedded as zero."""
        T, widest = embedded_BTE.shape[1], max(self.widths)
        embedded_BEC = F.pad(embedded_BTE.transpose(1, 2), (0, self._padding(T, widest)))
        pooled = []
        for width, (weight, bias) in zip(self.widths, self._filters(), strict=True):
            windows_BFW = F.conv1d(embedded_BEC[:, :, : T + self._padding(T, width)], weight)
            pooled.append(F.relu(windows_BFW.amax(dim=2) + bias))
        features_BK = torch.cat(pooled, dim=1)
        if self.highway is None:
            return self._say(features_BK)
        return self._say(features_BK, self.highway(features_BK))

    def _filters(self) -> Iterator[tuple[Tensor, Tensor]]:
        for convolution in self.convolutions:
            assert isinstance(convolution, nn.Conv1d)
            assert convolution.bias is not None
            yield convolution.weight, convolution.bias

    def _padding(self, columns: int, width: int) -> int:
        """How much, so that every window is seen, one of padding alone too where there is one."""
        return min(self.columns - columns, width)

    def _say(self, features_BK: Tensor, highway: Tensor | None = None) -> Tensor:
        """The output for the features and what the highway's matrices make of them."""
        if highway is not None:
            K = features_BK.shape[1]
            new_BK, gate_BK = highway[:, :K], highway[:, -K:].sigmoid()  # the same, if shared
            features_BK = torch.lerp(features_BK, F.relu(new_BK), gate_BK)
        outputs_B: Tensor = self.output(self.dropout(features_BK))[:, 0]
        return outputs_B

    # --- without --------------------------------------------------------------------------------

    @property
    def _looks_up(self) -> bool:
        """Whether windows are looked up in tables, or multiplied."""
        return self.embedding.weight.device.type == "cpu"

    def fast_outputs(self, tokens_BT: Tensor) -> Tensor:
        """The same by table look-up, on a GPU by products of matrices."""
        return self._head(self._maxima(self._kernels.get(), tokens_BT), unchanged=False)

    def read_prefixes(self, tokens_BT: Tensor) -> PrefixStates:
        """The largest sum of any window of the prefix, (T, B, K); -inf where it has none."""
        kernels, (B, T) = self._kernels.get(), tokens_BT.shape
        if self.highway is not None:
            self._prepared.get()  # for the completions, which take it as unchanged
        filters = [len(bias) for _, bias in self._filters()]
        maxima_TBK = self.output.weight.new_full((T, B, sum(filters)), -torch.inf)
        parts = zip(self.widths, kernels, maxima_TBK.split(filters, dim=2), strict=True)
        for width, kernel, maxima_TBF in parts:
            if width <= T:  # token by token those of the windows that end there
                maxima_TBF[width - 1 :] = self._sums(kernel, tokens_BT, width).transpose(0, 1)
        for before_BK, maxima_BK in pairwise(maxima_TBK):
            torch.maximum(before_BK, maxima_BK, out=maxima_BK)
        return (maxima_TBK,)

    def completed_outputs(self, tokens_RT: Tensor, length: int, shared: PrefixStates) -> Tensor:
        """Outputs (R,), the sums of the windows that end beyond the prefix computed."""
        maxima_RK = self._maxima(self._kernels.get(unchanged=True), tokens_RT, length)
        return self._head(torch.maximum(shared[0], maxima_RK), unchanged=True)

    def _maxima(self, kernels: list[Tensor], tokens_BT: Tensor, length: int = 0) -> Tensor:
        """The largest sums (B, K) of windows that end beyond ``length`` tokens."""
        rows = _ROWS if self._looks_up else len(tokens_BT)
        filters = [len(bias) for _, bias in self._filters()]
        maxima_BK = self.output.weight.new_empty(len(tokens_BT), sum(filters))
        chunks = [self._trimmed(tokens_RT) for tokens_RT in tokens_BT.split(rows)]
        parts = zip(self.widths, kernels, maxima_BK.split(filters, dim=1), strict=True)
        for width, kernel, maxima_BF in parts:  # one table after the other through the cache
            start = max(length - width + 1, 0)
            for tokens_RT, maxima_RF in zip(chunks, maxima_BF.split(rows), strict=True):
                padding = self._padding(tokens_RT.shape[1], width)
                columns_RC = F.pad(tokens_RT[:, start:], (0, padding), value=self.pad)
                torch.amax(self._sums(kernel, columns_RC, width), dim=1, out=maxima_RF)
        return maxima_BK

    def _trimmed(self, tokens_RT: Tensor) -> Tensor:
        """Without the columns that hold padding alone, but for the first."""
        return tokens_RT[:, : max(int((tokens_RT != self.pad).any(dim=0).sum()), 1)]

    def _sums(self, kernel: Tensor, columns_BC: Tensor, width: int) -> Tensor:
        """The sums (B, W, F) of all windows of one width."""
        if not self._looks_up:
            windows_BWE = self.embedding(columns_BC).to(kernel.dtype).unfold(1, width, 1)
            return F.linear(windows_BWE.flatten(2), kernel).float()
        offsets = torch.arange(width) * self.embedding.num_embeddings
        windows = columns_BC.unfold(1, width, 1) + offsets
        sums = F.embedding_bag(windows.reshape(-1, width), kernel, mode="sum")
        return sums.view(len(columns_BC), -1, kernel.shape[1])

    def _head(self, maxima_BK: Tensor, unchanged: bool) -> Tensor:
        bias_K = torch.cat([bias for _, bias in self._filters()])
        features_BK = F.relu(maxima_BK + bias_K)
        if self.highway is None:
            return self._say(features_BK)
        weight, bias, packed = self._prepared.get(unchanged)
        outputs = []
        for features_RK in features_BK.split(_HIGHWAY_ROWS if self._looks_up else len(features_BK)):
            product = linear(features_RK.to(weight.dtype), weight, bias, packed)
            outputs.append(self._say(features_RK, product.to(features_RK.dtype)))
        return torch.cat(outputs)

    @torch.no_grad()
    def _prepare_highway(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Weight and bias, rounded where ``scoring`` says so, and the weight packed."""
        assert self.highway is not None
        dtype = self.highway.weight.dtype if self.scoring == torch.float32 else self.scoring
        weight, bias = self.highway.weight.to(dtype), self.highway.bias.to(dtype)
        return weight, bias, pack(weight)

    @torch.no_grad()
    def _make_kernels(self) -> list[Tensor]:
        """Of each width a table on a CPU, elsewhere a matrix (F, E * w) in ``scoring``.

        The table is (w * V, F), and its row k * V + v is filter column k times token v.
        """
        weights, tokens_VE = [weight for weight, _ in self._filters()], self.embedding.weight
        if not self._looks_up:
            return [weight.flatten(1).to(self.scoring) for weight in weights]
        shapes = [(w, len(tokens_VE), F) for F, _, w in (weight.shape for weight in weights)]
        if not self._memory or self._memory[0].dtype != tokens_VE.dtype:
            # Kept: 250 MB at 5,000 tokens, which to get from the system costs four times the sums.
            self._memory = [tokens_VE.new_empty(shape) for shape in shapes]
        for weight, table_wVF in zip(weights, self._memory, strict=True):
            torch.matmul(tokens_VE, weight.permute(2, 1, 0), out=table_wVF)
        return [table_wVF.flatten(0, 1) for table_wVF in self._memory]
