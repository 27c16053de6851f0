"""Which samples to ask about: some at random, the rest by what an answer would tell.

What an answer is expected to tell about the model is the mutual information of the two,

    I = H[mean over members of p_m] - mean over members of H[p_m],   in nats,

with p_m the probabilities of the answers by member m: BALD (Houlsby et al., 2011, "Bayesian active
learning for classification and preference learning", arXiv 1112.5745, eq. 2). It is 0 where the
members agree, however uncertain the answer, and at most the log of the number of answers.

What is chosen so is no fair sample of what the policy writes; hence the share at random, which
accuracy and the scale of the reward are computed from. What is asked again, a pair the other way
round, tells how far answers can be relied on.
"""

# Shapes: M members, B samples, C candidates, K answers
from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .preference import PreferenceModel
from .ratings import Kind

_CANDIDATES = 1024


@dataclass(frozen=True)
class Asked:
    """What is to be asked, as rows of a batch.

    Args:
        left: the sample (on the left).
        right: the one on the right; None of a form without pairs.
        kind: why.
    """

    left: int
    right: int | None
    kind: Kind


def information(log_probs_MCK: Tensor) -> Tensor:
    """BALD: what each of C answers is expected to tell about which member is right; (C,), nats."""
    probs_MCK = log_probs_MCK.exp()
    entropy_C: Tensor = torch.special.entr(probs_MCK.mean(dim=0)).sum(dim=1)
    entropy_MC: Tensor = torch.special.entr(probs_MCK).sum(dim=2)
    return (entropy_C - entropy_MC.mean(dim=0)).clamp(min=0)


def distinct(
    texts: Sequence[str], key: Callable[[str], Hashable | None], known: set[Hashable]
) -> list[int]:
    """The rows of texts that are each another thing, and none that is known; those are noted."""
    rows = []
    for row, text in enumerate(texts):
        name = key(text)
        if name is not None and name not in known:
            known.add(name)
            rows.append(row)
    return rows


def choose(
    model: PreferenceModel, tokens_BT: Tensor, count: int, random_share: float
) -> list[Asked]:
    """At most ``count`` questions about B different samples, none of which is in two of them.

    Random numbers are torch's own generator's: each question is one at random with probability
    ``random_share``, and all are while the model knows nothing.

    Args:
        model: what is known.
        tokens_BT: the samples.
        count: how many to ask.
        random_share: in [0, 1].
    """
    size = 2 if model.form == "pair" else 1
    count = min(count, len(tokens_BT) // size)
    order_B = torch.randperm(len(tokens_BT))
    at_random = int((torch.rand(count) < random_share).sum()) if model.temperature else count
    first, rest_B = order_B[: at_random * size].tolist(), order_B[at_random * size :]
    asked = [_asked(first[i : i + size], "random") for i in range(0, len(first), size)]
    if count > at_random:
        for places in _informative(model, tokens_BT[rest_B], count - at_random):
            asked.append(_asked(rest_B[places].tolist(), "informed"))
    return asked


def _informative(model: PreferenceModel, tokens_BT: Tensor, count: int) -> list[Tensor]:
    """The rows of the most informative candidates, the best first, each sample in at most one."""
    B = len(tokens_BT)
    location_MC = model.utilities(tokens_BT) * model.temperature
    rows_C1 = torch.arange(B)[:, None]
    if model.form == "pair":
        rows_C1 = torch.combinations(torch.arange(B))
        rows_C1 = rows_C1[torch.randperm(len(rows_C1))[:_CANDIDATES]]
        flipped_C = torch.rand(len(rows_C1)) < 0.5  # which side is which must say nothing
        rows_C1[flipped_C] = rows_C1[flipped_C].flip(1)
        location_MC = location_MC[:, rows_C1[:, 0]] - location_MC[:, rows_C1[:, 1]]
    told_C = information(model.answer_log_probs(location_MC)).cpu()
    found: list[Tensor] = []
    used: set[int] = set()
    for place in told_C.argsort(descending=True, stable=True).tolist():
        rows = rows_C1[place]
        if len(found) < count and used.isdisjoint(rows.tolist()):
            used.update(rows.tolist())
            found.append(rows)
    return found


def _asked(rows: list[int], kind: Kind) -> Asked:
    return Asked(rows[0], rows[1] if len(rows) > 1 else None, kind)
