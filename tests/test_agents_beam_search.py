"""Beam search on a language small enough to enumerate (A = 3, T = 4)."""

from __future__ import annotations

import pytest
import torch
from tokengym.agents import GRUPolicy, Policy, beam_search
from tokengym.envs import ForbiddenTokens, Sequences, Vocabulary

from .conftest import PolicyMaker, T, log_probs


def test_with_enough_beams_it_is_the_sorted_enumeration(
    make_policy: PolicyMaker, vocabulary: Vocabulary, all_sequences: Sequences
) -> None:
    policy = make_policy(vocabulary, 1)
    exact_B = log_probs(policy, all_sequences).detach()
    order_B = exact_B.argsort(descending=True)
    found = beam_search(policy, 100, max_length=T)
    assert found.texts == [all_sequences.texts[i] for i in order_B.tolist()]
    assert found.log_probs_BT is not None
    torch.testing.assert_close(found.log_probs_BT.sum(dim=1), exact_B[order_B])
    torch.testing.assert_close(log_probs(policy, found).detach(), exact_B[order_B])


def test_one_beam_takes_the_most_probable_token_each_time(policy: Policy) -> None:
    state, token = policy.initial_state(1), torch.tensor([policy.vocabulary.bos])
    expected: list[int] = []
    while len(expected) < T and policy.vocabulary.eos not in expected:
        logits_BA, state = policy.step(token, state)
        token = logits_BA.argmax(dim=1)
        expected.append(int(token))
    found = beam_search(policy, 1, max_length=T)
    assert found.tokens_BT[0, : len(expected)].tolist() == expected


def test_more_beams_find_nothing_worse(policy: Policy) -> None:
    best = [beam_search(policy, beams, max_length=T).log_probs_BT for beams in (1, 2, 4, 31)]
    values = [float(each[0].sum()) for each in best if each is not None]
    assert len(values) == 4
    assert values[-1] == max(values)


def test_a_constraint_and_a_prompt_hold(policy: Policy, all_sequences: Sequences) -> None:
    """Without b and from "a" on there are four sequences: a, aa, aaa, aaaa."""
    found = beam_search(policy, 31, max_length=T, prompt="a", constraint=ForbiddenTokens(["b"]))
    assert sorted(found.texts) == ["a", "aa", "aaa", "aaaa"]
    assert found.log_probs_BT is not None
    total = found.log_probs_BT.sum(dim=1).exp().sum()  # of what the constraint leaves
    torch.testing.assert_close(total, torch.ones((), dtype=torch.float64))
    assert not found.log_probs_BT[:, 0].any()


def test_a_length_penalty_ranks_by_nats_a_token(policy: Policy) -> None:
    found = beam_search(policy, 31, max_length=T, length_penalty=1.0)
    assert found.log_probs_BT is not None
    mean_B = found.log_probs_BT.sum(dim=1) / found.lengths_B
    assert torch.equal(mean_B, mean_B.sort(descending=True).values)
    assert found.texts != beam_search(policy, 31, max_length=T).texts


def test_mistakes_are_told(policy: Policy) -> None:
    with pytest.raises(ValueError, match="0 beams of 4 tokens"):
        beam_search(policy, 0, max_length=T)
    with pytest.raises(ValueError, match="4 of them the prompt's"):
        beam_search(policy, 1, max_length=T, prompt="abab")


def test_a_condition_is_not_read(vocabulary: Vocabulary) -> None:
    policy = GRUPolicy(vocabulary, embedding=3, hidden=4, condition_size=7)
    with pytest.raises(ValueError, match="policy reads one of 7 numbers; draw sequences"):
        beam_search(policy, 2, max_length=T)


def test_a_policy_that_diverged_is_told(policy: Policy) -> None:
    with torch.no_grad():
        next(iter(policy.parameters())).fill_(torch.nan)
    with pytest.raises(ValueError, match="logits hold NaN, or -inf alone"):
        beam_search(policy, 2, max_length=T)
