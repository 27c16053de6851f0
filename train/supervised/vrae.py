"""VRAE, the variational recurrent autoencoder, and its conditional form.

Fabius and van Amersfoort (2014), arXiv 1412.6581; Bowman et al. (2016), arXiv 1511.06349. Down

    E_q(z|x)[-sum_t log p(x_t | x_<t, z)] + beta KL(q(z | x) || N(0, I))

q a diagonal normal, one code drawn for each sequence; the decoder reads z at its first state and at
every step. Both terms are sums, over tokens and over numbers of the code, divided by the same
number. What is reported is the true bound, beta = 1.

A decoder that does well alone ignores the code (posterior collapse). The cures here:

    annealing      beta rises: linear i / N; logistic 1 / (1 + exp(-10 (i / N - 1/2))) (Bowman);
                   cyclical, 4 times over N steps, in the first half of each (Fu et al., 2019, arXiv
                   1903.10145)
    word_keep      the share of input tokens that the decoder is shown while training; at 0 it reads
                   no tokens at all, ever (Bowman's inputless decoder)
    free_bits      max(free_bits, KL_d) for each number d of the code, KL_d the batch's mean: no
                   gradient below (Kingma et al., 2016, arXiv 1606.04934)
    aggressive     up to 100 steps of the encoder to one of the decoder, until their mean loss over
                   15 no longer falls; as long as I(x; z) rises from epoch to epoch (He et al.,
                   2019, arXiv 1901.05534)
    autoencoder_steps  so many steps of a plain autoencoder first (beta = 0, z the mean); then the
                   decoder begins anew (Li et al., 2019, arXiv 1909.00868)
"""

# Shapes: B sequences, T steps, K importance samples, L numbers of a code
from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from ...agents.assembled import Purpose
from ...agents.checks import check_least
from ...agents.losses import token_log_probs
from ...agents.policies import Policy
from ...agents.pretraining import steps_per_epoch
from ...envs import Sequences
from ..metrics import Estimate, mean_of
from .encoder import drawn, gaussian_kl
from .latent import LatentLearner
from .latent_measures import active_units, importance_weighted, log_normal, mutual_information

Annealing = Literal["linear", "logistic", "cyclical"]
CYCLES, RISING = 4, 0.5  # of cyclical annealing: M and R
_MOST, _CHECKED = 100, 15  # steps of an aggressive encoder
_ROWS, _MOST_FOR_INFORMATION = 256, 2000


class VRAE(LatentLearner):
    """A variational autoencoder of sequences; see the top of this file.

    Args:
        policy: the decoder: ``"GRU"``, ``"LSTM"``, ``"Transformer"``, or a Policy that reads a
            condition.
        beta: the weight of the KL, once it has risen.
        annealing: how it rises: ``"linear"``, ``"logistic"`` or ``"cyclical"``.
        annealing_steps: N, in how many steps; 0 begins with ``beta``.
        word_keep: the share of tokens that the decoder reads while training; 0: none, ever.
        free_bits: nats for each number of the code that cost nothing.
        aggressive: let the encoder catch up before every step of the decoder.
        autoencoder_steps: of a plain autoencoder first.
        **options: of ``LatentLearner`` and ``Learner``.
    """

    watched: ClassVar[str] = "negative_elbo"

    def __init__(
        self,
        policy: str | Policy = "GRU",
        *,
        beta: float = 1.0,
        annealing: Annealing = "linear",
        annealing_steps: int = 0,
        word_keep: float = 1.0,
        free_bits: float = 0.0,
        aggressive: bool = False,
        autoencoder_steps: int = 0,
        **options: Any,
    ) -> None:
        if annealing not in get_args(Annealing):
            known = ", ".join(get_args(Annealing))
            raise ValueError(f"annealing is {annealing!r}; expected one of {known}")
        check_least(0, beta=beta, annealing_steps=annealing_steps, free_bits=free_bits)
        check_least(0, autoencoder_steps=autoencoder_steps)
        if not 0 <= word_keep <= 1:
            raise ValueError(f"word_keep is {word_keep}; expected a share in [0, 1]")
        self.beta, self.annealing, self.annealing_steps = beta, annealing, annealing_steps
        self.word_keep, self.free_bits = word_keep, free_bits
        self.aggressive, self.autoencoder_steps = aggressive, autoencoder_steps
        self.lag = Lag()
        super().__init__(policy, **options)
        self.lag.to(self.device)
        self._data: Sequences | None = None
        if not word_keep:
            _show_no_tokens(self.policy)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Those of every learner with codes, and what is known of the encoder's lag."""
        return super().modules | {"lag": self.lag}

    def make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """One of everything; with ``aggressive`` also one of each part."""
        found: dict[str, torch.optim.Optimizer] = {"all": self.adam(self.policy, self.reader)}
        if self.aggressive:
            found |= {"encoder": self.adam(self.reader), "decoder": self.adam(self.policy)}
        return found

    def prepare(self, data: Sequences) -> None:
        """The prior, and what an aggressive encoder draws its batches from."""
        super().prepare(data)
        self._data = data
        if not self.progress.step:
            self.lag.load_state_dict(Lag().state_dict())

    # --- learning -----------------------------------------------------------------------------

    def beta_at(self, step: int) -> float:
        """The weight of the KL in a step."""
        step -= self.autoencoder_steps
        if step < 0:
            return 0.0
        return self.beta * (annealed(self.annealing, step, self.annealing_steps))

    def training_step(self, batch: Sequences, step: int) -> dict[str, float]:
        """Down the bound: ``nll``, its reconstruction, in nats a token, ``kl`` a sequence."""
        if self.autoencoder_steps and step == self.autoencoder_steps:
            self._begin_decoder_anew()
        lagging = self.aggressive and step >= self.autoencoder_steps and self._lags(step)
        if lagging:
            self._catch_up(step)
        reconstruction, kl_L, loss = self.terms(batch, step)
        norm = self.descend(loss, "decoder" if lagging else "all")
        return {
            "nll": float(reconstruction.detach()) / batch.num_tokens,
            "kl": float(kl_L.detach().sum()),
            "beta": self.beta_at(step),
            "gradient_norm": norm,
        }

    def terms(self, batch: Sequences, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of a step: the batch's reconstruction in nats, KL_d (L,) a sequence, the loss a token."""
        mean_BL, log_var_BL = self.read(batch)
        beta = self.beta_at(step)
        z_BL = mean_BL if step < self.autoencoder_steps else drawn(mean_BL, log_var_BL)
        shown_BT = shown_tokens(batch, self.word_keep) if self.word_keep else batch.tokens_BT
        logits_BTA = self.policy(shown_BT, self.under(z_BL, self.condition_of(batch)))
        log_probs_BT = token_log_probs(logits_BTA, batch.tokens_BT, batch.mask_BT)
        reconstruction = -log_probs_BT.sum()
        kl_L = gaussian_kl(mean_BL, log_var_BL).mean(dim=0)
        charged = kl_L.clamp(min=self.free_bits).sum() * len(batch)
        return reconstruction, kl_L, (reconstruction + beta * charged) / batch.num_tokens

    def _begin_decoder_anew(self) -> None:
        """The decoder as it first was, with the encoder as it has become."""
        policy = self.policy
        with self.seeded(Purpose.INITIAL_WEIGHTS):
            fresh = type(policy)(policy.vocabulary, **policy.config())
        kept = {name: value for name, value in policy.named_buffers()}
        policy.load_state_dict(fresh.state_dict() | kept)
        if not self.word_keep:
            _show_no_tokens(policy)
        for optimizer in self.optimizers.values():
            for weight in policy.parameters():
                optimizer.state.pop(weight, None)

    def _lags(self, step: int) -> bool:
        """Whether the encoder lags still; looked at after every epoch."""
        assert self._data is not None
        if step and step % steps_per_epoch(self._data, self.batch_size) == 0:
            with torch.no_grad():
                some = self._data[:_MOST_FOR_INFORMATION]
                information = mutual_information(*self.encode(some)).value
            self.lag.look(information)
        return not bool(self.lag.over)

    def _catch_up(self, step: int) -> None:
        """Steps of the encoder alone, until their mean loss no longer falls."""
        assert self._data is not None
        before, losses = math.inf, []
        for _ in range(_MOST):
            rows = torch.randint(len(self._data), (self.batch_size,))
            loss = self.terms(self._data[rows].to(self.device), step)[2]
            self.descend(loss, "encoder")
            losses.append(float(loss.detach()))
            if len(losses) == _CHECKED:
                mean = sum(losses) / _CHECKED
                if mean >= before:
                    return
                before, losses = mean, []

    # --- measuring ----------------------------------------------------------------------------

    @torch.no_grad()
    def evaluate(
        self, sequences: Sequences | list[str], *, importance_samples: int = 32
    ) -> dict[str, Estimate]:
        """``negative_elbo`` (beta = 1), ``reconstruction``, ``kl``, ``iw_nll``: nats a sequence.

        With ``mutual_information`` in nats and ``active_units``, of at most 2,000 of the sequences;
        and what is written for their conditions, where objectives name them (asked.py).

        Args:
            sequences: held out, with their conditions where the learner has any.
            importance_samples: K.
        """
        real = self._encoded(sequences)
        with self.seeded(Purpose.MINIBATCHES):
            parts = [
                self._bounds(real[first : first + _ROWS].to(self.device), importance_samples)
                for first in range(0, len(real), _ROWS)
            ]
            mean_BL, log_var_BL = self.encode(real[:_MOST_FOR_INFORMATION])
            information = mutual_information(mean_BL, log_var_BL)
        reconstruction_B, kl_B, weighted_B = (
            torch.cat(part).double().cpu() for part in zip(*parts, strict=True)
        )
        return {
            "negative_elbo": mean_of((reconstruction_B + kl_B).tolist()),
            "reconstruction": mean_of(reconstruction_B.tolist()),
            "kl": mean_of(kl_B.tolist()),
            "iw_nll": mean_of(weighted_B.tolist()),
            "mutual_information": information,
            "active_units": active_units(mean_BL),
            **self.asked_figures(real),
        }

    def _bounds(self, batch: Sequences, K: int) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction, KL and importance-weighted NLL of each sequence, in nats, (B,)."""
        mean_BL, log_var_BL = self.read(batch)
        condition = self.condition_of(batch)
        log_x_KB, log_ratio_KB = [], []
        for _ in range(K):
            z_BL = drawn(mean_BL, log_var_BL)
            logits_BTA = self.policy(batch.tokens_BT, self.under(z_BL, condition))
            log_x_KB.append(token_log_probs(logits_BTA, batch.tokens_BT, batch.mask_BT).sum(dim=1))
            prior_B = log_normal(z_BL, torch.zeros_like(z_BL), torch.zeros_like(z_BL))
            log_ratio_KB.append(prior_B - log_normal(z_BL, mean_BL, log_var_BL))
        log_x, log_ratio = torch.stack(log_x_KB), torch.stack(log_ratio_KB)
        kl_B = gaussian_kl(mean_BL, log_var_BL).sum(dim=1)
        return -log_x.mean(dim=0), kl_B, importance_weighted(log_x + log_ratio)


def annealed(annealing: Annealing, step: int, steps: int) -> float:
    """The share of beta in a step, in [0, 1]; 1 from ``steps`` on."""
    if step >= steps:
        return 1.0
    if annealing == "linear":
        return step / steps
    if annealing == "logistic":
        return 1 / (1 + math.exp(-10 * (step / steps - 0.5)))
    within = math.fmod(step * CYCLES / steps, 1.0)
    return min(within / RISING, 1.0)


def shown_tokens(batch: Sequences, keep: float) -> Tensor:
    """The tokens with a share of them blank (read as padding), by torch's generator; (B, T).

    ``bos`` is no token, and padding is blank already: neither is hit.
    """
    if keep == 1:
        return batch.tokens_BT
    dropped_BT = torch.rand(batch.tokens_BT.shape, device=batch.tokens_BT.device) >= keep
    return batch.tokens_BT.masked_fill(dropped_BT, batch.vocabulary.pad)


def _show_no_tokens(policy: Policy) -> None:
    """Embeddings of 0 that stay so: the policy reads no tokens, whenever it writes or is taught."""
    embedding = getattr(policy, "embedding", None)
    if not isinstance(embedding, nn.Embedding) or policy.config().get("tied"):
        raise ValueError(
            "word_keep=0 needs a policy with an embedding of its own, not tied to the output; "
            "leave tied out, or give word_keep a little more than 0"
        )
    embedding.weight.requires_grad_(False).zero_()


class Lag(nn.Module):
    """Whether the encoder of a fit still lags: until its information has stopped rising once."""

    information: Tensor
    over: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("information", torch.tensor(-1.0))
        self.register_buffer("over", torch.tensor(False))

    def look(self, information: float) -> None:
        """At the information after an epoch."""
        if information <= float(self.information):
            self.over.fill_(True)
        self.information.fill_(information)
