"""Policies and sampling on a language small enough to enumerate (A = 3, T = 4)."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import cast

import pytest
import torch
from tokengym.agents import GRUPolicy, LSTMPolicy, Policy, TransformerPolicy, sample
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


def test_T2_probabilities_of_all_sequences_sum_to_one(
    make_policy: PolicyMaker, vocabulary: Vocabulary, all_sequences: Sequences
) -> None:
    total = log_probs(make_policy(vocabulary, 1), all_sequences).exp().sum()
    torch.testing.assert_close(total, torch.ones((), dtype=torch.float64), atol=1e-12, rtol=0)


def test_T1_chain_rule_steps_equal_the_one_pass(
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
    """Uneven branches of three prefixes, some rows dropped, one doubled, then branched again."""
    policy = make_policy(vocabulary, 3)
    tokens_BT = all_sequences.tokens_BT[-3:]
    state = policy.initial_state(3)
    state = policy.step(torch.full((3,), vocabulary.bos), state)[1]
    rows = torch.tensor([0, 0, 1, 0, 2, 2])
    state = policy.branch(state, rows)
    state = policy.step(tokens_BT[rows, 0], state)[1]
    kept = torch.tensor([1, 2, 2, 5, 3])
    rows, state = rows[kept], policy.select(state, kept)
    state = policy.step(tokens_BT[rows, 1], state)[1]
    again = torch.tensor([4, 0, 0, 3, 2, 1])
    rows, state = rows[again], policy.branch(state, again)
    logits_RA, state = policy.step(tokens_BT[rows, 2], state)
    expected_BTA = policy(tokens_BT)
    torch.testing.assert_close(logits_RA, expected_BTA[rows, 3], atol=1e-12, rtol=0)


def test_T1_neither_padding_nor_company_changes_a_sequence(
    make_policy: PolicyMaker, vocabulary: Vocabulary, all_sequences: Sequences
) -> None:
    policy = make_policy(vocabulary, 3)
    together = log_probs(policy, all_sequences.padded(T + 5))
    alone = torch.cat([log_probs(policy, all_sequences[[i]]) for i in range(len(all_sequences))])
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", [GRUPolicy, LSTMPolicy])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_step_reads_what_is_embedded_already(
    vocabulary: Vocabulary, kind: type[GRUPolicy | LSTMPolicy], layers: int
) -> None:
    """A token's embedding gives what the token gives, with a gradient to what is embedded."""
    policy = kind(vocabulary, embedding=5, hidden=7, layers=layers)
    state = policy.initial_state(3)
    tokens_B = torch.tensor([0, 2, vocabulary.bos])
    expected_BA, expected = policy.step(tokens_B, state)
    embedded_BE = policy.embedding(tokens_B).detach().requires_grad_()
    logits_BA, found = policy.step_embedded(embedded_BE, state)
    assert torch.equal(logits_BA, expected_BA)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    logits_BA[1].sum().backward()
    assert embedded_BE.grad is not None
    assert embedded_BE.grad.ne(0).any(dim=1).tolist() == [False, True, False]


def test_T3_causality(make_policy: PolicyMaker, vocabulary: Vocabulary) -> None:
    policy = make_policy(vocabulary, 4)
    first = torch.tensor([[0, 1, 0, 1]])
    second = torch.tensor([[0, 1, 1, 1]])
    assert torch.equal(policy(first)[:, :3], policy(second)[:, :3])


@pytest.mark.parametrize("kind", [GRUPolicy, LSTMPolicy])
@pytest.mark.parametrize("layers", [1, 2])
def test_T8_a_state_carried_across_chunks_is_one_long_pass(
    kind: type[GRUPolicy] | type[LSTMPolicy], layers: int, vocabulary: Vocabulary
) -> None:
    policy = kind(vocabulary, embedding=5, hidden=7, layers=layers).double().eval()
    inputs_BT = torch.randint(0, 3, (4, 12), generator=torch.Generator().manual_seed(0))
    whole_BTH, last = policy.read(inputs_BT, policy.initial_state(4))
    state = policy.initial_state(4)
    parts = []
    for chunk_BT in inputs_BT.split((1, 5, 6), dim=1):
        part_BTH, state = policy.read(chunk_BT, state)
        parts.append(part_BTH)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole_BTH, atol=1e-12, rtol=0)
    torch.testing.assert_close(state, last, atol=1e-12, rtol=0)
    for token_B in inputs_BT.unbind(dim=1):  # steps go on from it, too: the last one repeats it
        logits_BA, state = policy.step(token_B, state)
    read_BTH, _ = policy.read(inputs_BT, last)
    torch.testing.assert_close(policy.output(read_BTH[:, -1]), logits_BA, atol=1e-12, rtol=0)


def test_variational_dropout_drops_the_same_units_at_every_step(vocabulary: Vocabulary) -> None:
    """Gal and Ghahramani (2016): of each sequence its own; kept ones are scaled to the same mean.

    4,000 coins of the last layer: 4 standard errors, a false alarm once in 16,000.
    """
    policy = GRUPolicy(vocabulary, embedding=5, hidden=100, dropout=0.25, variational=True)
    tokens_BT = torch.zeros(40, 6, dtype=torch.int64)
    torch.manual_seed(0)
    dropped_BTH = policy.train().features(tokens_BT) == 0
    assert torch.equal(dropped_BTH, dropped_BTH[:, :1].expand_as(dropped_BTH))
    assert not torch.equal(dropped_BTH[0], dropped_BTH[1])
    share = float(dropped_BTH[:, 0].double().mean())
    assert abs(share - 0.25) < 4 * (0.25 * 0.75 / 4000) ** 0.5
    ones = torch.ones(2, 3, 8)
    assert set(policy.dropout(ones).unique().tolist()) <= {0.0, float(torch.tensor(1 / 0.75))}
    assert not (policy.eval().features(tokens_BT) == 0).any()


@pytest.mark.parametrize(
    "policy",
    [
        lambda v: GRUPolicy(v, embedding=6, hidden=6, tied=True),
        lambda v: TransformerPolicy(v, width=8, heads=2, tied=True),
    ],
    ids=["GRU", "Transformer"],
)
def test_a_tied_output_has_the_embeddings_of_the_actions(
    policy: Callable[[Vocabulary], Policy], vocabulary: Vocabulary, all_sequences: Sequences
) -> None:
    """One matrix: saved once, moved by both gradients, the same in a copy and in a step."""
    made = policy(vocabulary).double().eval()
    embedding = cast(torch.nn.Embedding, made.embedding).weight
    torch.testing.assert_close(made.output.weight, embedding[:3])
    assert "output.weight" not in made.state_dict()
    assert sum(w.shape == embedding.shape for w in made.parameters()) == 1
    torch.testing.assert_close(log_probs(made, all_sequences).exp().sum().item(), 1.0)
    copy = deepcopy(made)
    with torch.no_grad():
        embedding.add_(1.0)
    torch.testing.assert_close(made.output.weight, embedding[:3])
    assert not torch.equal(copy.output.weight, made.output.weight)
    drawn = sample(made, 20, max_length=T, seed=0)
    assert drawn.log_probs_BT is not None
    torch.testing.assert_close(drawn.log_probs_BT.sum(dim=1), log_probs(made, drawn).detach())
    with pytest.raises(ValueError, match="embedding 5 and hidden 6 to be equal"):
        GRUPolicy(vocabulary, embedding=5, hidden=6, tied=True)


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


def test_T5_sampled_frequencies_match(policy: Policy, all_sequences: Sequences) -> None:
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
