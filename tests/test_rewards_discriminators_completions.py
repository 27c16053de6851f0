"""Scores of completions that know their prefixes: those of whole sequences, for less."""

# Shapes: B sequences, T steps, R completions
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tokengym.agents import Policy, action_values, sample
from tokengym.envs import Prefixes, Sequences, Vocabulary
from tokengym.rewards import (
    ConvDiscriminator,
    RecurrentDiscriminator,
    TransformerDiscriminator,
    make_reward,
)
from tokengym.rewards.discriminators import ConvNetwork, Discriminator
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

B, T = 6, 9


def conv(**options: Any) -> ConvDiscriminator:
    return ConvDiscriminator(8, (1, 2, 3, 5, 12), (6, 5, 6, 6, 4), reward="logit", **options)


MAKERS: dict[str, Callable[[], Discriminator]] = {
    "conv": conv,
    "conv, shared highway": lambda: conv(highway="shared"),
    "conv, no highway": lambda: conv(highway="none", spectral_norm=True),
    "conv, bfloat16": lambda: conv(scoring="bfloat16"),
    "gru": lambda: RecurrentDiscriminator("gru", 8, 12, 2, reward="logit"),
    "lstm": lambda: RecurrentDiscriminator("lstm", 8, 12, 2, reward="logit"),
    "transformer": lambda: TransformerDiscriminator(8, 2, 2, reward="logit"),
}


@pytest.fixture(params=MAKERS)
def made(request: pytest.FixtureRequest, words: Vocabulary) -> Discriminator:
    discriminator = MAKERS[request.param]()
    discriminator.prepare(words, T, "cpu")
    return discriminator


@pytest.fixture
def words() -> Vocabulary:
    return Vocabulary.from_tokens("abcd", "characters")


def drawn(words: Vocabulary, rows: int, seed: int = 0) -> Sequences:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(5, (rows, T), generator=generator)
    tokens[:, :5] %= 4  # nothing ends before
    return Sequences.from_tokens(tokens, words)


def completions(sequences: Sequences, length: int, rows: int = 40) -> Sequences:
    """Some of many lengths, with what they begin with."""
    rows_R = torch.arange(rows) * 7 % len(sequences)
    tokens_RT = drawn(sequences.vocabulary, rows, seed=length).tokens_BT.clone()
    tokens_RT[:, :length] = sequences.tokens_BT[rows_R, :length]
    completed = Sequences.from_tokens(tokens_RT, sequences.vocabulary)
    return replace(completed, prefixes=Prefixes(sequences, rows_R, length))


def whole(sequences: Sequences) -> Sequences:
    return replace(sequences, prefixes=None)


@pytest.mark.parametrize("length", range(1, 6))
def test_they_are_the_scores_of_whole_sequences(
    made: Discriminator, words: Vocabulary, length: int
) -> None:
    completed = completions(drawn(words, B), length)
    found, expected = made(completed).values_B, made(whole(completed)).values_B
    assert len(found.unique()) > 30
    if isinstance(made, ConvDiscriminator):
        assert torch.equal(found, expected)
    torch.testing.assert_close(found, expected)


def test_a_prefix_is_read_once(words: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
    reward = make_reward(
        "0.5 * sigmoid(mean(conv_discriminator(embedding=4, widths=(2,), filters=(3,)),"
        " recurrent_discriminator(hidden=4)), low=0, high=1) * repetition_penalty"
        " + 0.5 * transformer_discriminator(width=8)"
    )
    reward.prepare(words, T, "cpu")
    sequences = drawn(words, B)
    completed = completions(sequences, 3)
    expected = reward(whole(completed)).values_B
    read, networks = [], [c.network for c in reward.components() if isinstance(c, Discriminator)]
    for network in networks:
        original = network.read_prefixes

        def counted(tokens_BT: Tensor, original: Any = original) -> Any:
            read.append(len(tokens_BT))
            return original(tokens_BT)

        monkeypatch.setattr(network, "read_prefixes", counted)
    for network in networks[:2]:  # from here on they go on from the prefixes
        monkeypatch.setattr(network, "fast_outputs", None)
    torch.testing.assert_close(reward(completed).values_B, expected)
    torch.testing.assert_close(reward(completed).values_B, expected)
    assert read == [B] * 3


def test_rollouts_score_with_the_weights_as_they_are(words: Vocabulary, policy: Policy) -> None:
    reward = conv(learning_rate=0.05)
    sequences = sample(policy, B, max_length=T, seed=1)

    def by_hand(written: Sequences) -> Any:
        return reward(whole(written))

    for _ in range(3):
        found, expected = (
            action_values(policy, sequences, scorer, completions=3).q_BT
            for scorer in (reward, by_hand)
        )
        torch.testing.assert_close(found, expected)
        reward.update(sequences, sequences[[0, 1]])


class Largest(TorchDispatchMode):
    """The most numbers in any tensor that comes out of an operation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, tuple | list) else [out]:
            if isinstance(each, Tensor) and each.numel() > self.numbers:
                self.numbers = each.numel()
        return out


def test_memory_does_not_grow_with_the_number_of_completions(
    made: Discriminator, words: Vocabulary
) -> None:
    sequences, largest = drawn(words, B), []
    for rows in (1024, 4096):
        completed = completions(sequences, 2, rows)
        made(completed)
        with Largest() as seen:
            made(completed)
        largest.append(seen.numbers)
    assert largest[1] <= max(largest[0], 4096 * T)  # the tokens themselves


# --- the convolution ------------------------------------------------------------------------------


@pytest.mark.parametrize("highway", ["separate", "shared", "none"])
def test_products_of_matrices_say_the_same(
    words: Vocabulary, highway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up, multiplied = conv(highway=highway), conv(highway=highway)
    completed = completions(drawn(words, B), 3)
    expected = looked_up(whole(completed)).values_B
    monkeypatch.setattr(ConvNetwork, "_looks_up", False)
    torch.testing.assert_close(multiplied(completed).values_B, expected)
    torch.testing.assert_close(multiplied(whole(completed)).values_B, expected)
    multiplied.network.eval()
    slow = multiplied.network(completed.tokens_BT).detach()
    torch.testing.assert_close(slow, expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("scoring", ["float32", "bfloat16"])
def test_a_gpu_says_the_same(words: Vocabulary, scoring: Any) -> None:
    completed = completions(drawn(words, B), 3)
    expected = conv()(completed).values_B
    on_gpu = conv(scoring=scoring)
    on_gpu.prepare(words, T, "cuda")
    found = on_gpu(completed).values_B
    tolerance = 1e-3 if scoring == "float32" else 0.05
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


def test_bfloat16_changes_scores_a_little_and_learning_not_at_all(words: Vocabulary) -> None:
    exact, rounded = conv(dropout=0.0), conv(scoring="bfloat16", dropout=0.0)
    sequences = drawn(words, 64)
    for each in (exact, rounded):
        each.prepare(words, T, "cpu")
        each.update(sequences, sequences[[0, 1, 2]])
    for left, right in zip(
        exact.network.state_dict().values(), rounded.network.state_dict().values(), strict=True
    ):
        assert torch.equal(left, right)
    difference = (exact(sequences).values_B - rounded(sequences).values_B).abs().max()
    assert 0 < difference < 0.01  # the outputs' spread is about 0.1


def test_a_shared_highway_is_that_of_public_codes(words: Vocabulary) -> None:
    """H = W x + b; sigmoid(h) relu(h) + (1 - sigmoid(h)) x."""
    reward = conv(highway="shared")
    reward.prepare(words, T, "cpu")
    network = reward.network
    assert isinstance(network, ConvNetwork)
    assert network.highway is not None
    x = torch.rand(3, 27)
    h = network.highway(x)
    mixed = h.sigmoid() * h.relu() + (1 - h.sigmoid()) * x
    expected = network.output(mixed)[:, 0]
    torch.testing.assert_close(network.eval()._say(x, h), expected)


@pytest.mark.parametrize("option", ["highway", "scoring"])
def test_unknown_options(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} is 'fast'; expected one of"):
        conv(**{option: "fast"})
