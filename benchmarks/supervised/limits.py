"""Sources whose entropy is known: how far above it a fit stays.

The gap is the mean of log p_source - log p_model over the same fresh samples: an unbiased estimate
of KL(source || model), with little spread. No model may be below 0 by more than three standard
errors. The distance to the limit is gap / (NLL of an order-1 model - entropy), 0 at the limit.

Floor: Markov-1 with 10 states, at most 3e-4 nats a token within 30 CPU-seconds.
"""

# Shapes: B sequences, T steps, V = A + 2 inputs
from __future__ import annotations

import torch
from tokengym.agents import sample
from tokengym.envs import (
    CopySource,
    DyckSource,
    HMMSource,
    MarkovSource,
    Sequences,
    StepSource,
)
from tokengym.train.metrics import Estimate
from tokengym.train.supervised import Learner, TeacherForcing
from tokengym.train.supervised.exposure import (
    divergence,
    ngram_distance,
    nll_by_position,
    pinsker_bound,
    state_accuracy,
)

from .case import Case, Row, cpu_clock

FRESH = 20_000
FLOOR, WITHIN = 3e-4, 30.0  # nats a token, CPU-seconds
_FRESH_SEED = 2**31 - 1


def cases() -> list[Case]:
    """Every source, and the exposure bias of the first."""
    return [
        Case("Markov-1", markov),
        Case("HMM", lambda seed: distance("HMM", HMMSource.random(0), seed, size=100_000)),
        Case("Dyck-3", lambda seed: distance("Dyck-3", DyckSource(), seed, size=40_000)),
        Case("Copy", lambda seed: distance("Copy", CopySource(), seed, size=50_000)),
        Case("exposure", exposure),
    ]


def markov(seed: int) -> list[Row]:
    """GRU-32 on fresh sequences of a chain with 10 states."""
    source = MarkovSource.random(0)
    with cpu_clock() as clock:
        learner = gru(source, seed, hidden=32)
        learner.fit(source.sample(480_000, seed=1 + seed), max_epochs=1)
    fresh = source.sample(FRESH, seed=_FRESH_SEED)
    gap = per_token(divergence(source, learner.policy, fresh), fresh)
    good = -3 * gap.se <= gap.value <= FLOOR and clock.seconds <= WITHIN
    limit = f"<= {FLOOR:.0e} within {WITHIN:.0f} s"
    return [Row("GRU-32: gap, nats a token", gap.value, gap.se, limit, good, clock.seconds)]


def distance(name: str, source: StepSource, seed: int, size: int) -> list[Row]:
    """GRU-64 for one pass; the gap, and the distance to the limit."""
    data, fresh = source.sample(size, seed=1 + seed), source.sample(FRESH // 4, seed=_FRESH_SEED)
    with cpu_clock() as clock:
        learner = gru(source, seed, hidden=64, batch_size=64, learning_rate=0.01).fit(
            data, max_epochs=1
        )
    gap = divergence(source, learner.policy, fresh)
    order_1 = order_1_nll(data, fresh)
    scale = order_1 - source.entropy().value
    each = per_token(gap, fresh)
    honest = gap.value >= -3 * gap.se
    return [
        Row("GRU-64: gap, nats a token", each.value, each.se, ">= 0", honest, clock.seconds),
        Row("GRU-64: distance to the limit", gap.value / scale, gap.se / scale, "0; order 1: 1"),
    ]


def exposure(seed: int) -> list[Row]:
    """What a short fit writes far beyond the training length, and its hidden states."""
    source, T = MarkovSource.random(0), 20
    with cpu_clock() as clock:
        learner = gru(source, seed, hidden=32, learning_rate=0.01)
        learner.fit(source.sample(40_000, seed=1), max_epochs=1)
    rows: list[Row] = []
    for times in (1, 2, 5, 10):
        long = MarkovSource(source.transition_KK, length=times * T)
        real, again = long.sample(2000, seed=2), long.sample(2000, seed=3)
        own = sample(learner.policy, 2000, max_length=times * T, seed=seed)
        last = nll_by_position(long, own)[-1]
        limit = f"entropy rate {source.entropy_rate():.4f}"
        rows.append(Row(f"{times}x: source's NLL at the end", last.value, last.se, limit))
        found, noise = (ngram_distance(real, other, 2, (times - 1) * T) for other in (own, again))
        limit = f"two sets of the source {noise:.4f}"
        rows.append(Row(f"{times}x: bigram distance", found, None, limit))
    real, own = source.sample(4000, seed=2), sample(learner.policy, 4000, max_length=T, seed=seed)
    accuracy = state_accuracy(learner.policy, real, own)
    bound = pinsker_bound(divergence(source, learner.policy, real).value)
    good = accuracy.value <= bound + 3 * accuracy.se
    limit = f"Pinsker <= {bound:.4f}"
    what = "accuracy on hidden states"
    return [*rows, Row(what, accuracy.value, accuracy.se, limit, good, clock.seconds)]


def gru(
    source: StepSource,
    seed: int,
    *,
    hidden: int,
    batch_size: int = 256,
    learning_rate: float = 0.02,
) -> Learner:
    """A GRU that is taught by teacher forcing."""
    return TeacherForcing(
        "GRU",
        vocabulary=source.vocabulary,
        policy_kwargs={"embedding": 16, "hidden": hidden},
        batch_size=batch_size,
        learning_rate=learning_rate,
        schedule="cosine",
        seed=seed,
        device="cpu",
    )


def per_token(gap: Estimate, fresh: Sequences) -> Estimate:
    """Nats a sequence as nats a token."""
    length = fresh.num_tokens / len(fresh)
    return Estimate(gap.value / length, gap.se / length, gap.n)


def order_1_nll(data: Sequences, fresh: Sequences) -> float:
    """Nats a sequence of counted pairs of neighbours, one added to each count."""
    V, bos = data.vocabulary.num_inputs, data.vocabulary.bos

    def pairs(sequences: Sequences) -> torch.Tensor:
        tokens_BT = sequences.tokens_BT
        before_BT = torch.cat([torch.full_like(tokens_BT[:, :1], bos), tokens_BT[:, :-1]], dim=1)
        return (before_BT * V + tokens_BT)[sequences.mask_BT]

    counts = pairs(data).bincount(minlength=V * V).double().view(V, V)[:, : data.vocabulary.bos] + 1
    log_p = (counts / counts.sum(dim=1, keepdim=True)).log()
    seen = pairs(fresh)
    return -float(log_p[seen // V, seen % V].sum()) / len(fresh)
