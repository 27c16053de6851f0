"""A GAN of sequences, trained through relaxed draws.

A drawn token has no gradient to the logits; a relaxed one has, y = softmax((logits + g) / tau) with
Gumbel noise g (see gumbel.py), and a discriminator D can read it as y @ embedding. What the policy
reads next is one of two:

    feedback="soft"   y @ embedding, with its gradient: Kusner and Hernandez-Lobato (2016), arXiv
                      1611.04051; their loss is "bce"
    feedback="hard"   the token drawn, argmax(logits + g): RelGAN (Nie et al., ICLR 2019); its loss
                      is "relativistic", -E[log s(D(x) - D(y))], x real, for D, and for the policy
                      the same with x and y exchanged

With hard feedback the tokens drawn are the policy's own text at every temperature; with soft
feedback they are not. tau falls from 1 to 1 / beta over ``annealing`` adversarial steps, as
beta^(-i / annealing). RelGAN's relational memory and multiple embeddings of D are left out.

The first ``pretraining`` steps are teacher forcing. Figures and samples are of hard tokens alone:
``evaluate`` and ``sample`` know nothing of a relaxation. The weights that are kept are the best by
the distance of pairs of neighbours between held-out text and the policy's, since the likelihood is
no aim of a GAN.
"""

# Shapes: B sequences, T steps
from __future__ import annotations

import math
from dataclasses import fields
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from ...agents.assembled import Purpose
from ...agents.checks import check_least, check_positive
from ...agents.policies import Policy
from ...agents.policies.recurrent import RecurrentPolicy
from ...agents.pretraining import teacher_forcing_loss
from ...envs import Sequences
from ...rewards.discriminators import (
    ConvDiscriminator,
    Discriminator,
    RecurrentDiscriminator,
    TokenNetwork,
    TransformerDiscriminator,
)
from ...rewards.discriminators.calibration import auc
from ...rewards.discriminators.losses import adversarial_loss
from ...rewards.discriminators.options import DiscriminatorOptions
from ..metrics import Estimate
from .assembled import check_known
from .exposure import ngram_distance
from .gumbel import inverse_temperature
from .learner import Learner
from .relaxed_writing import Feedback, RelaxedSequences, judged, write_relaxed

AdversarialLoss = Literal["relativistic", "bce"]
_DISCRIMINATORS: dict[str, type[Discriminator]] = {
    "convolutional": ConvDiscriminator,
    "recurrent": RecurrentDiscriminator,
    "transformer": TransformerDiscriminator,
}


class GumbelGAN(Learner):
    """Teacher forcing, then a GAN through relaxed draws; ``Learner`` documents the other arguments.

    Args:
        policy: ``"GRU"``, ``"LSTM"``, or a recurrent policy.
        feedback: what it reads next while it learns, ``"hard"`` tokens or ``"soft"`` draws.
        one_hot: whether the discriminator reads one-hot tokens, straight-through.
        loss: ``"relativistic"``, or ``"bce"``, where the policy goes down -log D.
        beta: 1 / tau at the end of the annealing, at least 1.
        annealing: adversarial steps until then.
        pretraining: steps of teacher forcing at the beginning.
        adversarial_learning_rate: of the policy after them, with the same schedule.
        discriminator_learning_rate: of the discriminator; the policy's is best well below it.
        discriminator: ``"convolutional"``, ``"recurrent"`` or ``"transformer"``.
        discriminator_kwargs: of its network, such as ``{"embedding": 32}``.
        **options: of ``Learner``.
    """

    watched: ClassVar[str] = "bigram_distance"

    def __init__(
        self,
        policy: str | Policy = "GRU",
        *,
        feedback: Feedback = "hard",
        one_hot: bool = False,
        loss: AdversarialLoss = "relativistic",
        beta: float = 100.0,
        annealing: int = 2000,
        pretraining: int = 1000,
        adversarial_learning_rate: float = 1e-4,
        discriminator_learning_rate: float = 1e-3,
        discriminator: str = "convolutional",
        discriminator_kwargs: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        check_known("feedback", feedback, get_args(Feedback))
        check_known("loss", loss, get_args(AdversarialLoss))
        check_least(1, beta=beta, annealing=annealing)
        check_least(0, pretraining=pretraining)
        check_positive(
            adversarial_learning_rate=adversarial_learning_rate,
            discriminator_learning_rate=discriminator_learning_rate,
        )
        self.feedback, self.one_hot, self.loss = feedback, one_hot, loss
        self.beta, self.annealing, self.pretraining = beta, annealing, pretraining
        self.adversarial_learning_rate = adversarial_learning_rate
        self.discriminator_learning_rate = discriminator_learning_rate
        self.discriminator, self.discriminator_kwargs = discriminator, discriminator_kwargs
        self._recipe = _recipe(discriminator, discriminator_kwargs or {})
        self._network: TokenNetwork | None = None
        super().__init__(policy, **options)
        self._refuse_conditions()
        if not isinstance(self.policy, RecurrentPolicy):
            raise ValueError(
                f"a {type(self.policy).__name__} reads nothing but tokens; a GumbelGAN needs a "
                "policy that reads mixtures of them: take a GRU or an LSTM"
            )
        self.writer: RecurrentPolicy = self.policy

    @property
    def network(self) -> TokenNetwork:
        """The discriminator's, made for ``max_length`` when it is first wanted.

        Raises:
            ValueError: that has changed since.
        """
        length = self._length()
        if self._network is None:
            with self.seeded(Purpose.INITIAL_WEIGHTS, 1):
                made = self._recipe.make_network(self.policy.vocabulary, length)
            self._network, self._reads = made.to(self.device, self.policy.dtype).eval(), length
        if self._reads != length:
            raise ValueError(
                f"the discriminator was made for sequences of up to {self._reads} tokens, and "
                f"max_length is {length}; make a learner with max_length={length}"
            )
        return self._network

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The policy, and the discriminator once it is known how long sequences get."""
        more = {"discriminator": self.network} if self.max_length else {}
        return {"policy": self.policy, **more}

    def make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Of the policy two, one for each way to learn, and the discriminator's."""
        return {
            "pretraining": self.adam(self.policy),
            "policy": self.adam(self.policy, learning_rate=self.adversarial_learning_rate),
            "discriminator": self.adam(
                self.network, learning_rate=self.discriminator_learning_rate
            ),
        }

    def temperature(self, step: int) -> float:
        """The temperature tau of a step."""
        i = min(max(step - self.pretraining, 0), self.annealing)
        return 1 / inverse_temperature(i, self.annealing, self.beta)

    def training_step(self, batch: Sequences, step: int) -> dict[str, float]:
        """Of teacher forcing; later the policy's, then the discriminator's."""
        if step < self.pretraining:
            nll = teacher_forcing_loss(self.policy, batch)
            norm = self.descend(nll, "pretraining")
            return {"nll": float(nll.detach()), "gradient_norm": norm}
        with torch.no_grad():
            nll = teacher_forcing_loss(self.policy, batch)
        written = self.write(len(batch), step)
        loss = self.policy_loss(batch, written)
        norm = self.descend(loss, "policy")
        real_B, written_B = self.network(batch.tokens_BT), judged(self.network, written.detach())
        told_apart = adversarial_loss(self.loss, real_B, written_B)
        self.descend(told_apart, "discriminator")
        return {
            "nll": float(nll),
            "gradient_norm": norm,
            "policy_loss": float(loss.detach()),
            "discriminator_loss": float(told_apart.detach()),
            "discriminator_auc": auc(real_B.detach(), written_B.detach()),
            "temperature": self.temperature(step),
        }

    def write(self, n: int, step: int) -> RelaxedSequences:
        """What the policy writes for the discriminator in a step."""
        tau, length = self.temperature(step), self._length()
        return write_relaxed(
            self.writer, n, length, tau, feedback=self.feedback, one_hot=self.one_hot
        )

    def policy_loss(self, batch: Sequences, written: RelaxedSequences) -> Tensor:
        """The discriminator's loss with real and written exchanged, in nats."""
        with torch.no_grad():
            real_B = self.network(batch.tokens_BT)
        return adversarial_loss(self.loss, judged(self.network, written), real_B)

    def evaluate(self, sequences: Sequences | list[str]) -> dict[str, Estimate]:
        """The likelihood of given sequences, and how far the policy's text is from them.

        ``bigram_distance`` is the total variation between the pairs of neighbours of the sequences
        and of as many samples, hard tokens; two finite sets of one source have a distance too.
        """
        real = self._encoded(sequences)
        own = self.sample(len(real), seed=self.seed_of(Purpose.PREDICTION))
        distance = ngram_distance(own, real, 2)
        return super().evaluate(real) | {"bigram_distance": Estimate(distance, math.nan, len(real))}


def _recipe(name: str, options: dict[str, Any]) -> Discriminator:
    """What makes the network; how it would learn by itself is no option here."""
    check_known("discriminator", name, tuple(_DISCRIMINATORS))
    kind = _DISCRIMINATORS[name]
    learning = {field.name for field in fields(DiscriminatorOptions)}
    known = [field.name for field in fields(kind) if field.name not in learning]
    for option in options:
        check_known("an option of the discriminator's network", option, tuple(known))
    return kind(**options)
