"""Learners: one way in, steps shared with agents, fits that go on to the bit."""

# Shapes: B sequences, T steps
from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tokengym.agents import ORGAN, CheckpointError, GRUPolicy, Policy
from tokengym.agents.checkpoint import load_checkpoint, save_checkpoint
from tokengym.agents.pretraining import log_likelihoods, training_batch
from tokengym.envs import Sequences, Task, TokenEnv, Vocabulary
from tokengym.train.supervised import TeacherForcing, load_learner
from tokengym.train.supervised.figures import likelihood_figures
from tokengym.train.supervised.schedules import rate_factor

from .conftest import PolicyMaker, T, log_probs

SMALL: dict[str, Any] = {"embedding": 4, "hidden": 6}
EVERYTHING: dict[str, Any] = {
    "batch_size": 4,
    "schedule": "cosine",
    "warmup_steps": 3,
    "weight_decay": 0.1,
    "averaging": 0.9,
    "patience": 50,
}


def weights_equal(a: Policy, b: Policy) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture
def data(vocabulary: Vocabulary) -> Sequences:
    return vocabulary.encode(["a", "ab", "abb", "aab", "ba", "", "bba", "a", "ab"] * 3)


def learner(vocabulary: Vocabulary, **options: Any) -> TeacherForcing:
    kwargs = {**SMALL, **options.pop("policy_kwargs", {})}
    return TeacherForcing("GRU", vocabulary=vocabulary, policy_kwargs=kwargs, **options)


# --- the shared path --------------------------------------------------------------------------


def test_the_pretraining_of_agents_is_this_path(small_task: Task, data: Sequences) -> None:
    """One seed gives the same weights to the bit, dropout included."""
    kwargs = {**SMALL, "dropout": 0.3}
    agent = ORGAN("GRU", TokenEnv(small_task), policy_kwargs=kwargs, seed=5, device="cpu")
    agent.pretrain(data, epochs=3, batch_size=4, discriminator_steps=0)
    fitted = learner(data.vocabulary, policy_kwargs={"dropout": 0.3}, batch_size=4, seed=5)
    fitted.fit(data, max_epochs=3)
    assert weights_equal(agent.policy, fitted.policy)


def test_its_policy_drops_into_agents(small_task: Task, data: Sequences) -> None:
    fitted = learner(data.vocabulary).fit(data, max_epochs=2)
    agent = ORGAN(fitted.policy, TokenEnv(small_task), batch_size=4, completions=1)
    before = log_likelihoods(fitted.policy, data)
    agent.learn(1)
    assert agent.policy is fitted.policy
    assert not torch.equal(before, log_likelihoods(agent.policy, data))


def test_every_sequence_comes_once_an_epoch(data: Sequences) -> None:
    """In batches of similar length, in another order each epoch."""

    def epoch(first: int) -> list[Sequences]:
        return [training_batch(data, step, 4, seed=3) for step in range(first, first + 7)]

    for first in (0, 7):
        texts = [text for batch in epoch(first) for text in batch.texts]
        assert sorted(texts) == sorted(data.texts)
    assert [b.texts for b in epoch(0)] == [b.texts for b in epoch(0)]
    assert [b.texts for b in epoch(0)] != [b.texts for b in epoch(7)]
    padding = sum(int((~batch.mask_BT).sum()) for batch in epoch(0))
    assert padding <= 7  # one batch at most mixes two neighbouring lengths in each step up


# --- properties of teacher forcing ------------------------------------------------------------


def test_T4_forced_free_running_is_teacher_forcing(
    make_policy: PolicyMaker, vocabulary: Vocabulary, all_sequences: Sequences
) -> None:
    """The sampler's own distribution along given tokens, one prefix at a time."""
    policy = make_policy(vocabulary, 2)
    expected_BT = log_likelihoods(policy, all_sequences)
    found_BT = torch.zeros_like(expected_BT)
    for b in range(0, len(all_sequences), 5):
        tokens_T = all_sequences.tokens_BT[b]
        state, token = policy.initial_state(1), torch.tensor([vocabulary.bos])
        for t in range(int(all_sequences.lengths_B[b])):
            logits_BA, state = policy.step(token, state)
            found_BT[b, t] = logits_BA.log_softmax(1)[0, tokens_T[t]]
            token = tokens_T[t : t + 1]
    torch.testing.assert_close(found_BT[::5], expected_BT[::5], atol=1e-12, rtol=0)


def test_T6_the_loss_begins_at_the_log_of_the_number_of_tokens(
    make_policy: PolicyMaker, vocabulary: Vocabulary, data: Sequences
) -> None:
    policy = make_policy(vocabulary, 0)
    output = policy.output
    assert isinstance(output, torch.nn.Linear)
    torch.nn.init.zeros_(output.weight)
    torch.nn.init.zeros_(output.bias)
    figures = TeacherForcing(policy).evaluate(data)
    assert figures["nats_a_token"].value == pytest.approx(math.log(3), abs=1e-12)
    assert figures["perplexity"].value == pytest.approx(3, abs=1e-12)


def test_T7_figures_do_not_depend_on_batches_or_padding(policy: Policy, data: Sequences) -> None:
    """Bits of all tokens over all characters, the end of a line being one."""
    figures = TeacherForcing(policy).evaluate(data)
    total = -float(log_probs(policy, data).sum().detach())
    n_characters = sum(len(text) + 1 for text in data.texts)
    assert figures["bits_a_character"].value == pytest.approx(total / n_characters / math.log(2))
    assert figures["nats_a_sequence"].value == pytest.approx(total / len(data))
    padded = data.padded(data.tokens_BT.shape[1] + 7)
    in_threes = torch.cat([log_likelihoods(policy, padded[i : i + 3]) for i in range(0, 27, 3)])
    again = likelihood_figures(in_threes, padded)
    for name, figure in figures.items():
        assert figure.value == pytest.approx(again[name].value, abs=1e-12)
        assert figure.se == pytest.approx(again[name].se, abs=1e-12)


def test_T9_at_temperature_1_samples_have_the_entropy_of_the_policy(
    policy: Policy, all_sequences: Sequences
) -> None:
    """z-test; 3.89 is exceeded with probability 1e-4."""
    log_p = log_probs(policy, all_sequences).detach()
    entropy = -float((log_p.exp() * log_p).sum())
    drawn = TeacherForcing(policy, max_length=T).sample(20_000, seed=3)
    figure = TeacherForcing(policy).evaluate(drawn)["nats_a_sequence"]
    assert abs(figure.value - entropy) < 3.89 * figure.se
    sharper = TeacherForcing(policy, max_length=T).sample(20_000, seed=3, temperature=0.5)
    figure = TeacherForcing(policy).evaluate(sharper)["nats_a_sequence"]
    assert figure.value < entropy - 3.89 * figure.se


@pytest.mark.parametrize("averaging", [0.0, 0.9])
@pytest.mark.parametrize("stop_at", [5, 7, 20])
def test_T10_a_fit_that_was_stopped_goes_on_to_the_bit(
    data: Sequences, tmp_path: Path, stop_at: int, averaging: float
) -> None:
    """Within an epoch and at its end, with averages, dropout, decay, schedule, early stopping."""
    options = {**EVERYTHING, "averaging": averaging, "policy_kwargs": {"dropout": 0.2}}
    train, held_out = data[:20], data[20:]
    whole = learner(data.vocabulary, **options).fit(train, held_out, max_epochs=6)
    begun = learner(data.vocabulary, **options)
    begun.fit(train, held_out, max_epochs=6, callback=lambda each: each.progress.step < stop_at)
    begun.save(tmp_path / "stopped")
    loaded = TeacherForcing.load(tmp_path / "stopped")
    assert weights_equal(begun.policy, loaded.policy)
    assert loaded.progress.step == stop_at
    loaded.fit(train, held_out, max_epochs=6, reset=False)
    assert weights_equal(whole.policy, loaded.policy)
    assert whole.progress.best == loaded.progress.best
    assert not weights_equal(whole.policy, begun.policy)
    assert torch.equal(whole.sample(9).tokens_BT, loaded.sample(9).tokens_BT)


# --- options ----------------------------------------------------------------------------------


def test_early_stopping_keeps_the_best_weights(data: Sequences) -> None:
    """Held-out text in which what is learnt is wrong: the first epoch stays the best."""
    wrong = data.vocabulary.encode(["bbbb"] * 5)
    right = data.vocabulary.encode(["aaaa"] * 20)
    values: list[float] = []

    def watch(each: TeacherForcing) -> None:
        if each.progress.step % 5 == 0:
            values.append(each.evaluate(wrong)["nats_a_token"].value)

    fitted = learner(data.vocabulary, batch_size=4, learning_rate=0.05, patience=3)
    fitted.fit(right, wrong, max_epochs=50, callback=watch)
    assert len(values) == 4
    assert values == sorted(values)
    assert fitted.evaluate(wrong)["nats_a_token"].value == pytest.approx(values[0])
    assert fitted.progress.stopped is not None
    assert "for 3 epochs" in fitted.progress.stopped
    steps = fitted.progress.step
    assert fitted.fit(right, wrong, max_epochs=50, reset=False).progress.step == steps


def test_the_average_is_the_weighted_mean_of_the_weights_by_hand(data: Sequences) -> None:
    seen: list[torch.Tensor] = []
    policy = GRUPolicy(data.vocabulary, **SMALL)
    fitted = TeacherForcing(policy, batch_size=4, averaging=0.5)
    fitted.fit(data, max_epochs=1, callback=lambda _: seen.append(policy.output.bias.clone()))
    average = seen[0]
    for step, weight in enumerate(seen[1:], start=1):
        keep = min(0.5, (1 + step) / (10 + step))
        average = keep * average + (1 - keep) * weight
    torch.testing.assert_close(policy.output.bias, average)
    assert not torch.equal(policy.output.bias, seen[-1])


def test_weight_decay_acts_on_matrices_alone(data: Sequences) -> None:
    """With a loss that is constant a step multiplies matrices by 1 - rate * decay."""

    class Still(TeacherForcing):
        def training_step(self, batch: Sequences, step: int) -> dict[str, float]:
            self.descend(0.0 * sum((w.sum() for w in self.policy.parameters()), torch.zeros(())))
            return {}

    policy = GRUPolicy(data.vocabulary, **SMALL)
    before = {name: w.clone() for name, w in policy.state_dict().items()}
    fitted = Still(policy, schedule="constant", learning_rate=0.1, weight_decay=0.2, batch_size=27)
    fitted.fit(data, max_epochs=1)
    for name, weight in policy.state_dict().items():
        factor = 1 - 0.1 * 0.2 if weight.ndim > 1 else 1.0
        torch.testing.assert_close(weight, factor * before[name])


@pytest.mark.parametrize(
    ("schedule", "progress", "step", "warmup", "expected"),
    [
        ("constant", 0.7, 70, 0, 1.0),
        ("linear", 0.0, 0, 0, 1.0),
        ("linear", 0.25, 25, 0, 0.75),
        ("linear", 1.0, 100, 0, 0.01),
        ("cosine", 0.0, 0, 0, 1.0),
        ("cosine", 0.5, 50, 0, 0.505),
        ("cosine", 1.0, 100, 0, 0.01),
        ("constant", 0.0, 0, 10, 0.1),
        ("constant", 0.0, 9, 10, 1.0),
        ("linear", 0.5, 4, 10, 0.25),
    ],
)
def test_schedules_by_hand(
    schedule: Any, progress: float, step: int, warmup: int, expected: float
) -> None:
    assert rate_factor(schedule, progress, step, warmup) == pytest.approx(expected)


def test_two_players_move_their_own_weights_alone(data: Sequences) -> None:
    """A loss of both, down which one goes: the other has no gradient, and is as it was."""

    class TwoPlayers(TeacherForcing):
        def __init__(self, policy: Policy, **options: Any) -> None:
            super().__init__(policy, **options)
            self.critic = torch.nn.Linear(3, 1)

        @property
        def modules(self) -> dict[str, torch.nn.Module]:
            return {"policy": self.policy, "critic": self.critic}

        def make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
            return {"writer": self.adam(self.policy), "critic": self.adam(self.critic)}

        def training_step(self, batch: Sequences, step: int) -> dict[str, float]:
            score = self.critic(self.policy(batch.tokens_BT)).mean()
            before = [w.clone() for w in self.policy.parameters()]
            self.descend(score, "critic")
            for weight, old in zip(self.policy.parameters(), before, strict=True):
                assert weight.grad is None
                assert torch.equal(weight, old)
            return {"score": float(score.detach())}

    fitted = TwoPlayers(GRUPolicy(data.vocabulary, **SMALL), batch_size=9)
    before = fitted.critic.weight.clone()
    fitted.fit(data, max_epochs=1)
    assert not torch.equal(fitted.critic.weight, before)


# --- files and mistakes -----------------------------------------------------------------------


def test_a_file_that_was_changed_or_is_of_another_learner_is_refused(
    data: Sequences, tmp_path: Path
) -> None:
    fitted = learner(data.vocabulary).fit(data, max_epochs=1)
    fitted.save(tmp_path / "kept")
    again = load_learner(tmp_path / "kept")
    assert isinstance(again, TeacherForcing)
    tensors, state = load_checkpoint(tmp_path / "kept.safetensors")
    save_checkpoint(tmp_path / "other.safetensors", tensors, {**state, "learner": "Unheard"})
    with pytest.raises(CheckpointError, match="'Unheard', which is none of"):
        load_learner(tmp_path / "other")
    with pytest.raises(CheckpointError, match="holds a Unheard, not a TeacherForcing"):
        TeacherForcing.load(tmp_path / "other")
    save_checkpoint(tmp_path / "other.safetensors", tensors, {**state, "policy": 3})
    with pytest.raises(CheckpointError, match="does not fit this version"):
        TeacherForcing.load(tmp_path / "other")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "triangular"}, "schedule is 'triangular'; expected one of 'constant'"),
        ({"augmentation": "typos"}, "augmentation is 'typos'; expected one of None, 'rand"),
        ({"averaging": 1.0}, "averaging is 1.0; expected a share in"),
        ({"batch_size": 0}, "batch_size is 0; expected at least 1"),
        ({"learning_rate": 0}, "learning_rate is 0; expected more than 0"),
        ({"policy_kwargs": {"layer": 3}}, "no option 'layer'; did you mean layers"),
    ],
)
def test_mistakes_are_told(vocabulary: Vocabulary, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        learner(vocabulary, **options)


def test_what_cannot_be_learnt_from_is_told(vocabulary: Vocabulary, data: Sequences) -> None:
    fitted = learner(vocabulary)
    with pytest.raises(ValueError, match="how long sequences may get is not known"):
        fitted.sample(1)
    with pytest.raises(ValueError, match="no sequences"):
        fitted.fit([])
    with pytest.raises(ValueError, match="takes no condition"):
        fitted.sample(1, condition=torch.zeros(1))
    other = Vocabulary.from_tokens(["x", "y"], "characters").encode(["x"])
    with pytest.raises(ValueError, match=r"encode them with learner\.policy\.vocabulary"):
        fitted.fit(other)
    with pytest.raises(ValueError, match="needs a vocabulary"):
        TeacherForcing("GRU")
    with pytest.raises(ValueError, match="unknown policy 'gru'; did you mean 'GRU'"):
        TeacherForcing("gru", vocabulary=vocabulary)


def test_a_loss_that_is_no_number_leaves_the_weights(data: Sequences) -> None:
    class Broken(TeacherForcing):
        def training_step(self, batch: Sequences, step: int) -> dict[str, float]:
            return {"nll": self.descend(policy.output.bias.sum() * torch.nan)}

    policy = GRUPolicy(data.vocabulary, **SMALL)
    before = policy.output.bias.clone()
    broken = Broken(policy)
    with pytest.raises(FloatingPointError, match="norm is nan in step 0"):
        broken.fit(data)
    assert torch.equal(policy.output.bias, before)
    assert not broken.within_update


def test_conditions_stay_beside_their_sequences(data: Sequences) -> None:
    numbered = data.given(torch.arange(len(data)))
    batch = training_batch(numbered, 2, 4, seed=0)
    assert batch.condition_B is not None
    assert batch.texts == [data.texts[i] for i in batch.condition_B.tolist()]
    with pytest.raises(ValueError, match="2 conditions for 27"):
        data.given(torch.zeros(2))
