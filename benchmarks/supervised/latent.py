"""Codes of a mixture of 16 Markov chains: what a weak decoder gains by z, and collapse.

One step of context leaves 44.0 nats a sequence (order 1, without z); the source's entropy is 31.6,
and 2.77 nats of a sequence say which chain it is. A decoder that reads the last token and z alone
can get below order 1 through z only. A GRU can do without z: trained plainly it leaves the code
idle (KL and information near 0), with a likelihood as good as any; each cure pays in nats for the
information it keeps, so five figures stand together. An AAE's codes are measured as a VRAE's: its
encoder is a normal, too. The aggressive encoder has its way on a tenth of the sequences, until its
information stops rising; then the fit goes on as the others do.

Floors: the weak decoder's negative ELBO is three standard errors below order 1, with information of
at least the nats that it gained, or of all that the code can be asked for (2.77), if that is less;
no bound is below the entropy by more than three standard errors.
"""

# Shapes: B sequences, T steps, A actions, D of an embedding, C of a condition
from __future__ import annotations

from functools import partial
from typing import Any

import torch
from tokengym.agents import Policy
from tokengym.agents.policies import State
from tokengym.agents.policies.conditions import ConditionPrior
from tokengym.envs import MarkovMixtureSource, Sequences, Vocabulary
from tokengym.train.metrics import Estimate
from tokengym.train.supervised import AAE, VRAE
from tokengym.train.supervised.latent import LatentLearner
from torch import Tensor, nn

from ..results import Figures, Row, exactly
from .case import FIT_SECONDS, Case, Part, beyond, cpu_clock
from .limits import counted_nll

SIZE, EPOCHS, LATENT = 20_000, 4, 8
FRESH, FRESH_SEED = 2000, 2**31 - 1
ENCODER = {"embedding": 16, "hidden": 32}
WEAK, LIMITS = "last token and z", "the source"
PLAIN, AGGRESSIVE = "GRU, plain", "aggressive encoder"
CURES: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "linear annealing": {"annealing": "linear", "annealing_steps": 600},
    "cyclical annealing": {"annealing": "cyclical", "annealing_steps": 600},
    "free bits 0.35": {"free_bits": 0.35},
    "word dropout 0.5": {"word_keep": 0.5},
    "inputless": {"word_keep": 0.0},
    "autoencoder first, free bits 0.35": {"autoencoder_steps": 150, "free_bits": 0.35},
    AGGRESSIVE: {"aggressive": True},
}
SEEDS = {WEAK: 3, PLAIN: 3, AGGRESSIVE: 1}  # of others 2; the last takes many times as long
LAGGING = 2_000  # sequences that an aggressive encoder catches up on, in so short epochs


class LastToken(Policy):
    """p(x_t | x_t-1, z) by one hidden layer: a decoder of order 1.

    Args:
        vocabulary: what it reads and writes.
        condition_size: C.
        hidden: units, and the size of a token's embedding.
    """

    name = "LastToken"

    def __init__(self, vocabulary: Vocabulary, condition_size: int, hidden: int = 64) -> None:
        super().__init__()
        self.vocabulary, self.condition_size = vocabulary, condition_size
        self.embedding = nn.Embedding(vocabulary.num_inputs, hidden)
        self.of_condition = nn.Linear(condition_size, hidden)
        self.mix = nn.Sequential(nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.output = nn.Linear(hidden, vocabulary.num_actions)
        self.prior = ConditionPrior(condition_size)

    def config(self) -> dict[str, Any]:
        """The constructor's keywords."""
        return {"condition_size": self.condition_size, "hidden": self.embedding.embedding_dim}

    def initial_state(self, batch: int, condition: Tensor | None = None) -> State:
        """The condition."""
        assert condition is not None
        return (condition,)

    def step(self, tokens_B: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits (B, A) after one token."""
        return self._logits(self.embedding(tokens_B), state[0]), state

    def forward(self, tokens_BT: Tensor, condition: Tensor | None = None) -> Tensor:
        """Logits (B, T, A)."""
        assert condition is not None
        return self._logits(self.embedding(self.shifted(tokens_BT)), condition[:, None])

    def _logits(self, embedded: Tensor, condition: Tensor) -> Tensor:
        logits: Tensor = self.output(self.mix(embedded + self.of_condition(condition)))
        return logits


def part(quick: bool) -> Part:
    """The limits, the weak decoder, a GRU with each cure, and an AAE."""
    size, epochs, fresh = (64, 1, 100) if quick else (SIZE, EPOCHS, FRESH)
    sizes = {"size": size, "epochs": epochs, "fresh": fresh}
    learners: dict[str, dict[str, Any]] = {WEAK: {}, **CURES, "AAE": {"kind": "AAE"}}
    cases = [Case(LIMITS, partial(limits, size, fresh), {"size": size, "fresh": fresh}, seeds=1)]
    for label, options in learners.items():
        compute = partial(five, size, epochs, fresh, label)
        cases.append(Case(label, compute, {**sizes, **options}, SEEDS.get(label, 2)))
    return Part(
        "Codes and their collapse",
        f"VRAEs of a mixture of 16 Markov chains, {size:,} sequences, {epochs} passes, short fits, "
        f"none at its end; {LATENT} numbers of a code; figures of {fresh:,} fresh sequences, nats "
        "a sequence. A GRU's best bound goes with an idle code, so no figure ranks alone. A number "
        "of the code is active where its mean varies by more than 0.01, which is 0.005 nats of KL. "
        "Information is at most the KL and the logarithm of N; the code of an AAE, whose width "
        "costs it nothing, has all of that. *The source*: its entropy, what order 1 pays without a "
        "code, and what a sequence tells of its chain.",
        {
            "negative_elbo": "-ELBO",
            "iw_nll": "NLL, 32 importance samples",
            "kl": "KL",
            "mutual_information": f"information, N = {fresh:,}",
            "active_units": f"active of {LATENT}",
            "order_1": "order 1 pays",
            FIT_SECONDS: "CPU-seconds of the fit",
        },
        cases,
        missed=missed,
    )


def limits(size: int, fresh_size: int, seed: int) -> Figures:
    """What the source says of itself."""
    source = MarkovMixtureSource.random(0)
    fresh = source.sample(fresh_size, seed=FRESH_SEED)
    entropy, information = source.entropy(), source.class_information()
    order_1 = counted_nll(source.sample(size, seed=1), fresh, order=1)
    return {
        "negative_elbo": Estimate(entropy.value, entropy.se, fresh_size),
        "mutual_information": Estimate(information.value, information.se, fresh_size),
        "order_1": exactly(order_1),
    }


def five(size: int, epochs: int, fresh_size: int, label: str, seed: int) -> Figures:
    """Fit, and the five figures of fresh sequences."""
    source = MarkovMixtureSource.random(0)
    learner = learner_of(source, label, seed)
    data = source.sample(size, seed=1 + seed)
    with cpu_clock() as clock:
        if isinstance(learner, VRAE) and learner.aggressive:
            catch_up(learner, data[:LAGGING], epochs)
        learner.fit(data, max_epochs=epochs)
    measured = learner if isinstance(learner, VRAE) else as_vrae(learner)
    fresh = source.sample(fresh_size, seed=FRESH_SEED)
    found = measured.evaluate(fresh)
    above = found["negative_elbo"].value + float(source.log_prob(fresh).sum(dim=1).mean())
    found["above_entropy"] = Estimate(above, found["negative_elbo"].se, fresh_size)
    return found | {FIT_SECONDS: exactly(clock.seconds)}


def catch_up(learner: VRAE, data: Sequences, epochs: int) -> None:
    """The aggressive beginning of a fit: until the information of the code stops rising."""
    learner.fit(data, max_epochs=2 * epochs, callback=lambda each: not each.lag.over)
    learner.aggressive = False


def learner_of(source: MarkovMixtureSource, label: str, seed: int) -> LatentLearner:
    """By its row."""
    torch.manual_seed(seed)
    decoder: Policy | str = LastToken(source.vocabulary, LATENT) if label == WEAK else "GRU"
    by_name: dict[str, Any] = {
        "vocabulary": source.vocabulary,
        "policy_kwargs": {"embedding": 16, "hidden": 64},
    }
    kind = AAE if label == "AAE" else VRAE
    return kind(
        decoder,
        latent=LATENT,
        encoder_kwargs=ENCODER,
        batch_size=64,
        learning_rate=4e-3,
        seed=seed,
        device="cpu",
        **(by_name if isinstance(decoder, str) else {}),
        **CURES.get(label, {}),
    )


def as_vrae(learner: LatentLearner) -> VRAE:
    """A VRAE of the same encoder and decoder, which knows the figures of a bound."""
    vrae = VRAE(learner.policy, latent=LATENT, encoder_kwargs=ENCODER, device="cpu")
    vrae.reader.load_state_dict(learner.reader.state_dict())
    return vrae


def missed(rows: list[Row]) -> list[str]:
    """Bounds below the entropy, and a weak decoder that gains nothing by z."""
    found = beyond(rows, "above_entropy")
    by_label = {row.label: row for row in rows}
    source, weak = by_label[LIMITS], by_label[WEAK]
    order_1, asked = source["order_1"], source["mutual_information"]
    for seed, figures in enumerate(weak.seeds if order_1 and asked else []):
        assert order_1 is not None
        assert asked is not None
        elbo, information = figures["negative_elbo"], figures["mutual_information"]
        if elbo.value >= order_1.value - 3 * elbo.se:
            found.append(f"{WEAK}, seed {seed}: {elbo} is not below {order_1}, that of order 1")
        elif information.value < min(order_1.value - elbo.value, asked.value):
            found.append(f"{WEAK}, seed {seed}: {information} nats do not explain {elbo}")
    return found
