"""AAE, the adversarial autoencoder of sequences, and its denoising and conditional forms.

Makhzani et al. (2015), arXiv 1511.05644, with normal posteriors (their section 2): a code z is
drawn from q(z | x), a discriminator D tells codes of data from codes of the prior, and the encoder
learns to be taken for the prior:

    D                   -log D(z ~ p) - log(1 - D(z ~ q))
    encoder, decoder    -sum_t log p(x_t | x_<t, z) - weight log D(z ~ q)

Where both distributions agree D's loss is 2 ln 2. The prior is a standard normal, or a mixture of
``components`` normals in a circle. Denoising (Shen et al., 2020, arXiv 1905.12777): the encoder
reads the sequence with some tokens deleted, which keeps like sequences near each other.

The conditional form gives c to encoder and decoder, and to D(z, c), which sees codes of the prior
beside the same c: at the optimum q(z | c) is the prior for every c, so z is independent of c. D(z)
(``joint=False``) holds only all classes together to the prior, and z may still tell them apart. A
probe (``evaluate``, for classes) says how well c can be read from z. Short of the optimum much can;
``independence`` adds a weight of HSIC(z, c), which no adversary has to find. It comes late: a code
that is charged before it tells anything stays idle.
"""

# Shapes: B sequences, T steps, L numbers of a code, M components
from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...agents.assembled import Purpose
from ...agents.checks import check_least, check_positive
from ...agents.losses import token_log_probs
from ...agents.policies import Policy
from ...envs import Sequences
from ..metrics import Estimate, mean_of
from ..metrics.hidden import squared_mmd
from .encoder import drawn
from .latent import LatentLearner
from .latent_measures import active_units, dependence, probe_accuracy

RADIUS, SPREAD = 2.0, 0.5  # of a mixture's circle, and of its components, in the first two numbers
_ROWS, _MOST = 256, 2000


class AAE(LatentLearner):
    """An adversarial autoencoder of sequences; see the top of this file.

    Args:
        policy: the decoder: ``"GRU"``, ``"LSTM"``, ``"Transformer"``, or a Policy that reads a
            condition.
        components: M, of the prior; 1 is a standard normal.
        deleted: the share of tokens that the encoder does not read while training.
        adversarial_weight: of -log D, a sequence.
        joint: D sees c beside the code, where there is one.
        independence: of HSIC(z, c), a sequence, once it has risen; 0: none.
        independence_steps: N; it begins to rise after N steps, and has risen after 3 N.
        discriminator_units: of D's two hidden layers.
        discriminator_rate: D's learning rate; it has to keep up with the encoder.
        **options: of ``LatentLearner`` and ``Learner``.
    """

    watched: ClassVar[str] = "reconstruction"

    def __init__(
        self,
        policy: str | Policy = "GRU",
        *,
        components: int = 1,
        deleted: float = 0.0,
        adversarial_weight: float = 3.0,
        joint: bool = True,
        independence: float = 0.0,
        independence_steps: int = 500,
        discriminator_units: int = 128,
        discriminator_rate: float = 0.01,
        **options: Any,
    ) -> None:
        check_least(1, components=components, discriminator_units=discriminator_units)
        check_least(0, adversarial_weight=adversarial_weight, independence=independence)
        check_least(1, independence_steps=independence_steps)
        check_positive(discriminator_rate=discriminator_rate)
        if not 0 <= deleted < 1:
            raise ValueError(f"deleted is {deleted}; expected a share in [0, 1)")
        self.components, self.deleted = components, deleted
        self.adversarial_weight, self.joint = adversarial_weight, joint
        self.independence, self.independence_steps = independence, independence_steps
        self.discriminator_units = discriminator_units
        self.discriminator_rate = discriminator_rate
        super().__init__(policy, **options)
        if independence and not self.condition_numbers:
            raise ValueError(
                f"independence is {independence} of a condition, and there is none; give classes "
                "or properties"
            )
        if components > 1 and self.latent < 2:
            raise ValueError(f"{components} components need latent of at least 2, not 1")
        with self.seeded(Purpose.INITIAL_WEIGHTS, 2):
            seen = self.latent + (self.condition_numbers if joint else 0)
            self.discriminator = code_discriminator(seen, discriminator_units)
        self.discriminator.to(self.device).eval()

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Those of every learner with codes, and D."""
        return super().modules | {"discriminator": self.discriminator}

    def make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """One of encoder and decoder, one of D."""
        rate = self.discriminator_rate
        return {
            "autoencoder": self.adam(self.policy, self.reader),
            "discriminator": self.adam(self.discriminator, learning_rate=rate),
        }

    def code_prior(self) -> tuple[Tensor, Tensor]:
        """Means (M, L) in a circle and deviations (L,); of one component 0 and 1."""
        mean_ML, scale_L = torch.zeros(self.components, self.latent), torch.ones(self.latent)
        if self.components > 1:
            angle_M = 2 * math.pi * torch.arange(self.components) / self.components
            mean_ML[:, :2] = RADIUS * torch.stack([angle_M.cos(), angle_M.sin()], dim=1)
            scale_L[:2] = SPREAD
        return mean_ML, scale_L

    def prior_codes(self, n: int) -> Tensor:
        """N codes of the prior, by torch's generator, (n, L)."""
        mean_ML, scale_L = self.code_prior()
        mode_B = torch.randint(self.components, (n,))
        return (mean_ML[mode_B] + scale_L * torch.randn(n, self.latent)).to(self.device)

    def training_step(self, batch: Sequences, step: int) -> dict[str, float]:
        """D down its loss, then encoder and decoder down theirs; ``nll`` in nats a token."""
        code_BL = drawn(*self.read(without_some(batch, self.deleted)))
        prior_BL = self.prior_codes(len(batch)).to(code_BL.dtype)
        loss_of_d = discriminator_loss(
            self._judged(prior_BL, batch), self._judged(code_BL.detach(), batch)
        )
        self.descend(loss_of_d, "discriminator")
        reconstruction_B = self._reconstruction(batch, code_BL)
        taken_B = F.softplus(-self._judged(code_BL, batch)[:, 0])  # -log D
        loss_B = reconstruction_B + self.adversarial_weight * taken_B
        loss_B = loss_B + self._charge(code_BL, batch, step)
        norm = self.descend(loss_B.sum() / batch.num_tokens, "autoencoder")
        return {
            "nll": float(reconstruction_B.detach().sum()) / batch.num_tokens,
            "discriminator_loss": float(loss_of_d.detach()),
            "gradient_norm": norm,
        }

    def _charge(self, code_BL: Tensor, batch: Sequences, step: int) -> Tensor:
        """What codes that tell of the condition cost in a step, a sequence."""
        condition = self.condition_of(batch)
        if condition is None or not self.independence:
            return code_BL.new_zeros(())
        risen = (step / self.independence_steps - 1) / 2
        return self.independence * min(max(risen, 0.0), 1.0) * dependence(code_BL, condition)

    def _judged(self, code_BL: Tensor, batch: Sequences) -> Tensor:
        """D's logits (B, 1) of codes, which may be the prior's, beside the batch's c."""
        condition = self.condition_of(batch) if self.joint else None
        logits_B1: Tensor = self.discriminator(self.under(code_BL, condition))
        return logits_B1

    def _reconstruction(self, batch: Sequences, code_BL: Tensor) -> Tensor:
        """-log p(x | z) of each sequence, in nats, (B,)."""
        logits_BTA = self.policy(batch.tokens_BT, self.under(code_BL, self.condition_of(batch)))
        return -token_log_probs(logits_BTA, batch.tokens_BT, batch.mask_BT).sum(dim=1)

    def evaluate(self, sequences: Sequences | list[str]) -> dict[str, Estimate]:
        """``reconstruction`` in nats a sequence, and how near the codes are to the prior.

        ``discriminator_loss`` (2 ln 2 where D knows no difference), ``mmd_to_prior`` (of at most
        2,000 codes) and ``active_units``; with classes ``probe_accuracy``, of a classifier that
        reads the class from the code, beside ``largest_class``, which it is for nothing; and what
        is written for their conditions, where objectives name them (asked.py).

        Args:
            sequences: held out, with their conditions where the learner has any.
        """
        real = self._encoded(sequences)
        mean_BL, log_var_BL = self.encode(real)
        with self.seeded(Purpose.MINIBATCHES), torch.no_grad():
            code_BL = drawn(mean_BL, log_var_BL)
            prior_BL = self.prior_codes(len(real)).to(self.policy.dtype)
            d_loss = discriminator_loss(
                self._judged(prior_BL, real), self._judged(code_BL.to(self.device), real)
            )
            parts = [
                self._reconstruction(
                    real[first : first + _ROWS].to(self.device),
                    code_BL[first : first + _ROWS].to(self.device),
                )
                for first in range(0, len(real), _ROWS)
            ]
        figures = {
            "reconstruction": mean_of(torch.cat(parts).double().tolist()),
            "discriminator_loss": Estimate(float(d_loss), math.nan, len(real)),
            "mmd_to_prior": squared_mmd(code_BL[:_MOST].double(), prior_BL[:_MOST].double().cpu()),
            "active_units": active_units(mean_BL),
        }
        if self.classes and real.condition_B is not None:
            labels_B = real.condition_B.cpu()
            largest = labels_B.bincount().max() / len(labels_B)
            figures["probe_accuracy"] = probe_accuracy(code_BL, labels_B)
            figures["largest_class"] = Estimate(float(largest), math.nan, len(labels_B))
        return figures | self.asked_figures(real)


def code_discriminator(latent: int, units: int) -> nn.Sequential:
    """D: two hidden layers from a code (B, L) to a logit (B, 1)."""
    return nn.Sequential(
        nn.Linear(latent, units),
        nn.LeakyReLU(0.2),
        nn.Linear(units, units),
        nn.LeakyReLU(0.2),
        nn.Linear(units, 1),
    )


def discriminator_loss(prior_logits_B1: Tensor, code_logits_B1: Tensor) -> Tensor:
    """-log D(z ~ p) - log(1 - D(z ~ q)), the means, in nats; least where D = p / (p + q)."""
    return F.softplus(-prior_logits_B1).mean() + F.softplus(code_logits_B1).mean()


def without_some(batch: Sequences, share: float) -> Sequences:
    """The sequences with a share of their tokens deleted, by torch's generator; never the end."""
    if not share:
        return batch
    tokens_BT, eos = batch.tokens_BT, batch.vocabulary.eos
    kept_BT = torch.rand(tokens_BT.shape, device=tokens_BT.device) >= share
    if eos is not None:
        kept_BT |= tokens_BT == eos
    kept_BT &= batch.mask_BT
    order_BT = (~kept_BT).int().argsort(dim=1, stable=True)  # what is kept moves to the front
    lengths_B = kept_BT.sum(dim=1)
    steps_T = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
    moved_BT = tokens_BT.gather(1, order_BT)
    moved_BT = moved_BT.masked_fill(steps_T >= lengths_B[:, None], batch.vocabulary.pad)
    return replace(batch, tokens_BT=moved_BT, lengths_B=lengths_B)
