"""Sampling at its edges: logits that are no numbers, small temperatures, other types of numbers."""

# Shapes: R rows, A actions
from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest
import torch
from tokengym.agents import ORGAN, GRUPolicy, LSTMPolicy, Policy, SeqGAN, action_values, sample
from tokengym.agents.completions import Backend, Plan, Scheme, tiles
from tokengym.envs import Task, TokenEnv, Vocabulary
from tokengym.envs.categorical import sample_categorical
from tokengym.rewards import ConvDiscriminator, FunctionObjective

from .conftest import PolicyMaker, TokenSum

LARGE = Vocabulary.from_tokens(map(str, range(600)), "words", eos=False)


def diverged(vocabulary: Vocabulary) -> Policy:
    policy = GRUPolicy(vocabulary, hidden=4, embedding=4).eval()
    with torch.no_grad():
        policy.output.bias[1] = torch.nan
    return policy


@pytest.mark.parametrize("actions", [3, 600])
def test_no_distribution_gives_the_id_after_the_last(actions: int) -> None:
    logits_RA = torch.zeros((4, actions))
    logits_RA[1, 1] = torch.nan
    logits_RA[2] = -torch.inf
    logits_RA[3, 0] = torch.inf
    found_R = sample_categorical(logits_RA, torch.full((4,), 0.999))
    assert found_R[0] < actions
    assert found_R[1:].tolist() == [actions] * 3


def test_a_policy_without_numbers_writes_nothing(vocabulary: Vocabulary) -> None:
    for known in (vocabulary, LARGE):
        policy = diverged(known)
        for temperature in (1.0, 0.5):
            with pytest.raises(ValueError, match="no token can be drawn: the policy's logits"):
                sample(policy, 3, max_length=4, temperature=temperature)


@pytest.mark.parametrize("backend", ["reference", "tiled", "graph"])
@pytest.mark.parametrize("scheme", get_args(Scheme))
def test_completions_without_numbers_are_an_error(
    vocabulary: Vocabulary, backend: Backend, scheme: Scheme
) -> None:
    sequences = vocabulary.encode(["abab"], end=False)
    plan = Plan(diverged(vocabulary), sequences, completions=2, scheme=scheme)
    with pytest.raises(ValueError, match="no token can be drawn"):
        for _ in tiles(plan, backend):
            pass


@pytest.mark.parametrize("temperature", [1e-6, 1e-40, 1e-300])
def test_a_small_temperature_writes_what_is_most_probable(
    vocabulary: Vocabulary, temperature: float
) -> None:
    torch.manual_seed(0)
    policy = GRUPolicy(vocabulary, hidden=4, embedding=4).eval()
    found = sample(policy, 5, max_length=4, temperature=temperature)
    assert found.log_probs_BT is not None
    assert (found.log_probs_BT == 0).all()
    best_BT = policy(found.tokens_BT).argmax(dim=2)
    assert torch.equal(found.tokens_BT[found.mask_BT], best_BT[found.mask_BT])


@pytest.mark.parametrize("max_length", [0, -1])
def test_sequences_have_a_token(policy: Policy, max_length: int) -> None:
    with pytest.raises(ValueError, match="expected at least 0 of 1"):
        sample(policy, 2, max_length=max_length)
    with pytest.raises(ValueError, match="-1 sequences"):
        sample(policy, -1, max_length=3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_drawn_from_as_it_is(
    make_policy: PolicyMaker, vocabulary: Vocabulary, dtype: torch.dtype
) -> None:
    """A policy that was rounded to half precision gives nearly what it gives when widened again."""
    half = make_policy(vocabulary, 0).to(dtype)
    wide = make_policy(vocabulary, 0).to(dtype).float()
    found, expected = (sample(p, 4000, max_length=4, seed=1) for p in (half, wide))
    assert found.log_probs_BT is not None
    assert found.log_probs_BT.dtype == torch.float32
    same = (found.tokens_BT == expected.tokens_BT).all(dim=1).float().mean()
    assert same > 0.95
    values = action_values(half, found[:8], TokenSum(), completions=2)
    assert values.q_BT[found[:8].mask_BT].isfinite().all()


@pytest.fixture
def in_float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("kind", [SeqGAN, ORGAN])
def test_agents_learn_in_float64(kind: type[SeqGAN], vocabulary: Vocabulary) -> None:
    discriminator = ConvDiscriminator(embedding=4, widths=(1, 2), filters=(4, 4))
    length = FunctionObjective(lambda texts: [float(len(text)) for text in texts])
    data = vocabulary.encode(["ab", "ba"] * 4)
    task = Task(
        name="Small",
        vocabulary=vocabulary,
        max_length=4,
        reward=discriminator if kind is SeqGAN else 0.5 * discriminator + 0.5 * length,
        load_data=lambda: data,
    )
    options: dict[str, Any] = {"policy_kwargs": {"hidden": 4, "embedding": 4}, "batch_size": 4}
    agent = kind("GRU", TokenEnv(task), completions=2, seed=0, **options)
    agent.pretrain(epochs=1, discriminator_steps=1)
    assert agent.learn(20).rounds > 0
    assert agent.policy.dtype == torch.float64


@pytest.mark.parametrize("kind", [GRUPolicy, LSTMPolicy])
def test_writes_through_data_are_seen(kind: type[Policy], vocabulary: Vocabulary) -> None:
    torch.manual_seed(0)
    policy = kind(vocabulary, hidden=4, embedding=4).eval()
    sample(policy, 2, max_length=4)
    for parameter in policy.parameters():
        parameter.data.mul_(-3.0)
    fresh = kind(vocabulary, hidden=4, embedding=4).eval()
    fresh.load_state_dict(policy.state_dict())
    found, expected = (sample(p, 50, max_length=4, seed=2) for p in (policy, fresh))
    assert torch.equal(found.tokens_BT, expected.tokens_BT)
    token = torch.tensor([0, 1])
    with torch.no_grad(), policy.fixed_weights():
        with policy.fixed_weights():
            pass
        kept = policy.step(token, policy.initial_state(2))[0]  # the outer table still stands
    torch.testing.assert_close(kept, policy.step(token, policy.initial_state(2))[0].detach())


def test_a_discriminator_sees_writes_through_data(vocabulary: Vocabulary) -> None:
    discriminator = ConvDiscriminator(embedding=4, widths=(1, 2), filters=(4, 4))
    sequences = vocabulary.encode(["ab", "bba"])
    discriminator(sequences)
    for parameter in discriminator.network.parameters():
        parameter.data.mul_(-3.0)
    logits_B = discriminator.network.eval()(sequences.tokens_BT)
    torch.testing.assert_close(discriminator(sequences).values_B, logits_B.sigmoid().detach())


def test_what_was_made_in_inference_mode_writes_and_scores(vocabulary: Vocabulary) -> None:
    sequences = vocabulary.encode(["ab"])
    with torch.inference_mode():
        policy = GRUPolicy(vocabulary, hidden=4, embedding=4).eval()
        discriminator = ConvDiscriminator(embedding=4, widths=(1, 2), filters=(4, 4))
        discriminator.prepare(vocabulary, 4, "cpu")
    assert len(sample(policy, 3, max_length=4)) == 3
    assert discriminator(sequences).ok_B.all()
