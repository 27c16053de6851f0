"""Temperature, top-k and nucleus: by hand, and against enumeration (A = 3, T = 4)."""

# Shapes: S = all sequences of the small language, T steps, A actions
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokengym.agents import Policy, SeqGAN, sample
from tokengym.agents.sharpening import Sharpening
from tokengym.envs import Constraint, Sequences, Task, TokenEnv, Vocabulary
from tokengym.envs.constraints import MinimumLength
from tokengym.rewards import ConvDiscriminator

from .conftest import T


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.15, 0.5, 0.05, 0.3]),
        ({"top_k": 2}, [0.0, 0.625, 0.0, 0.375]),
        ({"top_k": 9}, [0.15, 0.5, 0.05, 0.3]),
        ({"top_p": 0.01}, [0.0, 1.0, 0.0, 0.0]),
        ({"top_p": 0.79}, [0.0, 0.625, 0.0, 0.375]),
        ({"top_p": 0.81}, [0.15 / 0.95, 0.5 / 0.95, 0.0, 0.3 / 0.95]),
        ({"top_p": 1.0}, [0.15, 0.5, 0.05, 0.3]),
        ({"temperature": 0.5, "top_p": 0.68}, [0.0, 1.0, 0.0, 0.0]),  # 0.25 / 0.365 is 0.685
        ({"top_k": 2, "top_p": 0.6}, [0.0, 1.0, 0.0, 0.0]),  # of the two, the first has 0.625
    ],
)
def test_sharpening_by_hand(options: dict[str, Any], expected: list[float]) -> None:
    logits_1A = torch.tensor([[0.15, 0.5, 0.05, 0.3]]).log() + 7
    found = Sharpening(**options)(logits_1A).softmax(dim=1)
    torch.testing.assert_close(found, torch.tensor([expected]))


def test_of_equal_tokens_the_lower_ids_are_kept() -> None:
    logits_RA = torch.zeros(2, 5)
    logits_RA[1, 0] = -torch.inf
    for options in ({"top_k": 2}, {"top_p": 0.39}):
        kept = ~Sharpening(**options)(logits_RA).isneginf()
        assert kept[0].nonzero()[:, 0].tolist() == [0, 1]
        assert kept[1].nonzero()[:, 0].tolist() == [1, 2]


@pytest.mark.parametrize("options", [{"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}])
def test_out_of_range(options: dict[str, Any], policy: Policy) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))} is"):
        sample(policy, 2, max_length=3, **options)


def enumerated(
    policy: Policy, everything: Sequences, constraint: Constraint | None, options: dict[str, Any]
) -> list[float]:
    """The probability of every sequence, token by token in plain Python."""
    logits_STA = policy(everything.tokens_BT).detach() / options.get("temperature", 1.0)
    allowed_STA = torch.ones_like(logits_STA, dtype=torch.bool)
    if constraint is not None:
        allowed_STA = constraint.bound(policy.vocabulary, T).along(everything.tokens_BT)
    found = []
    for s, length in enumerate(everything.lengths_B.tolist()):
        total = 1.0
        for t in range(length):
            p = (logits_STA[s, t].exp() * allowed_STA[s, t]).tolist()
            kept: list[int] = []
            order = sorted(range(len(p)), key=lambda a: -p[a])[: options.get("top_k", len(p))]
            mass = sum(p[a] for a in order)
            for a in order:
                if sum(p[a] for a in kept) < options.get("top_p", 1.0) * mass and p[a] > 0:
                    kept.append(a)
            token = int(everything.tokens_BT[s, t])
            total *= p[token] / sum(p[a] for a in kept) if token in kept else 0.0
        found.append(total)
    return found


@pytest.mark.parametrize("constraint", [None, MinimumLength(2)], ids=str)
@pytest.mark.parametrize(
    "options",
    [{"top_k": 2}, {"top_p": 0.7}, {"top_k": 2, "top_p": 0.8, "temperature": 1.5}],
    ids=str,
)
def test_what_is_written_has_the_enumerated_distribution(
    policy: Policy, all_sequences: Sequences, constraint: Constraint | None, options: dict[str, Any]
) -> None:
    """Frequencies by chi-square, exceeded with probability 0.001; log-probabilities exactly."""
    from scipy.stats import chi2

    p = enumerated(policy, all_sequences, constraint, options)
    assert sum(p) == pytest.approx(1.0, abs=1e-12)
    n = 4000
    found = sample(policy, n, max_length=T, seed=5, constraint=constraint, **options)
    rows = {tuple(row): s for s, row in enumerate(all_sequences.tokens_BT.tolist())}
    drawn = [rows[tuple(row)] for row in found.tokens_BT.tolist()]
    assert found.log_probs_BT is not None
    expected = torch.tensor([p[s] for s in drawn], dtype=torch.float64).log()
    torch.testing.assert_close(found.log_probs_BT.sum(dim=1), expected)
    counts = torch.tensor(drawn).bincount(minlength=len(p))
    mean = n * torch.tensor(p)
    likely = mean >= 5
    assert counts[torch.tensor(p) == 0].sum() == 0
    statistic = float(((counts - mean)[likely] ** 2 / mean[likely]).sum())
    assert statistic < chi2.ppf(0.999, int(likely.sum()))


def test_agents_write_sharper_too(vocabulary: Vocabulary, tmp_path: Path) -> None:
    data = vocabulary.encode(["ab", "ba"])
    reward = ConvDiscriminator(embedding=4, widths=(1,), filters=(4,))
    task = Task(
        name="Small", vocabulary=vocabulary, max_length=T, reward=reward, load_data=lambda: data
    )
    agent = SeqGAN("GRU", TokenEnv(task), seed=0, policy_kwargs={"hidden": 4, "embedding": 4})
    greedy = agent.sample(4, seed=1, temperature=1e-9)
    for options in ({"top_k": 1}, {"top_p": 1e-9}):
        found = agent.sample(4, seed=1, **options)
        assert torch.equal(found.tokens_BT, greedy.tokens_BT)
