"""What VRAE and AAE share: an encoder, a decoder that reads codes, and their uses.

The decoder is an ordinary policy whose condition is the code z, followed by c where the learner is
conditional. Where it is given none it draws its own.
"""

# Shapes: B sequences, T steps, S of a path, L numbers of a code, C of what the decoder reads
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...agents.assembled import Purpose
from ...agents.checks import check_least
from ...agents.policies import Policy
from ...agents.sampling import sample
from ...envs import Sequences
from .conditional import ConditionalLearner
from .encoder import Encoder, EncoderKind

_ROWS = 512


class LatentLearner(ConditionalLearner):
    """A learner with codes; ``ConditionalLearner`` and ``Learner`` have the other arguments.

    Args:
        policy: the decoder: ``"GRU"``, ``"LSTM"``, ``"Transformer"``, or a Policy whose
            ``condition_size`` is ``latent`` and the numbers of c together.
        latent: L, numbers of a code.
        encoder: ``"GRU"``, ``"LSTM"`` or ``"Transformer"``.
        encoder_kwargs: ``embedding``, ``hidden``, ``layers`` and ``heads`` of it.
        **options: of ``ConditionalLearner`` and ``Learner``.
    """

    def __init__(
        self,
        policy: str | Policy = "GRU",
        *,
        latent: int = 16,
        encoder: EncoderKind = "GRU",
        encoder_kwargs: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        check_least(1, latent=latent)
        self.latent, self.encoder_kwargs = latent, encoder_kwargs
        super().__init__(policy, **options)
        self.encoder = encoder
        with self.seeded(Purpose.INITIAL_WEIGHTS, 1):
            self.reader = Encoder(
                self.policy.vocabulary,
                latent,
                encoder,
                self.condition_numbers,
                **(encoder_kwargs or {}),
            )
        self.reader.to(self.device).eval()

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The decoder, the encoder, and the scale of conditions."""
        return super().modules | {"encoder": self.reader}

    # --- codes --------------------------------------------------------------------------------

    def read(self, batch: Sequences) -> tuple[Tensor, Tensor]:
        """The encoder's mean and log-variance (B, L) of a batch on its device, with gradients."""
        found: tuple[Tensor, Tensor] = self.reader(
            batch.tokens_BT, batch.lengths_B, self.condition_of(batch)
        )
        return found

    @torch.no_grad()
    def encode(self, sequences: Sequences | list[str]) -> tuple[Tensor, Tensor]:
        """The mean and the log-variance of codes, each (B, L), on the CPU."""
        sequences = self._encoded(sequences)
        parts = [
            self.read(sequences[first : first + _ROWS].to(self.device))
            for first in range(0, len(sequences), _ROWS)
        ]
        means, log_vars = zip(*parts, strict=True)
        return torch.cat(means).cpu(), torch.cat(log_vars).cpu()

    # --- writing ------------------------------------------------------------------------------

    def decode(
        self, read_BC: Tensor, *, top_k: int | None = 1, seed: int | None = None
    ) -> Sequences:
        """Write a sequence under each of given codes.

        Args:
            read_BC: (B, L), or (B, L + C) with c as ``condition_of`` gives it.
            top_k: 1 takes the most probable token at every step; None draws.
            seed: of what is drawn.
        """
        return sample(
            self.policy,
            len(read_BC),
            max_length=self._length(),
            condition=read_BC.to(self.device),
            seed=self._sample_seed(seed),
            top_k=top_k,
            constraint=self.constraint,
        )

    def places(self, sequences: Sequences | list[str]) -> Tensor:
        """Mean codes of sequences, with their c, as ``decode`` takes them."""
        sequences = self._encoded(sequences)
        mean_BL = self.encode(sequences)[0].to(self.device)
        return self.under(mean_BL, self.condition_of(sequences))

    def reconstruct(self, sequences: Sequences | list[str]) -> Sequences:
        """What the decoder makes of the mean codes of sequences."""
        return self.decode(self.places(sequences))

    def interpolate(self, first: str, last: str, steps: int = 8) -> Sequences:
        """``steps`` sequences along the straight line from one text's mean code to another's."""
        start_C, end_C = self.places([first, last])
        share_S1 = torch.linspace(0, 1, steps, device=self.device)[:, None]
        return self.decode(start_C + share_S1 * (end_C - start_C))

    def arithmetic(self, plus: list[str], minus: list[str]) -> Sequences:
        """One sequence: the sum of the codes of ``plus`` less those of ``minus``."""
        places_BC = self.places([*plus, *minus])
        total_C = places_BC[: len(plus)].sum(dim=0) - places_BC[len(plus) :].sum(dim=0)
        return self.decode(total_C[None])

    def nearest(
        self, sequences: Sequences | list[str], among: Sequences | list[str], k: int = 5
    ) -> Tensor:
        """Which k of ``among`` have the nearest mean codes, the nearest first; int64 (B, k)."""
        distance_BN = torch.cdist(self.encode(sequences)[0], self.encode(among)[0])
        return distance_BN.topk(k, dim=1, largest=False).indices
