"""VRAE: the bound and its terms by hand, cures of collapse, what codes are used for."""

# Shapes: B sequences, T steps, L numbers of a code, G points of a grid
from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tokengym.agents import GRUPolicy, Policy
from tokengym.agents.losses import token_log_probs
from tokengym.envs import Sequences, Vocabulary
from tokengym.train.supervised import VRAE, load_learner
from tokengym.train.supervised.encoder import Encoder, drawn, gaussian_kl
from tokengym.train.supervised.latent_measures import (
    active_units,
    importance_weighted,
    log_normal,
    mutual_information,
)
from tokengym.train.supervised.vrae import annealed, shown_tokens

SMALL: dict[str, Any] = {
    "latent": 2,
    "policy_kwargs": {"embedding": 4, "hidden": 6},
    "encoder_kwargs": {"embedding": 4, "hidden": 5},
    "batch_size": 9,
    "device": "cpu",
}


@pytest.fixture
def data(vocabulary: Vocabulary) -> Sequences:
    return vocabulary.encode(["a", "ab", "abb", "aab", "ba", "", "bba", "a", "ab"] * 3)


def vrae(vocabulary: Vocabulary, **options: Any) -> VRAE:
    return VRAE("GRU", vocabulary=vocabulary, **(SMALL | options))


def loud(learner: VRAE) -> VRAE:
    """A decoder with weights far enough from 0 that a mistake shows; all in float64."""
    with torch.no_grad():
        for weight in learner.policy.parameters():
            weight.mul_(2)
    learner.policy.double()
    learner.reader.double()
    return learner


# --- the bound --------------------------------------------------------------------------------


def test_V1_the_divergence_is_that_of_torch_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    mean_BL, log_var_BL = 2 * torch.randn(2, 50, 3, generator=generator, dtype=torch.float64)
    kl_BL = gaussian_kl(mean_BL, log_var_BL)
    q = torch.distributions.Normal(mean_BL, (0.5 * log_var_BL).exp())
    p = torch.distributions.Normal(torch.zeros_like(mean_BL), torch.ones_like(mean_BL))
    torch.testing.assert_close(kl_BL, torch.distributions.kl_divergence(q, p), atol=1e-12, rtol=0)
    assert (kl_BL > 0).all()
    assert gaussian_kl(torch.zeros(1), torch.zeros(1)) == 0
    joint = log_normal(mean_BL, torch.zeros_like(mean_BL), log_var_BL)
    expected = torch.distributions.Normal(0.0, (0.5 * log_var_BL).exp()).log_prob(mean_BL)
    torch.testing.assert_close(joint, expected.sum(dim=1), atol=1e-12, rtol=0)


@torch.no_grad()
def test_V2_bounds_are_in_order_below_the_likelihood(
    vocabulary: Vocabulary, all_sequences: Sequences
) -> None:
    """-ELBO >= IW_5 >= IW_200 >= -log p, the last by a grid over z, whose sum over x is 1."""
    learner = loud(vrae(vocabulary))
    places = torch.linspace(-6, 6, 41, dtype=torch.float64)
    z_GL = torch.cartesian_prod(places, places)
    log_p_z_G = log_normal(z_GL, torch.zeros_like(z_GL), torch.zeros_like(z_GL))
    cell = 2 * math.log(float(places[1] - places[0]))
    log_p = []
    for tokens_T, mask_T in zip(all_sequences.tokens_BT, all_sequences.mask_BT, strict=True):
        tokens_GT = tokens_T.expand(len(z_GL), -1)
        log_x_GT = token_log_probs(learner.policy(tokens_GT, z_GL), tokens_GT, mask_T)
        log_p.append((log_x_GT.sum(dim=1) + log_p_z_G + cell).logsumexp(dim=0))
    log_p_B = torch.stack(log_p)
    assert float(log_p_B.exp().sum()) == pytest.approx(1, abs=1e-5)
    few, many = (learner.evaluate(all_sequences, importance_samples=k) for k in (5, 200))
    gaps = [
        figure.value + float(log_p_B.mean()) for figure in (few["negative_elbo"], few["iw_nll"])
    ]
    gaps.append(many["iw_nll"].value + float(log_p_B.mean()))
    assert gaps[0] > gaps[1] > gaps[2] > -0.01, gaps
    assert gaps[2] < 0.02


def test_V2_equal_weights_give_their_value() -> None:
    log_weights_KB = torch.full((7, 3), -2.5)
    torch.testing.assert_close(importance_weighted(log_weights_KB), torch.full((3,), 2.5))


def test_V3_gradients_pass_through_the_drawn_code() -> None:
    """D E[z^2] / d mean = 2 mean, d / d log_var = variance; 200,000 draws, 5 standard errors."""
    n = 200_000
    mean = torch.tensor(0.7, requires_grad=True)
    log_var = torch.tensor(-0.4, requires_grad=True)
    torch.manual_seed(0)
    z_B = drawn(mean.expand(n), log_var.expand(n))
    of_mean, of_log_var = torch.autograd.grad(z_B.square().mean(), (mean, log_var))
    variance = math.exp(-0.4)
    assert float(of_mean) == pytest.approx(1.4, abs=5 * 2 * math.sqrt(variance / n))
    spread = math.sqrt(2 * variance**2 + 0.49 * variance)
    assert float(of_log_var) == pytest.approx(variance, abs=5 * spread / math.sqrt(n))


def test_V4_the_decoder_sees_the_code_at_every_step(
    vocabulary: Vocabulary, data: Sequences
) -> None:
    policy = loud(vrae(vocabulary)).policy
    z_BL = torch.zeros(len(data), 2, dtype=torch.float64, requires_grad=True)
    logits_BTA = policy(data.tokens_BT, z_BL)
    for t in range(logits_BTA.shape[1]):
        (gradient,) = torch.autograd.grad(logits_BTA[:, t, 0].sum(), z_BL, retain_graph=True)
        assert (gradient.abs() > 1e-6).any()
    assert isinstance(policy, GRUPolicy)  # also where the first state is cut off
    policy.first_state.weight.data.zero_()
    logits_BTA = policy(data.tokens_BT, z_BL)
    (gradient,) = torch.autograd.grad(logits_BTA[:, -1, 0].sum(), z_BL)
    assert (gradient.abs() > 1e-6).any()


def test_V4_an_inputless_decoder_ignores_tokens(data: Sequences) -> None:
    """Before and after a fit, in teacher forcing and in steps."""
    learner = vrae(data.vocabulary, word_keep=0.0).fit(data, max_epochs=2)
    policy, z_BL = learner.policy, torch.randn(4, 2)
    first_BT, second_BT = torch.tensor([[0, 1, 1]] * 4), torch.tensor([[1, 0, 2]] * 4)
    assert torch.equal(policy(first_BT, z_BL), policy(second_BT, z_BL))
    state = policy.initial_state(4, z_BL)
    assert torch.equal(
        policy.step(first_BT[:, 0], state)[0], policy.step(second_BT[:, 0], state)[0]
    )
    kwargs = {"embedding": 6, "hidden": 6, "tied": True}
    with pytest.raises(ValueError, match="not tied to the output"):
        vrae(data.vocabulary, word_keep=0.0, policy_kwargs=kwargs)


def test_V5_word_dropout_hits_tokens_alone_and_only_while_training(data: Sequences) -> None:
    batch = data.padded(9)
    torch.manual_seed(0)
    shown = torch.stack([shown_tokens(batch, 0.6) for _ in range(200)])
    pad = data.vocabulary.pad
    assert (shown[:, ~batch.mask_BT] == pad).all()
    real = shown[:, batch.mask_BT]
    kept = real == batch.tokens_BT[batch.mask_BT]
    assert ((real == pad) | kept).all()
    n = kept.numel()  # 3.89 standard errors: exceeded with probability 1e-4
    assert float(kept.float().mean()) == pytest.approx(0.6, abs=3.89 * math.sqrt(0.24 / n))
    assert torch.equal(shown_tokens(batch, 1.0), batch.tokens_BT)
    dropping = vrae(data.vocabulary, word_keep=0.5)
    keeping = vrae(data.vocabulary)
    assert dropping.evaluate(data) == keeping.evaluate(data)


@pytest.mark.parametrize(
    ("kind", "step", "expected"),
    [
        ("linear", 0, 0.0),
        ("linear", 50, 0.5),
        ("linear", 100, 1.0),
        ("logistic", 0, 1 / (1 + math.exp(5))),
        ("logistic", 50, 0.5),
        ("logistic", 99, 1 / (1 + math.exp(-4.9))),
        ("cyclical", 0, 0.0),
        ("cyclical", 5, 0.4),
        ("cyclical", 20, 1.0),
        ("cyclical", 25, 0.0),
        ("cyclical", 80, 0.4),
        ("cyclical", 100, 1.0),
    ],
)
def test_V6_annealing(kind: Any, step: int, expected: float) -> None:
    assert annealed(kind, step, 100) == pytest.approx(expected)
    assert annealed(kind, step, 0) == 1.0


def test_V6_beta_weighs_sums_of_one_kind_and_the_reported_bound_is_the_true_one(
    data: Sequences,
) -> None:
    """Loss * tokens = sum of -log p + beta * sum of KL; ``evaluate`` has beta = 1."""
    batch = data[:9]
    losses = {}
    for beta in (0.0, 0.5, 1.0):
        learner = vrae(data.vocabulary, beta=beta)
        torch.manual_seed(3)
        reconstruction, kl_L, loss = learner.terms(batch, step=0)
        losses[beta] = float(loss.detach()) * batch.num_tokens
        expected = reconstruction + beta * kl_L.sum() * 9
        assert losses[beta] == pytest.approx(float(expected.detach()), rel=1e-5)
        figures = learner.evaluate(data)
        total = figures["reconstruction"].value + figures["kl"].value
        assert figures["negative_elbo"].value == pytest.approx(total)
    assert losses[0.5] == pytest.approx((losses[0.0] + losses[1.0]) / 2, rel=1e-5)
    rising = vrae(data.vocabulary, beta=0.8, annealing_steps=10, autoencoder_steps=4)
    assert [rising.beta_at(step) for step in (0, 3, 4, 9, 14, 99)] == [0, 0, 0, 0.4, 0.8, 0.8]


def test_V7_free_bits_cost_nothing_and_pull_at_nothing(data: Sequences) -> None:
    learner = vrae(data.vocabulary, free_bits=3.0)
    head = learner.reader.head
    for offset in (0.0, 0.3):
        with torch.no_grad():
            head.bias[0] += offset  # the mean of the first number of the code
        mean_BL, log_var_BL = learner.read(data)
        kl_L = gaussian_kl(mean_BL, log_var_BL).mean(dim=0)
        assert float(kl_L.detach().max()) < 3
        torch.manual_seed(0)
        reconstruction, _, loss = learner.terms(data, step=0)
        charged = (loss * data.num_tokens - reconstruction).detach() / len(data)
        assert float(charged) == pytest.approx(2 * 3.0, rel=1e-4)
        both = torch.autograd.grad(loss * data.num_tokens, head.bias, retain_graph=True)
        alone = torch.autograd.grad(reconstruction, head.bias)
        torch.testing.assert_close(both[0], alone[0])
    learner.free_bits = 1e-4
    torch.manual_seed(0)
    reconstruction, kl_L, loss = learner.terms(data, step=0)
    assert float(kl_L.detach().min()) > 1e-4
    torch.testing.assert_close(loss * data.num_tokens, reconstruction + kl_L.sum() * len(data))


def test_V8_information_is_bounded_and_found() -> None:
    """Codes far apart tell all of ln N; those of noise nothing; and I <= KL, 4 s.e."""
    n = 400
    far = torch.linspace(-1e4, 1e4, n)[:, None]
    assert mutual_information(far, torch.zeros(n, 1)).value == pytest.approx(math.log(n), abs=0.02)
    torch.manual_seed(0)
    nothing = mutual_information(torch.zeros(n, 1), torch.zeros(n, 1))
    assert nothing.value == pytest.approx(0, abs=1e-5)
    assert nothing.n == n
    mean_NL, log_var_NL = 0.6 * torch.randn(n, 2), torch.full((n, 2), -0.5)
    found = mutual_information(mean_NL, log_var_NL)
    kl = float(gaussian_kl(mean_NL, log_var_NL).sum(dim=1).mean())
    assert found.value <= kl + 4 * found.se
    several = torch.stack(
        [torch.tensor(mutual_information(mean_NL, log_var_NL).value) for _ in range(20)]
    )
    gap = kl - float(several.mean())  # KL(q(z) || p(z)), by a grid
    places = torch.linspace(-6, 6, 61)
    z_GL = torch.cartesian_prod(places, places)
    log_q_G = log_normal(z_GL[:, None], mean_NL, log_var_NL).logsumexp(dim=1) - math.log(n)
    log_p_G = log_normal(z_GL, torch.zeros(2), torch.zeros(2))
    exact = float((log_q_G.exp() * (log_q_G - log_p_G)).sum()) * float(places[1] - places[0]) ** 2
    assert gap == pytest.approx(exact, abs=4 * float(several.std()) / math.sqrt(20))


def test_V9_units_that_do_not_vary_are_not_active(data: Sequences) -> None:
    mean_NL = torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.1], [0.0, 0.0, 0.19]])
    assert active_units(mean_NL).value == 1  # variances 0, 1 and 0.009
    learner = vrae(data.vocabulary)
    learner.reader.head.weight.data.zero_()
    figures = learner.evaluate(data)
    assert figures["active_units"].value == 0
    assert figures["mutual_information"].value == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "Transformer"])
@pytest.mark.parametrize("layers", [1, 2])
def test_V10_codes_stay_with_their_sequences(kind: Any, layers: int, data: Sequences) -> None:
    """Of any length, in any order and company, under any padding."""
    torch.manual_seed(0)
    encoder = Encoder(data.vocabulary, 3, kind, embedding=8, hidden=5, layers=layers).double()
    encoder.eval()
    wide = data.padded(9)
    together = torch.cat(encoder(wide.tokens_BT, wide.lengths_B), dim=1)
    for i, text in enumerate(data.texts[:9]):
        alone = data.vocabulary.encode([text])
        code = torch.cat(encoder(alone.tokens_BT, alone.lengths_B), dim=1)
        torch.testing.assert_close(together[i : i + 1], code, atol=1e-12, rtol=0)
    assert not torch.allclose(together[0], together[1])


# --- fitting ----------------------------------------------------------------------------------


def test_it_learns_to_reconstruct(data: Sequences) -> None:
    """Seven texts through two numbers: nearly all come back, and the code carries them."""
    learner = vrae(
        data.vocabulary,
        beta=0.05,
        learning_rate=0.02,
        policy_kwargs={"embedding": 8, "hidden": 24},
        encoder_kwargs={"embedding": 8, "hidden": 16},
    ).fit(data, max_epochs=120)
    back = learner.reconstruct(data)
    right = sum(a == b for a, b in zip(back.texts, data.texts, strict=True))
    assert right >= 24
    assert learner.evaluate(data)["mutual_information"].value > 1
    path = learner.interpolate("bba", "a", steps=5)
    assert len(path) == 5
    assert [path.texts[0], path.texts[-1]] == learner.reconstruct(["bba", "a"]).texts
    assert learner.arithmetic(["bba", "a"], ["a"]).texts == learner.reconstruct(["bba"]).texts
    nearest = learner.nearest(["abb", "ba"], data[:9], k=3)
    assert nearest.shape == (2, 3)
    assert nearest[:, 0].tolist() == [2, 4]


@pytest.mark.parametrize(
    "options",
    [
        {"aggressive": True, "autoencoder_steps": 1, "free_bits": 0.1},
        {
            "word_keep": 0.5,
            "annealing_steps": 7,
            "averaging": 0.9,
            "policy_kwargs": {"dropout": 0.2},
        },
    ],
)
def test_T10_a_fit_that_was_stopped_goes_on_to_the_bit(
    data: Sequences, tmp_path: Path, options: dict[str, Any]
) -> None:
    kwargs = SMALL["policy_kwargs"] | {"dropout": 0.2}
    options = options | {"policy_kwargs": kwargs}
    train, held_out = data[:18], data[18:]
    whole = vrae(data.vocabulary, **options).fit(train, held_out, max_epochs=2)
    begun = vrae(data.vocabulary, **options)
    begun.fit(train, held_out, max_epochs=2, callback=lambda each: each.progress.step < 3)
    begun.save(tmp_path / "stopped")
    loaded = load_learner(tmp_path / "stopped", "cpu")
    assert isinstance(loaded, VRAE)
    loaded.fit(train, held_out, max_epochs=2, reset=False)
    assert whole.evaluate(data) == loaded.evaluate(data)
    assert torch.equal(whole.sample(9, seed=1).tokens_BT, loaded.sample(9, seed=1).tokens_BT)


def test_an_encoder_that_cannot_be_is_told(data: Sequences) -> None:
    with pytest.raises(ValueError, match="embedding is 33 and heads 3; expected a multiple of twi"):
        Encoder(data.vocabulary, 3, "Transformer", embedding=33, heads=3)
    with pytest.raises(ValueError, match="layers is 0; expected at least 1"):
        Encoder(data.vocabulary, 3, layers=0)


def test_a_decoder_begins_anew_after_the_autoencoder(data: Sequences) -> None:
    learner = vrae(data.vocabulary, autoencoder_steps=6, learning_rate=0.05)
    fresh = {name: weight.clone() for name, weight in learner.policy.state_dict().items()}
    learner.fit(data, max_epochs=3, callback=lambda each: each.progress.step < 6)
    mean_BL, _ = learner.encode(data)
    learner._begin_decoder_anew()
    for name, weight in learner.policy.state_dict().items():
        assert torch.equal(weight, fresh[name])
    assert torch.equal(learner.encode(data)[0], mean_BL)
    assert not learner.optimizers["all"].state.keys() & set(learner.policy.parameters())


def test_conditions_steer_what_is_written(data: Sequences) -> None:
    """Classes with a letter each: what is written has the letter that was asked for."""
    texts = ["a", "aa", "aaa"] * 8 + ["b", "bb", "bbb"] * 8
    labels_B = torch.arange(48) // 24
    real = data.vocabulary.encode(texts).given(labels_B)
    learner = vrae(data.vocabulary, classes=2, learning_rate=0.03, batch_size=24)
    learner.fit(real, max_epochs=60)
    for label, letter in enumerate("ab"):
        asked = learner.sample(100, condition=torch.tensor([label]), seed=1)
        share = sum(set(text) <= {letter} for text in asked.texts) / 100
        assert share > 0.9
    free = learner.sample(100, seed=2)
    assert {frozenset(text) for text in free.texts} >= {frozenset("a"), frozenset("b")}
    with pytest.raises(ValueError, match="the sequences have no condition"):
        learner.fit(data)
    with pytest.raises(ValueError, match="expected labels, int64"):
        learner.sample(3, condition=torch.zeros(3))
    with pytest.raises(ValueError, match="2 conditions for 3 sequences"):
        learner.sample(3, condition=torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="takes no condition"):
        vrae(data.vocabulary, max_length=4).sample(1, condition=torch.zeros(1))


def test_properties_by_name_are_measured_and_standardised(vocabulary: Vocabulary) -> None:
    texts = ["a" * i + "b" for i in range(1, 7)] * 4
    real = vocabulary.encode(texts)
    carried = real.given(torch.tensor([[float(text.count("a"))] for text in texts]))
    learner = vrae(vocabulary, properties=1)
    learner.fit(carried, max_epochs=1)
    given = learner.condition_of(carried)
    assert given is not None
    torch.testing.assert_close(given.mean(dim=0), torch.zeros(1), atol=1e-6, rtol=0)
    torch.testing.assert_close(given.std(dim=0, correction=0), torch.ones(1))
    drawn_BC = learner.policy.draw_condition(0, torch.arange(50))
    assert drawn_BC is not None
    assert set(drawn_BC[:, 2].tolist()) <= set(given[:, 0].tolist())
    named = vrae(vocabulary, properties=["tests.test_train_supervised_vrae:count_a"])
    named.fit(texts, max_epochs=1)
    torch.testing.assert_close(named.scaling.mean_C, learner.scaling.mean_C)


def count_a(texts: list[str]) -> list[float | None]:
    return [float(text.count("a")) for text in texts]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"annealing": "steep"}, "annealing is 'steep'; expected one of linear"),
        ({"word_keep": 1.5}, "word_keep is 1.5; expected a share"),
        ({"classes": 2, "properties": 1}, "give one"),
        ({"latent": 0}, "latent is 0; expected at least 1"),
    ],
)
def test_mistakes_are_told(vocabulary: Vocabulary, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vrae(vocabulary, **options)


def test_a_policy_that_reads_no_code_is_refused(policy: Policy) -> None:
    with pytest.raises(ValueError, match="one of condition_size=16"):
        VRAE(policy)
