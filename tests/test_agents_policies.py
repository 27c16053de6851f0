"""Policies and sampling on a language small enough to enumerate (A = 3, T = 4)."""

from __future__ import annotations

import pytest
import torch
from tokengym.agents import Policy, sample
from tokengym.agents.counter_rng import Uniforms, fold_in, philox
from tokengym.envs import Sequences, Vocabulary
from tokengym.envs.categorical import sample_categorical

from .conftest import PolicyMaker, T, log_probs


def test_philox_known_answers() -> None:
    """The published test vectors of Philox4x32-10."""
    full = 0xFFFFFFFF
    expected = (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    assert philox((0, 0, 0, 0), (0, 0)) == expected
    ones = (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)
    assert philox((full,) * 4, (full, full)) == ones
    word = torch.full((2,), full)
    tensors = philox((word, word, word, word), (full, full))
    assert tuple(int(found[0]) for found in tensors) == ones


def test_uniforms_depend_on_their_counter_alone() -> None:
    b_R, n_R = torch.tensor([0, 1, 5, 1]), torch.tensor([0, 0, 2, 3])
    many = Uniforms(7, b_R, 2, n_R)
    one = Uniforms(7, b_R[2:3], 2, n_R[2:3])
    for step in (0, 3, 4, 9):
        assert many.at(step, torch.float64)[2] == one.at(step, torch.float64)[0]
        chosen = many.select(torch.tensor([3, 1]))
        assert chosen.at(step, torch.float64).tolist() == [
            many.at(step, torch.float64)[i].item() for i in (3, 1)
        ]
    assert fold_in(1, 2, 3) != fold_in(1, 3, 2)


@pytest.mark.parametrize("actions", [5, 511, 512, 700, 50_000])
def test_the_inverse_cdf_at_its_ends(actions: int) -> None:
    ends = torch.tensor([0.0, 0.5, 1.0 - 2.0**-24])
    for first, last in ((1, 2), (1, actions - 2), (0, actions - 1), (actions - 3, actions - 2)):
        logits = torch.full((3, actions), -torch.inf)
        logits[:, [first, last]] = torch.tensor([0.0, 1.0])
        assert sample_categorical(logits, ends).tolist() == [first, last, last]
    for only in (0, 3, actions - 1):
        one_hot = torch.full((3, actions), -torch.inf)
        one_hot[:, only] = 0.0
        assert sample_categorical(one_hot, ends).tolist() == [only] * 3


def test_a_large_vocabulary_is_drawn_from_as_its_running_sum_says() -> None:
    """Blocks of 64 against one running sum in float64, with tokens that may not be drawn."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(200, 1000, generator=generator, dtype=torch.float64)
    logits[torch.rand(200, 1000, generator=generator) < 0.9] = -torch.inf
    logits[:, 500] = 0.0
    uniforms = torch.rand(200, generator=generator, dtype=torch.float64)
    cdf = logits.softmax(dim=1).cumsum(dim=1)
    expected = (cdf > uniforms[:, None] * cdf[:, -1:]).int().argmax(dim=1)
    assert sample_categorical(logits, uniforms).tolist() == expected.tolist()


@pytest.mark.parametrize("padding", [0, 600])
def test_the_sampler_is_the_softmax(padding: int) -> None:
    """Chi-square over 7 tokens: 22.46 is exceeded with probability 0.001."""
    n, logits = 50_000, torch.tensor([0.3, -1.0, 2.0, 0.0, 0.7, -0.4, 1.1])
    logits = torch.cat([torch.full((padding,), -torch.inf), logits])
    uniforms = Uniforms(3, torch.arange(n), 0, torch.zeros(n, dtype=torch.int64))
    drawn = sample_categorical(logits.repeat(n, 1), uniforms.at(1, torch.float32))
    expected = logits.softmax(0)[padding:] * n
    counts = drawn.bincount(minlength=padding + 7)
    assert counts[:padding].sum() == 0
    assert ((counts[padding:] - expected) ** 2 / expected).sum() < 22.46


def test_probabilities_of_all_sequences_sum_to_one(
    make_policy: PolicyMaker, vocabulary: Vocabulary, all_sequences: Sequences
) -> None:
    total = log_probs(make_policy(vocabulary, 1), all_sequences).exp().sum()
    torch.testing.assert_close(total, torch.ones((), dtype=torch.float64), atol=1e-12, rtol=0)


def test_chain_rule_steps_equal_the_one_pass(
    make_policy: PolicyMaker, vocabulary: Vocabulary, all_sequences: Sequences
) -> None:
    policy = make_policy(vocabulary, 2)
    logits_BTA = policy(all_sequences.tokens_BT)
    state = policy.initial_state(len(all_sequences))
    token_B = torch.full((len(all_sequences),), vocabulary.bos)
    for t in range(T):
        logits_BA, state = policy.step(token_B, state)
        torch.testing.assert_close(logits_BA, logits_BTA[:, t], atol=1e-12, rtol=0)
        token_B = all_sequences.tokens_BT[:, t]


def test_branches_of_a_state_go_on_as_if_alone(
    make_policy: PolicyMaker, vocabulary: Vocabulary, all_sequences: Sequences
) -> None:
    """Uneven branches of three prefixes, some rows dropped, then branched once more."""
    policy = make_policy(vocabulary, 3)
    tokens_BT = all_sequences.tokens_BT[-3:]
    state = policy.initial_state(3)
    state = policy.step(torch.full((3,), vocabulary.bos), state)[1]
    rows = torch.tensor([0, 0, 1, 0, 2, 2])
    state = policy.branch(state, rows)
    state = policy.step(tokens_BT[rows, 0], state)[1]
    kept = torch.tensor([1, 2, 5, 3])
    rows, state = rows[kept], policy.select(state, kept)
    state = policy.step(tokens_BT[rows, 1], state)[1]
    again = torch.tensor([3, 0, 0, 2, 1])
    rows, state = rows[again], policy.branch(state, again)
    logits_RA, state = policy.step(tokens_BT[rows, 2], state)
    expected_BTA = policy(tokens_BT)
    torch.testing.assert_close(logits_RA, expected_BTA[rows, 3], atol=1e-12, rtol=0)


def test_neither_padding_nor_company_changes_a_sequence(
    make_policy: PolicyMaker, vocabulary: Vocabulary, all_sequences: Sequences
) -> None:
    policy = make_policy(vocabulary, 3)
    together = log_probs(policy, all_sequences.padded(T + 5))
    alone = torch.cat([log_probs(policy, all_sequences[[i]]) for i in range(len(all_sequences))])
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=0)


def test_causality(make_policy: PolicyMaker, vocabulary: Vocabulary) -> None:
    policy = make_policy(vocabulary, 4)
    first = torch.tensor([[0, 1, 0, 1]])
    second = torch.tensor([[0, 1, 1, 1]])
    assert torch.equal(policy(first)[:, :3], policy(second)[:, :3])


def test_step_follows_a_change_of_the_weights(
    make_policy: PolicyMaker, vocabulary: Vocabulary
) -> None:
    policy = make_policy(vocabulary, 5)
    token, state = torch.tensor([0]), policy.initial_state(1)
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.1)
    with torch.no_grad():
        before = policy.step(token, state)[0]
    policy(torch.tensor([[0, 1]])).square().sum().backward()
    optimizer.step()
    with torch.no_grad():
        fast = policy.step(token, state)[0]
    slow = policy.step(token, state)[0]  # with gradients nothing is cached
    assert not torch.allclose(before, fast)
    torch.testing.assert_close(fast, slow.detach(), atol=1e-12, rtol=0)


def test_sampled_frequencies_match(policy: Policy, all_sequences: Sequences) -> None:
    """Chi-square over the sequences expected at least 5 times; threshold p = 0.001."""
    from scipy.stats import chi2

    n = 20_000
    expected = log_probs(policy, all_sequences).exp().detach() * n
    drawn = sample(policy, n, max_length=T, seed=1)
    index = {tuple(row): i for i, row in enumerate(all_sequences.tokens_BT.tolist())}
    found = torch.tensor([index[tuple(row)] for row in drawn.tokens_BT.tolist()])
    counts = found.bincount(minlength=len(all_sequences)).double()
    enough = expected > 5
    statistic = ((counts - expected) ** 2 / expected)[enough].sum().item()
    assert statistic < chi2.ppf(0.999, int(enough.sum()) - 1)


def test_sampling_does_not_depend_on_tiles_or_company(policy: Policy) -> None:
    whole = sample(policy, 33, max_length=9, seed=5)
    tiled = sample(policy, 33, max_length=9, seed=5, tile_rows=4)
    fewer = sample(policy, 7, max_length=9, seed=5)
    assert torch.equal(whole.tokens_BT, tiled.tokens_BT)
    assert torch.equal(whole.tokens_BT[:7], fewer.tokens_BT)
    assert not torch.equal(whole.tokens_BT, sample(policy, 33, max_length=9, seed=6).tokens_BT)


def test_log_probs_of_samples_are_those_of_teacher_forcing(policy: Policy) -> None:
    drawn = sample(policy, 50, max_length=T, seed=2)
    assert drawn.log_probs_BT is not None
    torch.testing.assert_close(
        drawn.log_probs_BT.sum(dim=1), log_probs(policy, drawn).detach(), atol=1e-12, rtol=0
    )


def test_prompts_stay(policy: Policy) -> None:
    drawn = sample(policy, 20, max_length=T, prompt="ba")
    assert all(text.startswith("ba") for text in drawn.texts)
    with pytest.raises(ValueError, match="4 tokens and max_length is 4"):
        sample(policy, 1, max_length=T, prompt="abab")
    with pytest.raises(ValueError, match="temperature is 0"):
        sample(policy, 1, max_length=T, temperature=0)
