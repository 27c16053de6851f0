"""GumbelGAN: relaxed text, who learns from whom, and figures of hard samples alone."""

# Shapes: B sequences, T steps, A actions, S all sequences of the small language
from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from tokengym.agents import GRUPolicy, LSTMPolicy, Policy, TransformerPolicy, sample
from tokengym.agents.pretraining import seeded
from tokengym.envs import Sequences, Task, Vocabulary
from tokengym.train.supervised import GumbelGAN, TeacherForcing
from tokengym.train.supervised.exposure import ngram_distance
from tokengym.train.supervised.relaxed_writing import (
    Feedback,
    RelaxedSequences,
    judged,
    write_relaxed,
)
from torch import Tensor

from .conftest import T, log_probs

NETWORKS: dict[str, dict[str, Any]] = {
    "convolutional": {"embedding": 4, "widths": [1, 2], "filters": [4, 4]},
    "recurrent": {"embedding": 4, "hidden": 5},
    "transformer": {"width": 4, "heads": 2, "layers": 1},
}
CONVOLUTION: dict[str, Any] = {"discriminator_kwargs": NETWORKS["convolutional"]}


@pytest.fixture
def data(vocabulary: Vocabulary) -> Sequences:
    return vocabulary.encode(["a", "ab", "abb", "aab", "ba", "", "bba", "a", "ab"] * 3)


def gan(data: Sequences, **options: Any) -> GumbelGAN:
    small = {"policy_kwargs": {"embedding": 4, "hidden": 6}, "batch_size": 4, "pretraining": 0}
    chosen = {**small, **CONVOLUTION, "max_length": T, **options}
    return GumbelGAN("GRU", vocabulary=data.vocabulary, **chosen)


def written(policy: GRUPolicy | LSTMPolicy, n: int, tau: float, **how: Any) -> RelaxedSequences:
    with seeded(5), torch.no_grad():
        return write_relaxed(policy, n, T, tau, **how)


def weights(module: torch.nn.Module) -> list[Tensor]:
    return [w.detach().clone() for w in module.parameters()]


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def chi_square(policy: Policy, tokens_BT: Tensor, every: Sequences) -> float:
    """The p-value of drawn sequences under the policy's own, enumerated distribution."""
    p_S = log_probs(policy, every).exp().detach()
    place = {tuple(row): s for s, row in enumerate(every.tokens_BT.tolist())}
    drawn = torch.tensor([place[tuple(row)] for row in tokens_BT.tolist()])
    counts_S = drawn.bincount(minlength=len(every)).double()
    return float(scipy.stats.chisquare(counts_S, p_S * len(drawn)).pvalue)


# --- relaxed text ---------------------------------------------------------------------------------


@pytest.mark.parametrize("tau", [1e-4, 1.0])
def test_with_hard_feedback_the_tokens_are_the_policys_own(
    policy: GRUPolicy, all_sequences: Sequences, tau: float
) -> None:
    """Chi-square over all sequences of the language; fails by chance once in 1,000.

    At tau -> 0 the draws are one-hot too, so that what the discriminator reads is that text.
    """
    found = written(policy, 20_000, tau)
    assert chi_square(policy, found.tokens_BT, all_sequences) > 1e-3
    one_hot = F.one_hot(found.draws_BTA.argmax(dim=2), 3).double()
    assert torch.equal(one_hot.argmax(dim=2)[found.mask_BT], found.tokens_BT[found.mask_BT])
    off_BT = (found.draws_BTA - one_hot).abs().amax(dim=2)
    assert float(off_BT.mean()) < 1e-3 if tau < 1 else float(off_BT.mean()) > 0.1


def test_soft_feedback_is_the_policys_own_text_only_as_tau_falls(
    policy: GRUPolicy, all_sequences: Sequences
) -> None:
    """Which is why figures are of hard samples alone."""
    cold = written(policy, 20_000, 1e-4, feedback="soft")
    assert chi_square(policy, cold.tokens_BT, all_sequences) > 1e-3
    warm = written(policy, 20_000, 3.0, feedback="soft")
    assert chi_square(policy, warm.tokens_BT, all_sequences) < 1e-6


@pytest.mark.parametrize("feedback", ["hard", "soft"])
def test_what_follows_a_hard_end_is_masked(policy: GRUPolicy, feedback: Feedback) -> None:
    found = written(policy, 500, 1.0, feedback=feedback)
    vocabulary = policy.vocabulary
    expected = Sequences.from_tokens(found.tokens_BT, vocabulary)
    assert torch.equal(found.mask_BT, expected.mask_BT)
    assert torch.equal(found.tokens_BT, expected.tokens_BT)
    assert len({int(n) for n in expected.lengths_B}) > 2
    network = gan(expected).network.to(torch.float64)
    outputs_B = judged(network, found)
    other_BTA = found.draws_BTA.masked_fill(~found.mask_BT[:, :, None], 7.0)
    other = RelaxedSequences(other_BTA, found.tokens_BT, found.mask_BT)
    assert torch.equal(judged(network, other), outputs_B)


@pytest.mark.parametrize("kind", NETWORKS)
def test_one_hot_draws_have_the_discriminators_ordinary_score(policy: GRUPolicy, kind: str) -> None:
    """Straight-through: the tokens' score, with a gradient."""
    learner = GumbelGAN(
        policy, discriminator=kind, discriminator_kwargs=NETWORKS[kind], max_length=T
    )
    network = learner.network
    with seeded(2):
        found = write_relaxed(policy, 100, T, 0.7, one_hot=True)
    scores_B = judged(network, found)
    torch.testing.assert_close(scores_B, network(found.tokens_BT), atol=1e-14, rtol=0)
    (gradient,) = torch.autograd.grad(scores_B.sum(), [policy.output.weight])
    assert bool(gradient.abs().sum() > 0)


@pytest.mark.parametrize("kind", [GRUPolicy, LSTMPolicy])
def test_the_gradient_of_a_relaxed_draw_is_that_of_its_formula(
    vocabulary: Vocabulary, kind: type[GRUPolicy | LSTMPolicy]
) -> None:
    """By finite differences with the noise held; soft feedback carries it through all steps."""
    torch.manual_seed(1)
    policy = kind(vocabulary, embedding=3, hidden=4).double()
    weight = policy.output.bias

    def first_of_all() -> Tensor:
        with seeded(9):
            found = write_relaxed(policy, 6, 2, 0.8, feedback="soft")
        return found.draws_BTA[:, -1, 0].sum()

    (exact,) = torch.autograd.grad(first_of_all(), [weight])
    for i in range(3):
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[i] += sign * 1e-6
                ends.append(float(first_of_all()))
                weight[i] -= sign * 1e-6
        assert float(exact[i]) == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-7)


def test_hard_feedback_has_no_gradient_through_what_is_read(policy: GRUPolicy) -> None:
    """The second draw's slope by the output's bias is its own softmax's, but for soft feedback."""

    def reached(feedback: Feedback) -> bool:
        with seeded(4):
            found = write_relaxed(policy, 50, 2, 1.0, feedback=feedback)
        second = found.draws_BTA[:, 1, 0].sum()
        (bias,) = torch.autograd.grad(second, [policy.output.bias])
        own_BA = found.draws_BTA[:, 1].detach()
        alone = own_BA[:, :1] * (F.one_hot(torch.tensor(0), 3) - own_BA)
        return not torch.allclose(bias, alone.sum(dim=0))

    assert not reached("hard")
    assert reached("soft")


# --- two players ----------------------------------------------------------------------------------


@pytest.mark.parametrize("feedback", ["hard", "soft"])
@pytest.mark.parametrize("loss", ["relativistic", "bce"])
def test_each_players_gradient_stays_with_it(
    data: Sequences, monkeypatch: pytest.MonkeyPatch, feedback: str, loss: str
) -> None:
    learner = gan(data, feedback=feedback, loss=loss)
    players = {"policy": learner.policy, "discriminator": learner.network}
    reached: dict[str, dict[str, bool]] = {}
    descend = learner.descend

    def watched(value: Tensor, optimizer: str = "all") -> float:
        other = next(each for name, each in players.items() if name != optimizer)
        before = weights(other)
        reached[optimizer] = {}
        for name, each in players.items():
            wanted = list(each.parameters())
            found = torch.autograd.grad(value, wanted, retain_graph=True, allow_unused=True)
            reached[optimizer][name] = any(g is not None and bool(g.any()) for g in found)
        norm = descend(value, optimizer)
        assert all(w.grad is None for w in other.parameters())
        assert equal(before, weights(other))
        return norm

    monkeypatch.setattr(learner, "descend", watched)
    moved = weights(learner.policy), weights(learner.network)
    learner.training_step(data[:8], 0)
    assert reached["policy"]["policy"]
    assert reached["discriminator"] == {"policy": False, "discriminator": True}
    assert not equal(moved[0], weights(learner.policy))
    assert not equal(moved[1], weights(learner.network))


def test_a_constant_discriminator_changes_nothing(data: Sequences) -> None:
    learner = gan(data)
    torch.nn.init.zeros_(learner.network.output.weight)
    before = weights(learner.policy)
    figures = learner.training_step(data[:8], 0)
    assert equal(before, weights(learner.policy))
    assert figures["gradient_norm"] == 0
    assert figures["policy_loss"] == pytest.approx(math.log(2))
    assert figures["discriminator_auc"] == 0.5


@pytest.mark.parametrize("loss", ["relativistic", "bce"])
def test_losses_by_hand(data: Sequences, monkeypatch: pytest.MonkeyPatch, loss: str) -> None:
    """D is ln 3 of what is real, 0 of what is written: the policy's loss has them exchanged."""
    learner = gan(data, loss=loss)
    real, own = torch.full((8,), math.log(3)), torch.zeros(8, requires_grad=True)
    monkeypatch.setattr(learner.network, "forward", lambda _: real)
    monkeypatch.setattr("tokengym.train.supervised.gumbel_gan.judged", lambda *_: own)
    found = learner.policy_loss(data[:8], learner.write(8, 0))
    expected = math.log(4) if loss == "relativistic" else (math.log(2) + math.log(4)) / 2
    assert float(found.detach()) == pytest.approx(expected)
    (gradient,) = torch.autograd.grad(found, [own])
    slope = 3 / 4 if loss == "relativistic" else 1 / 4  # s(ln 3); half of s(0)
    assert gradient.tolist() == pytest.approx([-slope / 8] * 8)


def test_the_temperature_falls_from_1_to_1_over_beta(data: Sequences) -> None:
    learner = gan(data, beta=100.0, annealing=10, pretraining=5)
    found = [learner.temperature(step) for step in (0, 5, 10, 15, 99)]
    assert found == pytest.approx([1, 1, 0.1, 0.01, 0.01])


def test_it_begins_with_teacher_forcing(data: Sequences) -> None:
    """To the bit, as long as the pretraining lasts."""
    chosen: dict[str, Any] = {"policy_kwargs": {"embedding": 4, "hidden": 6, "dropout": 0.2}}
    forced = TeacherForcing("GRU", vocabulary=data.vocabulary, batch_size=4, **chosen)
    forced.fit(data, max_epochs=2)
    begun = gan(data, pretraining=14, **chosen).fit(data, max_epochs=2)
    assert equal(weights(forced.policy), weights(begun.policy))
    further = gan(data, pretraining=13, **chosen).fit(data, max_epochs=2)
    assert not equal(weights(forced.policy), weights(further.policy))


# --- figures, files, mistakes ---------------------------------------------------------------------


def test_figures_and_samples_are_of_hard_tokens_alone(data: Sequences) -> None:
    """Whatever the relaxation, they are those of the policy: its samples, its likelihood."""
    soft = gan(data, feedback="soft", beta=1.0, pretraining=2)
    soft.fit(data, max_epochs=1)
    bare = TeacherForcing(soft.policy, max_length=T)
    assert torch.equal(soft.sample(50, seed=3).tokens_BT, bare.sample(50, seed=3).tokens_BT)
    hard = GumbelGAN(soft.policy, feedback="hard", beta=50.0, max_length=T, **CONVOLUTION)
    figures = soft.evaluate(data)
    assert {k: f.value for k, f in figures.items()} == {
        k: f.value for k, f in hard.evaluate(data).items()
    }
    assert figures.items() >= bare.evaluate(data).items()
    own = sample(soft.policy, len(data), max_length=T, seed=soft.seed_of(5))  # type: ignore[arg-type]
    assert figures["bigram_distance"].value == ngram_distance(own, data, 2)


@pytest.mark.parametrize("stop_at", [0, 3, 9, 15])
def test_a_fit_that_was_stopped_goes_on_to_the_bit(
    data: Sequences, tmp_path: Path, stop_at: int
) -> None:
    """Before the first step, within the pretraining, and after it."""
    train, held_out = data[:20], data[20:]
    chosen: dict[str, Any] = {"pretraining": 6, "averaging": 0.9, "adversarial_learning_rate": 0.01}
    whole = gan(data, **chosen).fit(train, held_out, max_epochs=4)
    begun = gan(data, **chosen)
    if stop_at:
        begun.fit(train, held_out, max_epochs=4, callback=lambda each: each.progress.step < stop_at)
    begun.save(tmp_path / "stopped")
    loaded = GumbelGAN.load(tmp_path / "stopped")
    assert loaded.progress.step == stop_at
    loaded.fit(train, held_out, max_epochs=4, reset=False)
    assert equal(weights(whole.policy), weights(loaded.policy))
    assert equal(weights(whole.network), weights(loaded.network))
    assert whole.progress.best == loaded.progress.best


def test_the_length_is_known_from_the_data_or_the_task(
    data: Sequences, small_task: Task, tmp_path: Path
) -> None:
    learner = gan(data, max_length=None)
    assert set(learner.modules) == {"policy"}
    learner.save(tmp_path / "begun")
    loaded = GumbelGAN.load(tmp_path / "begun").fit(data, max_epochs=1)
    assert loaded.max_length == T
    assert set(loaded.modules) == {"policy", "discriminator"}
    other = gan(data, max_length=None)
    other.use_task(small_task)
    assert other.network is other.modules["discriminator"]
    other.max_length = 9
    with pytest.raises(ValueError, match="up to 4 tokens, and max_length is 9; make a learner"):
        other.fit(data)


def test_mistakes_are_told(policy: GRUPolicy, vocabulary: Vocabulary) -> None:
    for chosen, message in (
        ({"feedback": "loose"}, "feedback is 'loose'; expected one of 'hard', 'soft'"),
        ({"loss": "hinge"}, "loss is 'hinge'; expected one of 'relativistic', 'bce'"),
        ({"beta": 0.5}, "beta is 0.5; expected at least 1"),
        ({"pretraining": -1}, "pretraining is -1; expected at least 0"),
        ({"discriminator": "mlp"}, "discriminator is 'mlp'; expected one of 'convolutional'"),
        ({"discriminator_kwargs": {"gate": 0.9}}, "network is 'gate'; expected one of 'embedding'"),
    ):
        with pytest.raises(ValueError, match=message):
            GumbelGAN(policy, **chosen)
    with pytest.raises(ValueError, match="TransformerPolicy reads nothing but tokens"):
        GumbelGAN(TransformerPolicy(vocabulary, width=8, heads=2))
