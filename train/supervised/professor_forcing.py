"""Professor forcing: hidden states along own text are to be like those along true text.

Lamb et al. (2016), arXiv 1610.09038. The behaviour B(x) is the sequence of the policy's hidden
states along x: a true sequence (teacher forcing), or one that the policy wrote (free running). A
discriminator D, a recurrent network that reads it in both directions, tells the two apart:

    C_d = E_true[-log D(B(x))] + E_own[-log(1 - D(B(y)))]

and the policy goes down NLL + strength C_f + teacher_strength C_t, where

    C_f = E_own[-log D(B(y))]            own text is to look like true text
    C_t = E_true[-log(1 - D(B(x)))]      optional: and the reverse

D learns only while its accuracy is below 0.99, and C_f and C_t reach the policy only while it is
above 0.75; the likelihood always does. Own text is drawn from the policy's own distribution, each
draw a constant: the gradient arrives through the hidden states along it.

Both behaviours are one pass over tokens, so they have one initial state and the same dropout, and a
length of at most ``max_length``. D judges every sequence alone, so it is no bias, over all batches,
that the true ones of a batch are of similar length.
"""

# Shapes: B sequences, T steps, A actions, H hidden units, N features of a behaviour (H, or H + A)
from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from ...agents.assembled import Purpose
from ...agents.checks import check_least, check_positive
from ...agents.losses import token_log_probs
from ...agents.policies import Policy
from ...agents.sampling import sample
from ...envs import Sequences
from ...rewards.discriminators.calibration import accuracy
from .learner import Learner

LEARNS_BELOW = 0.99
REACHES_ABOVE = 0.75


class ProfessorForcing(Learner):
    """Teacher forcing with a discriminator of hidden states; ``Learner`` documents the others.

    Args:
        policy: ``"GRU"``, ``"LSTM"``, ``"Transformer"``, or a Policy that has ``features``.
        strength: the weight of C_f beside the negative log-likelihood in nats a token.
        teacher_strength: that of C_t.
        outputs: whether the behaviour holds the probabilities of the next token, too.
        discriminator_hidden: units of the discriminator, a direction.
        discriminator_learning_rate: of its Adam, with the same schedule.
        **options: of ``Learner``.
    """

    def __init__(
        self,
        policy: str | Policy = "GRU",
        *,
        strength: float = 1.0,
        teacher_strength: float = 0.0,
        outputs: bool = False,
        discriminator_hidden: int = 64,
        discriminator_learning_rate: float = 1e-3,
        **options: Any,
    ) -> None:
        check_least(0, strength=strength, teacher_strength=teacher_strength)
        check_least(1, discriminator_hidden=discriminator_hidden)
        check_positive(discriminator_learning_rate=discriminator_learning_rate)
        self.strength, self.teacher_strength, self.outputs = strength, teacher_strength, outputs
        self.discriminator_hidden = discriminator_hidden
        self.discriminator_learning_rate = discriminator_learning_rate
        super().__init__(policy, **options)
        self._refuse_conditions()
        output = self.policy.output
        features = output.in_features + (output.out_features if outputs else 0)
        with self.seeded(Purpose.INITIAL_WEIGHTS, 1):
            network = BehaviourDiscriminator(features, discriminator_hidden)
        self.discriminator = network.to(self.device, self.policy.dtype)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The policy and the discriminator."""
        return {"policy": self.policy, "discriminator": self.discriminator}

    def make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """One each."""
        rate = self.discriminator_learning_rate
        return {
            "policy": self.adam(self.policy),
            "discriminator": self.adam(self.discriminator, learning_rate=rate),
        }

    def training_step(self, batch: Sequences, step: int) -> dict[str, float]:
        """The policy goes down its loss, then the discriminator; no gradient passes between."""
        features_BTH, logits_BTA = self._read(batch)
        log_probs_BT = token_log_probs(logits_BTA, batch.tokens_BT, batch.mask_BT)
        nll = -log_probs_BT.sum() / batch.num_tokens
        own = self.write(len(batch), step)
        true_BTN = self._behaviour(features_BTH, logits_BTA)
        own_BTN = self._behaviour(*self._read(own))
        true_B = self.discriminator(true_BTN.detach(), batch.lengths_B)
        own_B = self.discriminator(own_BTN.detach(), own.lengths_B)
        right = accuracy(true_B, own_B, 0.0)
        learns, reaches = gates(right)
        loss = nll
        if reaches and self.strength:
            loss = loss + self.strength * looks_true(self.discriminator(own_BTN, own.lengths_B))
        if reaches and self.teacher_strength:
            looks_B = self.discriminator(true_BTN, batch.lengths_B)
            loss = loss + self.teacher_strength * looks_own(looks_B)
        norm = self.descend(loss, "policy")
        told_apart = looks_true(true_B) + looks_own(own_B)
        if learns:
            self.descend(told_apart, "discriminator")
        return {
            "nll": float(nll.detach()),
            "gradient_norm": norm,
            "discriminator_accuracy": right,
            "discriminator_loss": float(told_apart.detach()),
        }

    def write(self, n: int, step: int) -> Sequences:
        """What the policy writes in a step, from its own distribution."""
        seed = self.seed_of(Purpose.TRAINING_SEQUENCES, step)
        return sample(self.policy, n, max_length=self._length(), seed=seed)

    def _read(self, sequences: Sequences) -> tuple[Tensor, Tensor]:
        """Features (B, T, H) and logits (B, T, A) along given tokens."""
        features_BTH = self.policy.features(sequences.tokens_BT, sequences.condition_B)
        return features_BTH, self.policy.output(features_BTH)

    def _behaviour(self, features_BTH: Tensor, logits_BTA: Tensor) -> Tensor:
        """What the discriminator reads, (B, T, N)."""
        if not self.outputs:
            return features_BTH
        return torch.cat([features_BTH, logits_BTA.softmax(dim=2)], dim=2)


class BehaviourDiscriminator(nn.Module):
    """A GRU in both directions, and a network of three layers on its two last states.

    Args:
        features: N, of a behaviour.
        hidden: units of a direction, and of the layers.
    """

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.reader = nn.GRU(features, hidden, batch_first=True, bidirectional=True)
        self.judge = nn.Sequential(
            nn.Linear(2 * hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
        )

    def forward(self, behaviour_BTN: Tensor, lengths_B: Tensor) -> Tensor:
        """Logits (B,) that behaviours of these lengths are true; padding is not read."""
        packed = pack_padded_sequence(
            behaviour_BTN, lengths_B.cpu(), batch_first=True, enforce_sorted=False
        )
        _, last_2BH = self.reader(packed)
        logits_B: Tensor = self.judge(torch.cat([last_2BH[0], last_2BH[1]], dim=1))[:, 0]
        return logits_B


def gates(accuracy: float) -> tuple[bool, bool]:
    """Whether the discriminator learns, and whether its loss reaches the policy."""
    return accuracy < LEARNS_BELOW, accuracy > REACHES_ABOVE


def looks_true(logits_B: Tensor) -> Tensor:
    """E[-log D], in nats."""
    return F.softplus(-logits_B).mean()


def looks_own(logits_B: Tensor) -> Tensor:
    """E[-log(1 - D)], in nats."""
    return F.softplus(logits_B).mean()
