"""What assessors prefer: a model of their answers, and what it says of other samples.

An ensemble of encoders gives every sample one latent utility u a member (utility.py); answers.py
says how an assessor answers from it, with a bias and a discrimination of their own. Both are fitted
by maximum a posteriori: Gaussian priors shrink utilities to 0, biases to 0, discriminations to 1
and so keep an assessor of few answers near the others.

The ensemble is one of cross-validation (Krogh and Vedelsby, 1995, "Neural network ensembles, cross
validation, and active learning"): member m never sees fold m of the ratings. Members so differ by
their data and by their first weights, no rating is lost to a held-out set, and every rating has a
prediction by a member that has not learnt from it. A bootstrap would take a third of the few
ratings from every member. Which fold a rating is in depends on the texts alone, so what is asked
again, or the other way round, is in the same one, and stays there when the model is trained on.

Those held-out predictions

- calibrate: all utilities are multiplied by the temperature that makes them likeliest (Guo et al.,
  2017, arXiv 1706.04599);
- decide whether anything is known: unless they beat, by ``GAIN`` nats in all, both an answer from
  biases alone and one drawn from the shares of the answers, the temperature is 0;
- are what accuracy, calibration and log-loss are computed from, of what was asked at random.

They are those of single members, so they say a little less than the ensemble knows.

A sample is worth the probability that it wins a comparison, by an assessor without bias and without
a tie, with a random one of those that were asked about at random: the mean of
sigmoid(temperature (u(x) - u(y))) over these y, in [0, 1]. With temperature 0 all are worth 0.5.
"""

# Shapes: M members, B sequences, R ratings, N different texts, S reference texts, J assessors
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..discriminators.calibration import expected_calibration_error
from ..state import State, check_shapes, with_prefix
from .answered import Answered, read_answers
from .answers import COLUMNS, answer_log_probs
from .ratings import Form, Rating
from .utility import Utilities

if TYPE_CHECKING:
    from ...envs.vocabulary import Vocabulary

GAIN = 3.0
"""Nats by which held-out predictions have to beat guessing. By Wilks' theorem a model that knows
nothing passes with probability 0.7 % (twice the gain against chi-square of 1, one side)."""
_BATCH = 64  # ratings a step
_PASSES = 20  # over the ratings in a fit; with several times as many it learns their noise by heart
_LEAST_STEPS = 30
_RATES = 5e-3, 5e-2  # of the encoders, and of what is fitted beside them, at the first step
_DECAY = 1e-2  # of the encoders' weights
_SD_UTILITY, _SD_BIAS, _SD_LOG_DISCRIMINATION = 2.0, 1.0, 0.5  # of the priors
_REFERENCES = 512
_CHUNK = 256


class Effects(nn.Module):
    """What is fitted beside the utilities: the shape of the answers, and each assessor's own.

    Args:
        form: of the question.
        members: M.
        assessors: J.
    """

    def __init__(self, form: Form, members: int, assessors: int) -> None:
        super().__init__()
        first = [-2.0] if form == "pair" else [-1.0] + [0.0] * (len(COLUMNS[form]) - 2)
        self.shape_MP = nn.Parameter(torch.tensor(first).repeat(members, 1))
        self.bias_MJ = nn.Parameter(torch.zeros(members, assessors))
        self.log_discrimination_MJ = nn.Parameter(torch.zeros(members, assessors))

    def penalty(self) -> Tensor:
        """Minus the log of the priors but for a constant, summed over members; nats."""
        bias = self.bias_MJ.square().sum() / _SD_BIAS**2
        slope = self.log_discrimination_MJ.square().sum() / _SD_LOG_DISCRIMINATION**2
        return 0.5 * (bias + slope)

    def widened(self, assessors: int) -> None:
        """Make room for more assessors, who begin without bias."""
        for name in ("bias_MJ", "log_discrimination_MJ"):
            old_MJ: Tensor = getattr(self, name)
            new_MJ = old_MJ.new_zeros(len(old_MJ), assessors)
            new_MJ[:, : old_MJ.shape[1]] = old_MJ.detach()
            setattr(self, name, nn.Parameter(new_MJ))


class PreferenceModel:
    """An ensemble of utilities, fitted to ratings; see the top of this file.

    Args:
        vocabulary: of the samples.
        form: of the question.
        members: M.
        hidden: units of an encoder.

    Attributes:
        network: the encoders.
        effects: what is fitted beside them.
        assessors: their names, in the order of the columns of ``effects``.
        temperature: what utilities are multiplied by; 0: nothing is known.
        reference_MS: utilities of what was asked about at random.
        metrics: of the last fit.
    """

    def __init__(self, vocabulary: Vocabulary, form: Form, members: int, hidden: int) -> None:
        self.vocabulary, self.form, self.members = vocabulary, form, members
        self.network = Utilities(vocabulary, members, hidden)
        self.effects = Effects(form, members, 0)
        self.assessors: list[str] = []
        self.temperature = 0.0
        self.reference_MS = torch.zeros(members, 0)
        self.metrics: dict[str, float] = {}
        self.fitted = False

    def to(self, device: torch.device | str) -> None:
        """Move it to another device."""
        self.network.to(device)
        self.effects.to(device)
        self.reference_MS = self.reference_MS.to(device)

    # --- what it says -------------------------------------------------------------------------

    @torch.no_grad()
    def utilities(self, tokens_BT: Tensor) -> Tensor:
        """Latent utilities (M, B), as they were learnt, in eval mode."""
        self.network.eval()
        chunks = [self.network(tokens_RT) for tokens_RT in tokens_BT.split(_CHUNK)]
        return torch.cat(chunks, dim=1)

    def preferred(self, tokens_BT: Tensor) -> Tensor:
        """What each of M members says that each of B samples is worth, (M, B) in [0, 1]."""
        if self.temperature == 0:
            return self.reference_MS.new_full((self.members, len(tokens_BT)), 0.5)
        utility_MB = self.utilities(tokens_BT)
        apart_MBS = utility_MB[:, :, None] - self.reference_MS[:, None, :]
        return (self.temperature * apart_MBS).sigmoid().mean(dim=2)

    def answer_log_probs(self, location_MB: Tensor) -> Tensor:
        """Log-probabilities (M, B, K) of the answers at these locations, without a bias."""
        return answer_log_probs(self.form, location_MB, self.effects.shape_MP.detach()[:, None])

    # --- learning -----------------------------------------------------------------------------

    def read(self, ratings: Sequence[Rating], max_length: int) -> Answered | None:
        """Ratings as tensors (``read_answers``); assessors that are new are noted."""
        return read_answers(
            ratings, self.form, self.vocabulary, max_length, self.assessors, self.members
        )

    def fit(self, given: Answered) -> None:
        """Learn from all ratings that stand, going on from the weights as they are.

        Halfway between them and new ones, that is: what goes on from weights that fit the old
        ratings to the last learns less of the new ones ("shrink and perturb", Ash and Adams, 2020,
        "On warm-starting neural network training", arXiv 1910.08475). Random numbers are torch's
        own generator's.
        """
        device = self.network.output_MH1.device
        if self.fitted:
            self._shrink_and_perturb()
        self.effects.widened(len(self.assessors))
        self.effects.to(device)
        encoders = {"params": list(self.network.parameters()), "weight_decay": _DECAY}
        effects = {"params": list(self.effects.parameters()), "weight_decay": 0.0}
        optimizer = torch.optim.AdamW([encoders, effects])
        steps = max(_LEAST_STEPS, _PASSES * len(given) // _BATCH)
        self.network.train()
        for step in range(steps):
            for group, rate in zip(optimizer.param_groups, _RATES, strict=True):
                group["lr"] = rate * (1 - step / steps)
            rows = torch.randperm(len(given))[:_BATCH]
            loss = self._loss(given, rows)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        self.fitted = True
        self._calibrate(given)

    @torch.no_grad()
    def _shrink_and_perturb(self) -> None:
        fresh = Utilities(self.vocabulary, self.members, self.network.hidden)
        for mine, other in zip(self.network.parameters(), fresh.parameters(), strict=True):
            mine.lerp_(other.to(mine.device), 0.5)

    def _loss(self, given: Answered, rows_R: Tensor) -> Tensor:
        """Minus the log posterior of each member, a rating, summed over members; nats."""
        device = self.network.output_MH1.device
        texts_N, place_2R = torch.cat([given.left_R[rows_R], given.right_R[rows_R]]).unique(
            return_inverse=True
        )
        utility_MN = self.network(given.tokens_NT[texts_N].to(device))
        left_R, right_R = place_2R.to(device).chunk(2)
        useful_MR, bias_MR = self._locations(utility_MN, left_R, right_R, given.assessor_R[rows_R])
        log_prob_MR = self._of_answers(useful_MR + bias_MR, given.answer_R[rows_R].to(device))
        others_MR = given.fold_R[rows_R] != torch.arange(self.members)[:, None]
        likelihood = (log_prob_MR * others_MR.to(device)).sum() / len(rows_R)
        texts_a_rating = len(given.tokens_NT) / len(given)
        prior = 0.5 * utility_MN.square().mean(dim=1).sum() / _SD_UTILITY**2 * texts_a_rating
        loss: Tensor = prior + self.effects.penalty() / len(given) - likelihood
        return loss

    def _locations(
        self, utility_MN: Tensor, left_R: Tensor, right_R: Tensor, assessor_R: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What an answer owes to utility and what to bias, (M, R) each."""
        location_MR = utility_MN[:, left_R]
        if self.form == "pair":
            location_MR = location_MR - utility_MN[:, right_R]
        slope_MR = self.effects.log_discrimination_MJ.exp()[:, assessor_R]
        return slope_MR * location_MR, self.effects.bias_MJ[:, assessor_R]

    def _of_answers(self, location_MR: Tensor, answer_R: Tensor) -> Tensor:
        """Log-probabilities (M, R) of the answers that were given."""
        log_probs_MRK = answer_log_probs(self.form, location_MR, self.effects.shape_MP[:, None])
        index_MR1 = answer_R[None, :, None].expand(len(location_MR), -1, -1)
        return log_probs_MRK.gather(2, index_MR1)[:, :, 0]

    # --- what the held-out predictions say ------------------------------------------------------

    @torch.no_grad()
    def _calibrate(self, given: Answered) -> None:
        device = self.network.output_MH1.device
        utility_MN = self.utilities(given.tokens_NT.to(device))
        useful_MR, bias_MR = self._locations(
            utility_MN, given.left_R, given.right_R, given.assessor_R
        )
        rows_R = torch.arange(len(given))
        useful_R, bias_R = useful_MR[given.fold_R, rows_R], bias_MR[given.fold_R, rows_R]
        shape_RP = self.effects.shape_MP[given.fold_R]

        def held_out(temperature: float) -> Tensor:
            location_R = temperature * useful_R + bias_R
            return answer_log_probs(self.form, location_R, shape_RP).cpu()

        def likelihood(temperature: float) -> float:
            return float(held_out(temperature)[rows_R, given.answer_R].double().sum())

        best = max(_TEMPERATURES, key=likelihood)
        shares_K = given.answer_R.bincount(minlength=len(COLUMNS[self.form])) / len(given)
        guessed_R = shares_K.log()[given.answer_R]
        guessing = max(likelihood(0.0), float(guessed_R.sum()))
        self.temperature = best if likelihood(best) > guessing + GAIN else 0.0
        asked_R = given.random_R if given.random_R.any() else torch.ones_like(given.random_R)
        shown_N = torch.cat([given.left_R[asked_R], given.right_R[asked_R]]).unique()
        shown_N = shown_N[:: math.ceil(len(shown_N) / _REFERENCES)]
        self.reference_MS = utility_MN[:, shown_N.to(device)]
        log_probs_RK = held_out(self.temperature)[asked_R]
        self.metrics = {
            "ratings": float(len(given)),
            "assessors": float(len(self.assessors)),
            "temperature": self.temperature,
            "log_loss_guessing": -float(guessed_R[asked_R].mean()),
            **quality(log_probs_RK, given.answer_R[asked_R]),
        }

    # --- what a checkpoint keeps ----------------------------------------------------------------

    def state(self) -> State:
        """Weights, effects, reference and calibration."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"effects.{k}": v for k, v in self.effects.state_dict().items()}
        kept = ("assessors", "temperature", "metrics", "fitted")
        return tensors | {"reference": self.reference_MS}, {k: getattr(self, k) for k in kept}

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """The inverse of ``state``.

        Raises:
            ValueError: it is of another model.
        """
        device = self.network.output_MH1.device
        network, effects = with_prefix("network", tensors), with_prefix("effects", tensors)
        self.assessors = list(map(str, state["assessors"]))
        self.effects.widened(len(self.assessors))
        check_shapes("the preference model's", self.network.state_dict(), network)
        check_shapes("the assessors'", self.effects.state_dict(), effects)
        self.network.load_state_dict(network)
        self.effects.load_state_dict(effects)
        self.effects.to(device)
        self.temperature = float(state["temperature"])
        self.reference_MS = tensors["reference"].to(device)
        if self.reference_MS.ndim != 2 or len(self.reference_MS) != self.members:
            shape = tuple(self.reference_MS.shape)
            raise ValueError(f"the reference has the shape {shape}; expected ({self.members}, S)")
        self.metrics = {str(name): float(value) for name, value in state["metrics"].items()}
        self.fitted = bool(state["fitted"])


_TEMPERATURES = [0.0, *(0.05 * 1.1**step for step in range(44))]  # to 3, each a tenth more


def quality(log_probs_RK: Tensor, answer_R: Tensor) -> dict[str, float]:
    """How good predictions of R answers were.

    Returns:
        ``accuracy``, the share of answers that were held the most probable; ``log_loss`` in nats;
        ``calibration_error`` of the most probable answer (Guo et al., 2017, eq. 3).
    """
    sure_R, guess_R = log_probs_RK.exp().max(dim=1)
    right_R = guess_R == answer_R
    rows_R = torch.arange(len(answer_R))
    return {
        "accuracy": float(right_R.double().mean()),
        "log_loss": -float(log_probs_RK[rows_R, answer_R].double().mean()),
        "calibration_error": expected_calibration_error(sure_R[right_R], sure_R[~right_R]),
    }
