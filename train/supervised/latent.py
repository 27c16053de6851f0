"""What VRAE and AAE share: an encoder, a decoder that reads codes, conditions, and their uses.

The decoder is an ordinary policy whose condition is the code z, followed by c where the learner is
conditional: a class (one-hot) or real properties (standardised). Where it is given none it draws
its own: z from the prior, c from the classes or from the data.
"""

# Shapes: B sequences, T steps, L numbers of a code, C of a condition c, M modes of the prior
from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...agents.assembled import Purpose
from ...agents.checks import check_least
from ...agents.policies import Policy
from ...agents.sampling import sample
from ...envs import Sequences
from ...rewards import make_reward
from .encoder import Encoder, EncoderKind
from .learner import Learner

_DRAWN_FROM = 32  # rows of data whose properties are written when none are asked for
_ROWS = 512


class LatentLearner(Learner):
    """A learner with codes; ``Learner`` documents the other arguments.

    Args:
        policy: the decoder: ``"GRU"``, ``"LSTM"``, or a Policy whose ``condition_size`` is
            ``latent`` and the numbers of c together.
        latent: L, numbers of a code.
        encoder: ``"GRU"``, ``"LSTM"`` or ``"Transformer"``.
        encoder_kwargs: ``embedding``, ``hidden``, ``layers`` and ``heads`` of it.
        classes: of sequences that carry labels, int64 (B,); 0 where there are none.
        properties: names of objectives that c is made of, such as ``["qed"]``; or how many real
            numbers the sequences carry (B, C).
        **options: of ``Learner``.
    """

    components = 1  # modes of the prior of z

    def __init__(
        self,
        policy: str | Policy = "GRU",
        *,
        latent: int = 16,
        encoder: EncoderKind = "GRU",
        encoder_kwargs: dict[str, Any] | None = None,
        classes: int = 0,
        properties: list[str] | int = 0,
        **options: Any,
    ) -> None:
        check_least(1, latent=latent)
        check_least(0, classes=classes)
        self.latent, self.encoder_kwargs = latent, encoder_kwargs
        self.classes, self.properties = classes, properties
        numbers = properties if isinstance(properties, int) else len(properties)
        if classes and numbers:
            raise ValueError(f"classes is {classes} and properties {properties!r}; give one")
        self.condition_numbers = classes or numbers
        if isinstance(policy, str):
            modes = self.components * (classes or (_DRAWN_FROM if numbers else 1))
            reads = {"condition_size": latent + self.condition_numbers, "modes": modes}
            options["policy_kwargs"] = reads | (options.get("policy_kwargs") or {})
        super().__init__(policy, **options)
        size = latent + self.condition_numbers
        if self.policy.condition_size != size:
            raise ValueError(
                f"the policy reads a condition of {self.policy.condition_size} numbers; with "
                f"latent={latent} it should be one of condition_size={size}"
            )
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
        self.scaling = Scaling(self.condition_numbers).to(self.device)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The decoder, the encoder, and the scale of conditions."""
        return {"policy": self.policy, "encoder": self.reader, "scaling": self.scaling}

    def prepare(self, data: Sequences) -> None:
        """At the first step, take the scale of conditions, and what is drawn, from the data."""
        if self.progress.step:
            return
        if self.condition_numbers and not self.classes:
            assert data.condition_B is not None
            self.scaling.measure(data.condition_B)
        mean_ML, scale_L = self.code_prior()
        rows_MC = self._drawn_conditions(data)
        prior = self.policy.prior
        both = [mean_ML.repeat_interleave(len(rows_MC), dim=0), rows_MC.repeat(len(mean_ML), 1)]
        prior.mean_MC.copy_(torch.cat(both, dim=1))
        prior.scale_C.copy_(torch.cat([scale_L, scale_L.new_zeros(self.condition_numbers)]))

    def code_prior(self) -> tuple[Tensor, Tensor]:
        """Means (components, L) and deviations (L,) of the prior of codes."""
        return torch.zeros(1, self.latent), torch.ones(self.latent)

    def _drawn_conditions(self, data: Sequences) -> Tensor:
        """Conditions (M, C), as the policy reads them, that are written when none is asked for."""
        if self.classes:
            return torch.eye(self.classes)
        if not self.condition_numbers:
            return torch.zeros(1, 0)
        rows = torch.linspace(0, len(data) - 1, _DRAWN_FROM).long()
        given = self.condition_of(data[rows])
        assert given is not None
        return given.cpu()

    # --- codes and conditions -----------------------------------------------------------------

    def condition_of(self, sequences: Sequences) -> Tensor | None:
        """C of sequences as the networks read it, (B, C); None for an unconditional learner."""
        if not self.condition_numbers:
            return None
        if sequences.condition_B is None:
            raise ValueError(
                f"the sequences have no condition; a learner with classes={self.classes}, "
                f"properties={self.properties!r} needs sequences.given(conditions)"
            )
        return self._as_read(sequences.condition_B)

    def _as_read(self, condition: Tensor) -> Tensor:
        if self.classes:
            if condition.ndim != 1 or condition.is_floating_point():
                raise ValueError(
                    f"the condition has shape {tuple(condition.shape)} and type {condition.dtype}; "
                    f"expected labels, int64 (B,), below {self.classes}"
                )
            return F.one_hot(condition.to(self.device), self.classes).to(self.policy.dtype)
        if condition.ndim != 2 or condition.shape[1] != self.condition_numbers:
            raise ValueError(
                f"the condition has shape {tuple(condition.shape)}; expected "
                f"(B, {self.condition_numbers})"
            )
        scaled: Tensor = self.scaling(condition.to(self.device, self.policy.dtype))
        return scaled

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

    def under(self, z_BL: Tensor, condition_BC: Tensor | None) -> Tensor:
        """What the decoder reads: a code, then c, (B, L + C)."""
        return z_BL if condition_BC is None else torch.cat([z_BL, condition_BC], dim=1)

    def _encoded(self, sequences: Sequences | list[str]) -> Sequences:
        found = super()._encoded(sequences)
        if found.condition_B is not None or isinstance(self.properties, int):
            return found
        scores = [make_reward(name)(found) for name in self.properties]
        failed_B = ~torch.stack([each.ok_B for each in scores]).all(dim=0)
        if failed_B.any():
            first = int(failed_B.nonzero()[0, 0])
            raise ValueError(
                f"{int(failed_B.sum())} sequences have no {' or '.join(self.properties)}, the "
                f"first {found.texts[first]!r}; leave them out"
            )
        return found.given(torch.stack([each.values_B for each in scores], dim=1))

    # --- writing ------------------------------------------------------------------------------

    def _to_write_under(self, n: int, condition: Tensor | None, seed: int) -> Tensor | None:
        """A code of the prior, and c as it is asked for."""
        if condition is None:
            return None
        if not self.condition_numbers:
            return super()._to_write_under(n, condition, seed)
        asked = self._as_read(condition)
        drawn = self.policy.draw_condition(seed, torch.arange(n, device=self.device))
        assert drawn is not None
        if len(asked) not in (1, n):
            raise ValueError(f"there are {len(asked)} conditions for {n} sequences; give n, or one")
        return self.under(drawn[:, : self.latent], asked.expand(n, -1))

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


class Scaling(nn.Module):
    """Properties to mean 0 and deviation 1 over the data.

    Args:
        size: C.
    """

    mean_C: Tensor
    deviation_C: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean_C", torch.zeros(size))
        self.register_buffer("deviation_C", torch.ones(size))

    def measure(self, condition_BC: Tensor) -> None:
        """Take the scale of these."""
        self.mean_C.copy_(condition_BC.mean(dim=0))
        self.deviation_C.copy_(condition_BC.std(dim=0, correction=0).clamp(min=1e-6))

    def forward(self, condition_BC: Tensor) -> Tensor:
        """Standardised."""
        return (condition_BC - self.mean_C) / self.deviation_C
