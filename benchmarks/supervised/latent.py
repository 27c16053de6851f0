"""Codes of a mixture of 16 Markov chains: what a weak decoder gains by z, and collapse.

One step of context costs 44.0 nats a sequence (order 1, without z); the source's entropy is 31.6,
and 2.77 nats of a sequence say which chain it is. A decoder that reads the last token and z alone
can get below order 1 through z only. A GRU can do without z: trained plainly it leaves the code
idle (KL and information near 0), with a likelihood as good as any; each cure pays in nats for the
information it keeps, so five figures stand together.

Floor: the weak decoder's negative ELBO is three standard errors below order 1, with information of
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
from tokengym.envs import MarkovMixtureSource, Vocabulary
from tokengym.train.supervised import VRAE
from torch import Tensor, nn

from .case import Case, Row, cpu_clock
from .limits import order_1_nll

SIZE, EPOCHS, LATENT = 20_000, 4, 8
_FRESH, _FRESH_SEED = 2000, 2**31 - 1
CURES: dict[str, dict[str, Any]] = {
    "plain": {},
    "linear annealing": {"annealing": "linear", "annealing_steps": 600},
    "cyclical annealing": {"annealing": "cyclical", "annealing_steps": 600},
    "free bits": {"free_bits": 0.35},
    "inputless": {"word_keep": 0.0},
    "autoencoder first": {"autoencoder_steps": 150, "free_bits": 0.35},
}


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


def cases() -> list[Case]:
    """The weak decoder, and a GRU with each cure."""
    cures = [Case(f"VRAE {name}", partial(cure, name=name)) for name in CURES]
    return [Case("VRAE weak decoder", weak), *cures]


def weak(seed: int) -> list[Row]:
    """A decoder of order 1 with z, below order 1."""
    source = MarkovMixtureSource.random(0)
    torch.manual_seed(seed)
    decoder = LastToken(source.vocabulary, LATENT)
    return five(source, decoder, seed, {}, bound=True)


def cure(seed: int, *, name: str) -> list[Row]:
    """A GRU decoder, which can do without z."""
    return five(MarkovMixtureSource.random(0), "GRU", seed, CURES[name], bound=False)


def five(
    source: MarkovMixtureSource,
    decoder: Policy | str,
    seed: int,
    options: dict[str, Any],
    *,
    bound: bool,
) -> list[Row]:
    """Fit, and the five figures of fresh sequences."""
    data, fresh = source.sample(SIZE, seed=1 + seed), source.sample(_FRESH, seed=_FRESH_SEED)
    if isinstance(decoder, str):
        sizes = {"embedding": 16, "hidden": 64}
        options = {**options, "vocabulary": source.vocabulary, "policy_kwargs": sizes}
    learner = VRAE(
        decoder,
        latent=LATENT,
        encoder_kwargs={"embedding": 16, "hidden": 32},
        batch_size=64,
        learning_rate=4e-3,
        seed=seed,
        device="cpu",
        **options,
    )
    with cpu_clock() as clock:
        learner.fit(data, max_epochs=EPOCHS)
    found = learner.evaluate(fresh)
    entropy, order_1 = source.entropy().value, order_1_nll(data, fresh)
    elbo, information = found["negative_elbo"], found["mutual_information"]
    good = elbo.value >= entropy - 3 * elbo.se
    limit = f">= {entropy:.2f}"
    if bound:
        enough = min(order_1 - elbo.value, source.class_information().value)
        good &= elbo.value < order_1 - 3 * elbo.se and information.value >= enough
        limit += f", < {order_1:.2f}"
    limits = {"negative_elbo": limit, "mutual_information": f"N = {information.n}"}
    rows = [
        Row(name, found[name].value, found[name].se, limits.get(name, ""))
        for name in ("iw_nll", "kl", "mutual_information")
    ]
    units = Row("active_units", found["active_units"].value, None, f"of {LATENT}")
    first = Row("negative_elbo", elbo.value, elbo.se, limit, good, clock.seconds)
    return [first, *rows, units]
