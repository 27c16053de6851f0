"""AAE: D against its optimum, codes against the prior, conditions that the code does not hold."""

# Shapes: B sequences, T steps, L numbers of a code
from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import stats
from tokengym.envs import MarkovMixtureSource, MarkovSource, Sequences, Vocabulary
from tokengym.train.metrics import mean_of
from tokengym.train.supervised import AAE, VRAE, Learner, load_learner
from tokengym.train.supervised.aae import code_discriminator, discriminator_loss, without_some
from tokengym.train.supervised.asked import class_figures
from tokengym.train.supervised.encoder import drawn
from tokengym.train.supervised.latent_measures import (
    dependence,
    mutual_information,
    probe_accuracy,
)

SMALL: dict[str, Any] = {
    "latent": 2,
    "policy_kwargs": {"embedding": 8, "hidden": 24},
    "encoder_kwargs": {"embedding": 8, "hidden": 24},
    "device": "cpu",
}

FITTED: dict[str, Any] = SMALL | {
    "policy_kwargs": {"embedding": 8, "hidden": 16},
    "encoder_kwargs": {"embedding": 8, "hidden": 16},
    "batch_size": 64,
    "learning_rate": 3e-3,
    "discriminator_units": 32,
}


@pytest.fixture
def data(vocabulary: Vocabulary) -> Sequences:
    return vocabulary.encode(["a", "ab", "abb", "aab", "ba", "", "bba", "a", "ab"] * 3)


@pytest.mark.parametrize("mean", [0.0, 1.0])
def test_A1_the_optimal_discriminator_is_the_share_of_the_prior(mean: float) -> None:
    """N(0, 1) against N(mean, 1): the logit of p / (p + q) is mean^2 / 2 - mean z.

    Where they are one distribution the loss is 2 ln 2, to the noise of a batch.
    """
    torch.manual_seed(0)
    discriminator = code_discriminator(1, 16)
    adam = torch.optim.Adam(discriminator.parameters(), lr=0.01)
    losses = []
    for step in range(250):
        if step == 150:
            adam.param_groups[0]["lr"] = 0.001
        prior_B1, code_B1 = torch.randn(512, 1), torch.randn(512, 1) + mean
        loss = discriminator_loss(discriminator(prior_B1), discriminator(code_B1))
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(float(loss.detach()))
    z_G1 = torch.linspace(-1.5, 1.5 + mean, 20)[:, None]
    best_G1 = (mean**2 / 2 - mean * z_G1).sigmoid()
    assert (discriminator(z_G1).sigmoid() - best_G1).abs().max() < 0.06
    if mean == 0:
        assert sum(losses[-100:]) / 100 == pytest.approx(2 * math.log(2), abs=0.005)
    else:
        assert sum(losses[-100:]) / 100 < 2 * math.log(2) - 0.1


def test_A2_no_gradient_crosses_between_the_players(data: Sequences) -> None:
    """Each of the two steps moves its own weights alone, and leaves no gradient behind."""
    seen: list[str] = []

    class Watched(AAE):
        def descend(self, loss: torch.Tensor, optimizer: str = "all") -> float:
            parts: dict[str, list[torch.nn.Module]] = {
                "discriminator": [self.discriminator],
                "autoencoder": [self.policy, self.reader],
            }
            before = {
                name: [w.detach().clone() for m in modules for w in m.parameters()]
                for name, modules in parts.items()
            }
            norm = super().descend(loss, optimizer)
            for name, modules in parts.items():
                after = [w for m in modules for w in m.parameters()]
                same = [torch.equal(a, b) for a, b in zip(after, before[name], strict=True)]
                assert not all(same) if name == optimizer else all(same)
                assert all(w.grad is None for w in after)
            seen.append(optimizer)
            return norm

    Watched("GRU", vocabulary=data.vocabulary, batch_size=27, **SMALL).fit(data, max_epochs=2)
    assert seen == ["discriminator", "autoencoder"] * 2


@pytest.mark.slow
@pytest.mark.parametrize(("weight", "least", "most"), [(3.0, 0.0, 0.12), (0.0, 0.2, 1.0)])
def test_A3_codes_are_distributed_as_the_prior(weight: float, least: float, most: float) -> None:
    """Kolmogorov's distance of each number of the code; without the adversary it is far."""
    source = MarkovSource.random(0, states=4, length=6)
    train, fresh = source.sample(4000, seed=1), source.sample(1000, seed=2)
    options = FITTED | {"adversarial_weight": weight}
    learner = AAE("GRU", vocabulary=source.vocabulary, **options).fit(train, max_epochs=5)
    torch.manual_seed(0)
    code_BL = drawn(*learner.encode(fresh))
    for numbers in code_BL.T.tolist():
        assert least < stats.kstest(numbers, "norm").statistic < most
    loss = learner.evaluate(fresh)["discriminator_loss"].value
    assert (abs(loss - 2 * math.log(2)) < 0.05) == (weight > 0)


def test_the_prior_of_several_components_is_a_mixture_in_a_circle(data: Sequences) -> None:
    """Of the learner and of its policy: 3 in a circle of radius 2, deviations 0.5; 5 s.e."""
    learner = AAE("GRU", vocabulary=data.vocabulary, components=3, **(SMALL | {"latent": 3}))
    learner.fit(data, max_epochs=1)
    torch.manual_seed(0)
    n = 20_000
    for code_BL in (learner.prior_codes(n), learner.policy.draw_condition(1, torch.arange(n))):
        assert code_BL is not None
        assert code_BL.mean(dim=0).abs().max() < 5 * 1.5 / math.sqrt(n)
        variance_L = torch.tensor([2.25, 2.25, 1.0])  # 2^2 / 2 + 0.5^2
        torch.testing.assert_close(code_BL.var(dim=0), variance_L, rtol=0.05, atol=0)
        angle_B = torch.atan2(code_BL[:, 1], code_BL[:, 0])
        near_B = (angle_B * 3).cos() > 0.5
        assert (
            near_B.float().mean() > 0.8
        )  # most in the middle two thirds of its share; 2/3 if flat


def test_A4_reconstruction_pays_for_what_the_code_does_not_tell(
    all_sequences: Sequences,
) -> None:
    """A uniform set: -log p(x | z) >= ln 31 - I(x; z), with I = 0 where codes are constant."""
    entropy, vocabulary = math.log(len(all_sequences)), all_sequences.vocabulary
    blind = AAE("GRU", vocabulary=vocabulary, batch_size=31, learning_rate=0.01, **SMALL)
    for weight in blind.reader.head.parameters():
        weight.requires_grad_(False).zero_()
    blind.fit(all_sequences, max_epochs=40)
    found = blind.evaluate(all_sequences)["reconstruction"].value
    assert entropy <= found < entropy + 0.5
    seeing = VRAE(
        "GRU", vocabulary=vocabulary, batch_size=31, learning_rate=0.02, beta=0.3, **SMALL
    )
    figures = seeing.fit(all_sequences, max_epochs=100).evaluate(all_sequences)
    information = figures["mutual_information"]
    assert information.value > 0.5
    assert figures["reconstruction"].value >= entropy - information.value - 4 * information.se
    assert figures["negative_elbo"].value >= entropy - 4 * information.se


@pytest.mark.slow
def test_A5_and_A6_the_code_does_not_hold_the_condition_that_steers_the_output() -> None:
    """Three chains as classes: a code that tells of the sequence, and nothing of its class.

    A probe reads the class from the code no better than chance (3 s.e.), and what is written for a
    class is of it as often as Bayes' rule could tell, at most (3 s.e.).
    """
    source = MarkovMixtureSource.random(3, classes=3, states=4, concentration=0.2, length=6)
    train, fresh = source.sample(4000, seed=1), source.sample(2000, seed=2)
    labels_B, fresh_B = (source.class_log_probs(x).argmax(dim=1) for x in (train, fresh))
    options = FITTED | {"independence": 3000.0, "independence_steps": 130}
    learner = AAE("GRU", vocabulary=source.vocabulary, classes=3, **options)
    learner.fit(train.given(labels_B), max_epochs=8)
    figures = learner.evaluate(fresh.given(fresh_B))
    probe = figures["probe_accuracy"]
    assert probe.value < figures["largest_class"].value + 3 * probe.se
    torch.manual_seed(0)
    assert mutual_information(*learner.encode(fresh.given(fresh_B))).value > 0.3
    asked_B = torch.arange(2000) % 3
    written = learner.sample(2000, condition=asked_B, seed=3)
    found_B = source.class_log_probs(written).argmax(dim=1)
    bayes = float(source.class_log_probs(fresh).exp().max(dim=1).values.mean())
    accuracy = class_figures(asked_B, found_B.double())["class_accuracy"].value
    assert 0.7 < accuracy <= bayes + 3 * math.sqrt(bayes * (1 - bayes) / 2000)


def test_the_dependence_is_the_mean_over_quadruples() -> None:
    """E[k c] + E[k] E[c] - 2 E[k c'], over all orders of four different sequences out of six."""
    generator = torch.Generator().manual_seed(0)
    z_BL, c_BC = torch.randn(2, 6, 2, generator=generator, dtype=torch.float64)
    apart_BB = torch.cdist(z_BL, z_BL).square()
    k = sum((-apart_BB / (2 * 2 * share)).exp() for share in (1 / 16, 1 / 4, 1)) / 3
    c = (-torch.cdist(c_BC, c_BC).square() / 2).exp()
    assert isinstance(k, torch.Tensor)
    terms = [
        k[i, j] * c[i, j] + k[i, j] * c[q, r] - 2 * k[i, j] * c[i, q]
        for i, j, q, r in itertools.permutations(range(6), 4)
    ]
    torch.testing.assert_close(dependence(z_BL, c_BC), torch.stack(terms).mean())


def test_the_dependence_is_0_on_average_where_there_is_none() -> None:
    """400 batches of 16, 4 standard errors; above 0 by far where a number shifts with the class."""
    generator = torch.Generator().manual_seed(0)
    free, bound = [], []
    for _ in range(400):
        labels_B = torch.randint(3, (16,), generator=generator)
        c_BC = torch.eye(3)[labels_B]
        z_BL = torch.randn(16, 2, generator=generator)
        free.append(float(dependence(z_BL, c_BC)))
        bound.append(float(dependence(z_BL + labels_B[:, None], c_BC)))
    estimate = mean_of(free)
    assert abs(estimate.value) < 4 * estimate.se
    assert mean_of(bound).value > 20 * estimate.se
    same = torch.zeros(5, 2, requires_grad=True)
    dependence(same, torch.eye(5)).backward()
    assert same.grad is not None
    assert same.grad.isfinite().all()
    assert dependence(torch.ones(3, 2), torch.eye(3)) == 0


def test_the_charge_for_dependence_comes_late(data: Sequences) -> None:
    """0 for N steps, half of it after 2 N, all after 3 N."""
    labelled = data.given(torch.arange(len(data)) % 3)
    learner = AAE("GRU", vocabulary=data.vocabulary, classes=3, independence=8.0,
                  independence_steps=10, **SMALL)  # fmt: skip
    code_BL = torch.randn(len(data), 2, generator=torch.Generator().manual_seed(0))
    whole = learner._charge(code_BL, labelled, 30)
    condition = learner.condition_of(labelled)
    assert condition is not None
    torch.testing.assert_close(whole, 8 * dependence(code_BL, condition))
    for step, share in ((0, 0.0), (10, 0.0), (20, 0.5), (99, 1.0)):
        torch.testing.assert_close(learner._charge(code_BL, labelled, step), share * whole)
    with pytest.raises(ValueError, match="of a condition, and there is none"):
        AAE("GRU", vocabulary=data.vocabulary, independence=1.0, **SMALL)


def test_a_probe_reads_what_is_there_and_nothing_else() -> None:
    torch.manual_seed(0)
    labels_B = torch.arange(1000) % 4
    noise_BL = torch.randn(1000, 3)
    blind = probe_accuracy(noise_BL, labels_B)
    assert blind.value == pytest.approx(0.25, abs=4 * blind.se)
    noise_BL[:, 0] += 10.0 * labels_B
    assert probe_accuracy(noise_BL, labels_B).value > 0.99


def test_the_encoder_reads_what_is_left_in_its_order(data: Sequences) -> None:
    torch.manual_seed(0)
    batch, eos = data.padded(6), data.vocabulary.eos
    kept = 0
    for _ in range(50):
        noisy = without_some(batch, 0.4)
        for old_T, new_T, length in zip(
            batch.tokens_BT.tolist(),
            noisy.tokens_BT.tolist(),
            noisy.lengths_B.tolist(),
            strict=True,
        ):
            assert new_T[length - 1] == eos
            assert set(new_T[length:]) <= {data.vocabulary.pad}
            rest = iter(old_T)
            assert all(token in rest for token in new_T[:length])  # a subsequence
            kept += length - 1
    n = 50 * int((batch.lengths_B - 1).sum())
    assert kept / n == pytest.approx(0.6, abs=3.89 * math.sqrt(0.24 / n))
    assert without_some(batch, 0.0) is batch


def test_T10_a_fit_that_was_stopped_goes_on_to_the_bit(data: Sequences, tmp_path: Path) -> None:
    labelled = data.given(torch.arange(len(data)) % 3)

    def learner() -> AAE:
        options = SMALL | {"components": 2, "deleted": 0.2, "classes": 3, "batch_size": 9}
        return AAE("LSTM", vocabulary=data.vocabulary, **options)

    whole = learner().fit(labelled, labelled, max_epochs=2)
    begun = learner()

    def stop(each: Learner) -> bool:
        return each.progress.step < 3

    begun.fit(labelled, labelled, max_epochs=2, callback=stop)
    begun.save(tmp_path / "stopped")
    loaded = load_learner(tmp_path / "stopped", "cpu")
    assert isinstance(loaded, AAE)
    loaded.fit(labelled, labelled, max_epochs=2, reset=False)
    assert whole.sample(20, seed=1).texts == loaded.sample(20, seed=1).texts
    for ours, theirs in zip(whole.modules.values(), loaded.modules.values(), strict=True):
        for name, weight in ours.state_dict().items():
            assert torch.equal(weight, theirs.state_dict()[name])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"deleted": 1.0}, "deleted is 1.0; expected a share"),
        ({"components": 0}, "components is 0; expected at least 1"),
        ({"components": 3, "latent": 1}, "3 components need latent of at least 2"),
        ({"discriminator_rate": -1.0}, "discriminator_rate is -1.0; expected more than 0"),
    ],
)
def test_mistakes_are_told(vocabulary: Vocabulary, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AAE("GRU", vocabulary=vocabulary, **(SMALL | options))
