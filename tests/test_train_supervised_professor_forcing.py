"""Professor forcing: its properties P1 to P6, and what a fit keeps.

Statistical tests have fixed seeds; z-tests at 4 standard errors fail by chance with probability
6e-5.
"""

# Shapes: B sequences, T steps, H hidden units
from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokengym.agents import GRUPolicy, Policy, TransformerPolicy, sample
from tokengym.agents.assembled import Purpose
from tokengym.envs import Sequences, Vocabulary
from tokengym.train.supervised import GumbelGAN, ProfessorForcing, TeacherForcing
from tokengym.train.supervised import professor_forcing as module
from tokengym.train.supervised.exposure import pinsker_bound, state_accuracy
from tokengym.train.supervised.professor_forcing import gates, looks_own, looks_true
from torch import Tensor

from .conftest import PolicyMaker, T

SMALL: dict[str, Any] = {"embedding": 4, "hidden": 6, "dropout": 0.3}
PLAYER: dict[str, Any] = {"discriminator_hidden": 5, "discriminator_learning_rate": 0.01}


@pytest.fixture
def data(vocabulary: Vocabulary) -> Sequences:
    return vocabulary.encode(["a", "ab", "abb", "aab", "ba", "", "bba", "a", "ab"] * 3)


def options(data: Sequences, **more: Any) -> dict[str, Any]:
    chosen = {"batch_size": 4, "weight_decay": 0.01, "policy_kwargs": SMALL}
    return {"vocabulary": data.vocabulary, **chosen, **more}


def weights_of(learner: TeacherForcing | ProfessorForcing) -> list[Tensor]:
    return [w.detach().clone() for w in learner.policy.parameters()]


def equal(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def with_accuracy(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    monkeypatch.setattr(module, "accuracy", lambda *_: value)


def one_step(learner: Any, data: Sequences) -> None:
    learner.fit(data, max_epochs=1, callback=lambda _: False)


# --- the properties -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "Transformer"])
def test_P1_with_strength_0_it_is_teacher_forcing_to_the_bit(data: Sequences, kind: str) -> None:
    """Dropout, averages, decay and all; the discriminator learns beside it."""
    kwargs = {"width": 8, "heads": 2, "dropout": 0.3} if kind == "Transformer" else SMALL
    chosen = options(data, averaging=0.9, policy_kwargs=kwargs)
    forced = TeacherForcing(kind, **chosen).fit(data, max_epochs=2)
    begun = ProfessorForcing(kind, strength=0.0, **chosen, **PLAYER)
    before = [w.clone() for w in begun.discriminator.parameters()]
    professor = begun.fit(data, max_epochs=2)
    assert equal(weights_of(forced), weights_of(professor))
    assert not equal(before, list(professor.discriminator.parameters()))


@pytest.mark.parametrize(
    ("accuracy", "learns", "reaches"),
    [
        (0.5, True, False),
        (0.75, True, False),
        (math.nextafter(0.75, 1), True, True),
        (math.nextafter(0.99, 0), True, True),
        (0.99, False, True),
        (1.0, False, True),
    ],
)
def test_P2_the_gates_are_at_three_quarters_and_99_of_100(
    data: Sequences, monkeypatch: pytest.MonkeyPatch, accuracy: float, learns: bool, reaches: bool
) -> None:
    assert gates(accuracy) == (learns, reaches)
    with_accuracy(monkeypatch, accuracy)
    forced = TeacherForcing("GRU", **options(data))
    professor = ProfessorForcing("GRU", **options(data), **PLAYER)
    before = [w.clone() for w in professor.discriminator.parameters()]
    one_step(forced, data)
    one_step(professor, data)
    assert equal(weights_of(forced), weights_of(professor)) is not reaches
    assert equal(before, list(professor.discriminator.parameters())) is not learns


@pytest.mark.parametrize("constant", [-1.0, 0.0, 2.0])
def test_P2_a_discriminator_that_says_one_thing_is_right_half_the_time(
    data: Sequences, constant: float
) -> None:
    professor = ProfessorForcing("GRU", **options(data, max_length=4), **PLAYER)
    last = professor.discriminator.judge[-1]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.constant_(last.bias, constant)
    figures = professor.training_step(data[:8], 0)
    assert figures["discriminator_accuracy"] == 0.5
    p = torch.tensor(constant, dtype=torch.float64).sigmoid()
    expected = -float(p.log() + (1 - p).log())
    assert figures["discriminator_loss"] == pytest.approx(expected)


def test_P3_no_gradient_passes_between_the_players(
    data: Sequences, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_accuracy(monkeypatch, 0.9)
    chosen = options(data, max_length=4)
    professor = ProfessorForcing("GRU", teacher_strength=1.0, **chosen, **PLAYER)
    players = {"policy": professor.policy, "discriminator": professor.discriminator}
    reached: dict[str, dict[str, bool]] = {}
    descend = professor.descend

    def watched(loss: Tensor, optimizer: str = "all") -> float:
        other = next(each for name, each in players.items() if name != optimizer)
        before = [w.clone() for w in other.parameters()]
        reached[optimizer] = {
            name: any(
                g is not None
                for g in torch.autograd.grad(
                    loss, list(each.parameters()), retain_graph=True, allow_unused=True
                )
            )
            for name, each in players.items()
        }
        norm = descend(loss, optimizer)
        assert all(w.grad is None for w in other.parameters())
        assert equal(before, list(other.parameters()))
        return norm

    monkeypatch.setattr(professor, "descend", watched)
    professor.training_step(data[:8], 0)
    assert reached["discriminator"] == {"policy": False, "discriminator": True}
    assert reached["policy"]["policy"]  # through the discriminator, which stays as it is


@pytest.mark.parametrize("outputs", [False, True])
def test_P4_the_gradient_arrives_through_hidden_states(data: Sequences, outputs: bool) -> None:
    professor = ProfessorForcing("GRU", outputs=outputs, **options(data, max_length=4), **PLAYER)
    own = professor.write(8, 0)
    behaviour_BTN = professor._behaviour(*professor._read(own))
    loss = looks_true(professor.discriminator(behaviour_BTN, own.lengths_B))
    policy = professor.policy
    assert isinstance(policy, GRUPolicy)
    weights = [policy.output.weight, policy.weight("weight_hh", 0), policy.embedding.weight]
    output, recurrent, embedding = torch.autograd.grad(loss, weights, allow_unused=True)
    assert recurrent is not None
    assert embedding is not None
    assert bool(recurrent.abs().sum() > 0)
    assert (output is not None) is outputs


def test_P5_an_exact_model_has_one_behaviour_in_both_modes(vocabulary: Vocabulary) -> None:
    """Data that the policy wrote: the discriminator is right half the time, whatever it learns.

    Every batch is new and judged before it is learnt from, so that right answers are a martingale;
    the policy stays as it is. The lengths differ, and batches are sorted by them.
    """
    torch.manual_seed(3)
    policy = GRUPolicy(vocabulary, embedding=5, hidden=7)
    with torch.no_grad():
        for weight in policy.parameters():
            weight.mul_(2)
    data = sample(policy, 12_800, max_length=T, seed=11)
    seen: list[float] = []

    class Watched(ProfessorForcing):
        def training_step(self, batch: Sequences, step: int) -> dict[str, float]:
            figures = super().training_step(batch, step)
            seen.append(figures["discriminator_accuracy"])
            return figures

    Watched(policy, learning_rate=1e-30, **PLAYER).fit(data, max_epochs=1)
    answers = len(seen) * 128
    assert len(seen) == 200
    assert abs(sum(seen) / len(seen) - 0.5) < 4 * 0.5 / math.sqrt(answers)
    own = sample(policy, 2000, max_length=T, seed=12)
    accuracy = state_accuracy(policy, data[:2000], own)
    assert accuracy.value < pinsker_bound(0.0) + 4 * accuracy.se


def test_P6_the_policy_reads_what_it_drew(
    make_policy: PolicyMaker, vocabulary: Vocabulary, data: Sequences
) -> None:
    """The behaviour of own text is what the policy's steps said while it wrote it."""
    policy = make_policy(vocabulary, 2)
    professor = ProfessorForcing(policy, outputs=True, max_length=T, **PLAYER)
    judged: list[Tensor] = []
    professor.discriminator.register_forward_pre_hook(lambda _, args: judged.append(args[0]))
    professor.training_step(data[:8], 5)
    judged_BTN = judged[1]
    fresh = make_policy(vocabulary, 2)
    own = sample(fresh, 8, max_length=T, seed=seed_of_step(professor, 5))
    state = fresh.initial_state(8)
    token_B = own.tokens_BT.new_full((8,), vocabulary.bos)
    for t in range(T):
        logits_BA, state = fresh.step(token_B, state)
        here_B = own.mask_BT[:, t]
        expected = logits_BA.softmax(dim=1)[here_B]
        torch.testing.assert_close(judged_BTN[here_B, t, -3:], expected, atol=1e-12, rtol=0)
        token_B = own.tokens_BT[:, t]


def seed_of_step(professor: ProfessorForcing, step: int) -> int:
    return professor.seed_of(Purpose.TRAINING_SEQUENCES, step)


# --- losses, fits, mistakes -----------------------------------------------------------------------


def test_losses_by_hand() -> None:
    """D is 3/4 and 1/2."""
    logits_B = torch.tensor([math.log(3), 0.0], dtype=torch.float64)
    assert float(looks_true(logits_B)) == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)
    assert float(looks_own(logits_B)) == pytest.approx((math.log(4) + math.log(2)) / 2)


def test_padding_is_not_read(data: Sequences) -> None:
    professor = ProfessorForcing("GRU", **options(data), **PLAYER)
    x_BTN = torch.randn(3, 4, 6)
    lengths_B = torch.tensor([2, 4, 1])
    expected_B = professor.discriminator(x_BTN, lengths_B)
    x_BTN[0, 2:], x_BTN[2, 1:] = 7.0, torch.nan
    assert torch.equal(professor.discriminator(x_BTN, lengths_B), expected_B)
    alone = professor.discriminator(x_BTN[:1, :2], lengths_B[:1])
    torch.testing.assert_close(alone, expected_B[:1])


@pytest.mark.parametrize("mode", ["strength", "teacher_strength"])
def test_the_policy_moves_to_where_the_discriminator_is_wrong(
    data: Sequences, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """A step down C_f makes own text look truer, one down C_t true text look more like own."""
    with_accuracy(monkeypatch, 1.0)  # the discriminator stays as it is
    weights: dict[str, Any] = {"strength": 0.0, mode: 1e4}
    chosen = options(data, max_length=4, learning_rate=1e-3, policy_kwargs={"hidden": 6}, **PLAYER)
    professor = ProfessorForcing("GRU", **weights, **chosen)
    read = professor.write(8, 0) if mode == "strength" else data[:8]
    wrong = looks_true if mode == "strength" else looks_own

    def loss() -> float:
        behaviour_BTN = professor._behaviour(*professor._read(read))
        return float(wrong(professor.discriminator(behaviour_BTN, read.lengths_B)).detach())

    before = loss()
    professor.training_step(data[:8], 0)
    assert loss() < before


@pytest.mark.parametrize("stop_at", [5, 14])
def test_a_fit_that_was_stopped_goes_on_to_the_bit(
    data: Sequences, tmp_path: Path, stop_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_accuracy(monkeypatch, 0.9)  # both gates open
    train, held_out = data[:20], data[20:]
    chosen = options(data, averaging=0.9, patience=50, outputs=True, **PLAYER)
    whole = ProfessorForcing("GRU", **chosen).fit(train, held_out, max_epochs=4)
    begun = ProfessorForcing("GRU", **chosen)
    begun.fit(train, held_out, max_epochs=4, callback=lambda each: each.progress.step < stop_at)
    begun.save(tmp_path / "stopped")
    loaded = ProfessorForcing.load(tmp_path / "stopped")
    assert loaded.outputs
    loaded.fit(train, held_out, max_epochs=4, reset=False)
    assert equal(weights_of(whole), weights_of(loaded))
    ours, theirs = (list(each.discriminator.parameters()) for each in (whole, loaded))
    assert equal(ours, theirs)
    again = ProfessorForcing("GRU", **chosen).fit(train, held_out, max_epochs=4)
    assert equal(weights_of(whole), weights_of(again))


def test_mistakes_are_told(policy: Policy, vocabulary: Vocabulary) -> None:
    for chosen, message in (
        ({"strength": -1.0}, "strength is -1.0; expected at least 0"),
        ({"discriminator_hidden": 0}, "discriminator_hidden is 0; expected at least 1"),
        ({"discriminator_learning_rate": 0.0}, "expected more than 0"),
    ):
        with pytest.raises(ValueError, match=message):
            ProfessorForcing(policy, **chosen)
    transformer = TransformerPolicy(vocabulary, width=8, heads=2)
    assert ProfessorForcing(transformer, outputs=True).discriminator.reader.input_size == 8 + 3


@pytest.mark.parametrize("kind", [ProfessorForcing, GumbelGAN])
def test_a_policy_that_reads_a_condition_is_refused(
    kind: type[ProfessorForcing | GumbelGAN], vocabulary: Vocabulary
) -> None:
    policy = GRUPolicy(vocabulary, embedding=3, hidden=4, condition_size=2)
    with pytest.raises(ValueError, match="reads a condition of 2 numbers, and a"):
        kind(policy)
