"""Sources: what they sample, what they say of it, and their entropies agree."""

# Shapes: B sequences, T steps, A actions
from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import tokengym
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokengym.envs import (
    CopySource,
    DyckSource,
    GRUOracle,
    HMMSource,
    LSTMOracle,
    MarkovMixtureSource,
    MarkovSource,
    Sequences,
    SourceLogProb,
    StepSource,
    TransformerOracle,
    Vocabulary,
    make_task,
)
from tokengym.envs.sources import IMPOSSIBLE

SMALL: list[StepSource] = [
    MarkovSource.random(1, states=3, length=4),
    HMMSource.random(1, hidden=2, symbols=3, length=4),
    MarkovMixtureSource.random(1, classes=2, states=3, length=4),
    DyckSource(types=1, length=7),
    DyckSource(types=2, depth=1, length=5),
    CopySource(symbols=2, shortest=1, longest=2),
    LSTMOracle.random(1, num_tokens=3, embedding=4, hidden=4, length=4),
    GRUOracle(1, num_tokens=3, embedding=4, hidden=4, length=4),
    TransformerOracle(1, num_tokens=3, width=8, heads=2, length=4),
]
IDS = [
    *("tokengym/Markov-v0", "tokengym/HMM-v0", "tokengym/MarkovMixture-v0"),
    *("tokengym/Dyck-v0", "tokengym/Copy-v0"),
]


def name(source: object) -> str:
    return type(source).__name__


def enumerated(source: StepSource) -> tuple[Sequences, torch.Tensor]:
    """All rows of tokens that end or reach the length, and their probabilities."""
    A, eos = source.vocabulary.num_actions, source.vocabulary.eos
    rows = []
    for row in itertools.product(range(A), repeat=source.length):
        end = row.index(eos) + 1 if eos in row else len(row)
        rows.append(row[:end] + (source.vocabulary.pad,) * (len(row) - end))
    tokens_BT = torch.tensor(sorted(set(rows)))
    sequences = Sequences.from_tokens(tokens_BT, source.vocabulary)
    return sequences, source.log_prob(sequences).sum(dim=1).double().exp()


@pytest.mark.parametrize("source", SMALL, ids=name)
def test_probabilities_of_all_sequences_sum_to_one(source: StepSource) -> None:
    _, probability_B = enumerated(source)
    tolerance = 1e-12 if source.dtype == torch.float64 else 1e-5
    assert float(probability_B.sum()) == pytest.approx(1.0, abs=tolerance)


@pytest.mark.parametrize("source", SMALL, ids=name)
def test_entropy_is_the_enumerated_one(source: StepSource) -> None:
    _, probability_B = enumerated(source)
    exact = float(torch.special.entr(probability_B).sum())
    entropy = source.entropy()
    # Five standard errors: wrong once in 10^6 where the entropy comes from samples.
    assert entropy.value == pytest.approx(exact, abs=1e-9 + 5 * entropy.se)
    assert (entropy.se == 0) == isinstance(source, MarkovSource | DyckSource | CopySource)


@pytest.mark.parametrize("source", SMALL, ids=name)
def test_samples_occur_as_often_as_they_are_probable(source: StepSource) -> None:
    sequences, probability_B = enumerated(source)
    n = 20_000
    counts = Counter(source.sample(n, seed=3).texts)
    for text, p in zip(sequences.texts, probability_B.tolist(), strict=True):
        # Six standard errors and one for rare ones: wrong once in 10^6 over all sequences.
        assert abs(counts[text] - n * p) <= 6 * math.sqrt(n * p * (1 - p)) + 1, text


@pytest.mark.parametrize("source", SMALL, ids=name)
def test_one_seed_gives_one_result_and_another_another(source: StepSource) -> None:
    first, again, other = (source.sample(50, seed=seed).tokens_BT for seed in (5, 5, 6))
    assert first.equal(again)
    assert not first.equal(other)


@pytest.mark.parametrize("source", SMALL, ids=name)
def test_other_rows_and_padding_change_no_log_probability(source: StepSource) -> None:
    sequences = source.sample(6, seed=1)
    alone = torch.cat([source.log_prob(sequences[[b]]) for b in range(6)])
    torch.testing.assert_close(source.log_prob(sequences), alone)
    wider = source.log_prob(sequences.padded(source.length + 3))
    torch.testing.assert_close(wider[:, : source.length], alone)
    assert not wider[:, source.length :].any()


@pytest.mark.parametrize(
    "source",
    [
        MarkovSource.random(),
        HMMSource.random(),
        MarkovMixtureSource.random(),
        DyckSource(),
        DyckSource(depth=5, length=300),
        CopySource(shortest=3, longest=9),
    ],
    ids=name,
)
def test_surprise_of_samples_averages_to_the_entropy(source: StepSource) -> None:
    surprise_B = -source.log_prob(source.sample(4000, seed=11)).sum(dim=1)
    entropy = source.entropy()
    se = math.hypot(float(surprise_B.std()) / math.sqrt(4000), entropy.se)
    # Four standard errors: wrong once in 16,000.
    assert abs(float(surprise_B.mean()) - entropy.value) < 4 * se


def test_markov_entropy_is_the_formula_and_the_published_rate() -> None:
    source = MarkovSource.random(length=7)
    pi, P = source.stationary_K, source.transition_KK
    np.testing.assert_allclose(pi @ P, pi, atol=1e-12)
    rate = -(pi[:, None] * P * np.log(P)).sum()
    assert source.entropy().value == pytest.approx(-(pi * np.log(pi)).sum() + 6 * rate)
    assert source.entropy_rate() == pytest.approx(1.44296, abs=1e-5)  # ten states, seed 0


def test_hmm_log_prob_is_the_sum_over_hidden_paths() -> None:
    P, E = np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([[0.7, 0.3], [0.2, 0.8]])
    source = HMMSource(P, E, length=3)
    pi = np.array([0.8, 0.2])
    total = sum(
        pi[a] * E[a, 0] * P[a, b] * E[b, 1] * P[b, c] * E[c, 1]
        for a, b, c in itertools.product(range(2), repeat=3)
    )
    written = source.vocabulary.encode(["0 1 1"])
    assert float(source.log_prob(written).sum()) == pytest.approx(math.log(total))


def test_mixture_is_the_mean_of_its_chains_and_tells_its_class() -> None:
    chains = np.stack([MarkovSource.random(s, states=4).transition_KK for s in range(3)])
    mixture = MarkovMixtureSource(chains, length=6)
    written = mixture.sample(20, seed=2)
    log_given_class_BC = torch.stack(
        [MarkovSource(chain, 6).log_prob(written).sum(dim=1) for chain in chains], dim=1
    )
    total_B = log_given_class_BC.logsumexp(dim=1) - math.log(3)
    torch.testing.assert_close(mixture.log_prob(written).sum(dim=1), total_B)
    torch.testing.assert_close(
        mixture.class_log_probs(written), log_given_class_BC.log_softmax(dim=1)
    )


def test_sixteen_chains_are_told_apart_by_twenty_tokens() -> None:
    information = MarkovMixtureSource.random(classes=16, states=10, length=20).class_information()
    assert 2.765 < information.value <= math.log(16)  # 2.7722 of 2.7726 nats


@pytest.mark.parametrize(("types", "p", "e"), [(3, 0.4, 0.25), (1, 0.3, 0.5), (5, 0.45, 0.2)])
def test_dyck_entropy_rises_to_the_formula_of_words_of_any_length(
    types: int, p: float, e: float
) -> None:
    N = (1 - e) / e * (1 - p) / (1 - 2 * p)
    limit = coin(e) / e + (2 * N - (1 - e) / e) * coin(p) + N * math.log(types)
    values = [DyckSource(types, p, e, length=length).entropy().value for length in (50, 1200)]
    assert values[0] < values[1]
    assert values[1] == pytest.approx(limit, rel=2e-4)


def test_dyck_entropy_under_a_depth_cap_is_the_formula_of_visits() -> None:
    p, e, k, D = 0.4, 0.25, 3, 5
    Q = np.zeros((D + 1, D + 1))
    Q[0, 1] = 1 - e
    for d in range(1, D):
        Q[d, d + 1], Q[d, d - 1] = p, 1 - p
    Q[D, D - 1] = 1.0
    visits = np.linalg.solve(np.eye(D + 1) - Q.T, np.eye(D + 1)[0])
    opened = visits[0] * (1 - e) + visits[1:D].sum() * p
    exact = visits[0] * coin(e) + visits[1:D].sum() * coin(p) + opened * math.log(k)
    assert exact == pytest.approx(18.936, abs=1e-3)
    assert DyckSource(k, p, e, D, length=1000).entropy().value == pytest.approx(exact)


def coin(p: float) -> float:
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


@settings(max_examples=25, deadline=None)
@given(
    types=st.integers(1, 6),
    depth=st.none() | st.integers(1, 4),
    length=st.integers(1, 30),
    seed=st.integers(0, 1000),
)
def test_dyck_words_are_balanced_fit_and_stay_below_the_depth(
    types: int, depth: int | None, length: int, seed: int
) -> None:
    source = DyckSource(types, 0.45, 0.1, depth, length)
    words = source.sample(20, seed)
    assert words.tokens_BT.eq(source.vocabulary.eos or 0).any(dim=1).all()
    closing = dict(zip(source.vocabulary.tokens[types:], source.vocabulary.tokens, strict=False))
    for text in words.texts:
        stack: list[str] = []
        for bracket in text:
            if bracket in closing:
                assert stack.pop() == closing[bracket]
            else:
                stack.append(bracket)
            assert len(stack) <= (depth or length)
        assert not stack
    assert torch.isfinite(source.log_prob(words)).all()


@settings(max_examples=25, deadline=None)
@given(
    symbols=st.integers(1, 5),
    shortest=st.integers(1, 4),
    more=st.integers(0, 4),
    seed=st.integers(),
)
def test_copies_are_copies(symbols: int, shortest: int, more: int, seed: int) -> None:
    source = CopySource(symbols, shortest, shortest + more)
    texts = source.sample(20, seed % 1000)
    for text in texts.texts:
        first, second = text.split("|")
        assert first == second
        assert shortest <= len(first) <= shortest + more


@pytest.mark.parametrize(
    ("source", "text", "right"),
    [
        (CopySource(2, 2, 2), "ab|bb", 3),
        (CopySource(2, 2, 2), "abab", 2),
        (DyckSource(), "([)", 2),
        (DyckSource(length=5), "((((", 2),
        (DyckSource(), "())))))))", 2),
        (MarkovSource(np.array([[0.0, 1.0], [0.5, 0.5]])), "0 0 1", 1),
        (HMMSource(np.array([[0.0, 1.0], [1.0, 0.0]]), np.eye(2)), "0 0 1", 1),
    ],
)
def test_what_cannot_be_is_minus_infinity_from_there_on(
    source: StepSource, text: str, right: int
) -> None:
    written = source.vocabulary.encode([text])
    log_probs_T = source.log_prob(written)[0]
    assert torch.isfinite(log_probs_T[:right]).all()
    assert (log_probs_T[right:] == -torch.inf).all()
    scores = SourceLogProb(source)(written)
    known = float(log_probs_T[:right].sum()) + IMPOSSIBLE * (len(log_probs_T) - right)
    assert float(scores.values_B[0]) == pytest.approx(known / len(log_probs_T))
    assert scores.ok_B.all()


def test_random_symbols_cost_what_the_oracle_is_known_for(tmp_path: Path) -> None:
    source = LSTMOracle.random(0)
    uniform = Sequences.from_tokens(torch.randint(5000, (300, 20)), source.vocabulary)
    own = source.sample(300)
    # Others' draw of such an oracle: 11.43 nats a token for uniform tokens, 5.754 for its own.
    assert -float(source.log_prob(uniform).mean()) == pytest.approx(11.43, abs=0.8)
    assert -float(source.log_prob(own).mean()) == pytest.approx(5.754, abs=0.4)


def test_oracle_equals_its_formulas_written_out() -> None:
    generator = np.random.default_rng(0)
    shapes = {"embedding": (4, 3), "W_out": (2, 4), "b_out": (4,)}
    for gate in "ifoc":
        shapes |= {f"W_{gate}": (3, 2), f"U_{gate}": (2, 2), f"b_{gate}": (2,)}
    w = {key: generator.standard_normal(shape) for key, shape in shapes.items()}
    h, c, token, expected = np.zeros(2), np.zeros(2), 0, []
    for written in (2, 0, 3):
        x = w["embedding"][token]
        i, f, o, g = (x @ w[f"W_{n}"] + h @ w[f"U_{n}"] + w[f"b_{n}"] for n in "ifoc")
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        logits = h @ w["W_out"] + w["b_out"]
        expected.append(logits[written] - np.log(np.exp(logits).sum()))
        token = written
    source = LSTMOracle(w, length=3)
    log_probs_T = source.log_prob(source.vocabulary.encode(["2 0 3"]))[0]
    np.testing.assert_allclose(log_probs_T.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("network", ["lstm", "gru", "transformer"])
@pytest.mark.parametrize("length", [3, 40])
def test_oracle_task_takes_any_network_and_length(network: str, length: int) -> None:
    task = make_task("tokengym/Oracle-v0", source=network, length=length, data_size=2)
    assert task.max_length == length
    assert task.data is not None
    assert task.data.tokens_BT.shape == (2, length)
    scores = task.reward(task.data)
    assert task.source is not None
    expected_B = task.source.log_prob(task.data).mean(dim=1)
    torch.testing.assert_close(scores.values_B, expected_B.float())


def test_transformer_oracle_is_neither_certain_nor_uniform() -> None:
    nats = TransformerOracle(length=5).entropy().value / 5
    assert 5.0 < nats < 6.5 < math.log(5000)


@pytest.mark.parametrize("id", IDS)
def test_ids_make_single_and_vector_environments(id: str) -> None:
    with gym.make(id, data_size=4) as env:
        env.reset(seed=0)
        ended = False
        while not ended:
            _, reward, ended, _, info = env.step(0)
        assert math.isfinite(float(reward))
        assert "source_log_prob" in info["reward_parts"]
    vector = gym.make_vec(id, 3, data_size=4)
    observations, _ = vector.reset()
    assert observations.shape == (3, make_task(id).max_length)
    vector.close()


@pytest.mark.parametrize("id", IDS)
def test_real_data_earns_minus_the_entropy_a_token(id: str) -> None:
    task = make_task(id, data_size=500)
    assert task.data is not None
    assert task.source is not None
    assert len(task.data) == 500
    total_B = task.reward(task.data).values_B * task.data.lengths_B
    se = float(total_B.std()) / math.sqrt(500)
    entropy = task.source.entropy()
    # Five standard errors: wrong once in 10^6.
    assert abs(float(total_B.mean()) + entropy.value) < 5 * math.hypot(se, entropy.se) + 1e-5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_task("tokengym/Dyck-v0", types=0), "types is 0"),
        (lambda: make_task("tokengym/Dyck-v0", p=1.5), "p is 1.5"),
        (lambda: make_task("tokengym/Dyck-v0", length=0), "length is 0"),
        (lambda: make_task("tokengym/Copy-v0", shortest=9, longest=3), "shortest is 9"),
        (lambda: make_task("tokengym/Copy-v0", symbols=99), "symbols is 99"),
        (lambda: make_task("tokengym/Markov-v0", states=1), "over 1 outcomes"),
        (lambda: make_task("tokengym/Markov-v0", concentration=0.0), "concentration 0.0"),
        (lambda: make_task("tokengym/Markov-v0", data_size=0), "data_size is 0"),
        (lambda: make_task("tokengym/Markov-v0", length=0), "max_length is 0"),
        (lambda: make_task("tokengym/Oracle-v0", source="cnn"), "source is 'cnn'"),
        (lambda: make_task("tokengym/Oracle-v0", source="gru", weights="x.npz"), "weights"),
        (lambda: MarkovSource(np.eye(2)), "falls apart"),
        (lambda: MarkovSource(np.ones((2, 2))), "rows that sum to"),
        (lambda: HMMSource(np.eye(3), np.ones((2, 1))), "3 hidden states and emission_SK 2"),
    ],
)
def test_what_makes_no_source_is_an_error_that_says_so(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=message):
        make()


def test_sequences_of_another_vocabulary_are_refused() -> None:
    other = Vocabulary.from_tokens("ab", "characters").encode(["ab"])
    with pytest.raises(ValueError, match="encode them with the source's vocabulary"):
        MarkovSource.random().log_prob(other)


def test_likelihood_goes_on_past_the_sampled_length() -> None:
    source = MarkovSource.random(length=5)
    long = MarkovSource.random(length=50).sample(3)
    assert torch.isfinite(source.log_prob(long)).all()
    assert tokengym.make_task("tokengym/Markov-v0").max_length == 20
