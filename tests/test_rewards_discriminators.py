"""Discriminators: what all kinds hold, how they learn, and what a checkpoint keeps of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tokengym.envs import Sequences, Vocabulary, make_task
from tokengym.rewards import (
    ConvDiscriminator,
    RecurrentDiscriminator,
    TransformerDiscriminator,
    make_reward,
)
from tokengym.rewards.discriminators import Discriminator
from tokengym.rewards.discriminators.batches import Replay, with_noise

from .conftest import encoded

TEXTS = ["CCO", "c1ccccc1", "C(", "CC(=O)Oc1ccccc1C(=O)O", "", "OCC", "CCN(CC)CC", "xx"]


def conv(**options: Any) -> ConvDiscriminator:
    return ConvDiscriminator(8, (1, 2, 3, 5), (6, 6, 6, 6), **options)


MAKERS: dict[str, Callable[..., Discriminator]] = {
    "conv": conv,
    "conv, spectral norm": lambda **options: conv(spectral_norm=True, **options),
    "gru": lambda **options: RecurrentDiscriminator("gru", 8, 12, 2, **options),
    "lstm": lambda **options: RecurrentDiscriminator("lstm", 8, 12, **options),
    "transformer": lambda **options: TransformerDiscriminator(8, 2, 2, **options),
}


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Callable[..., Discriminator]:
    return MAKERS[request.param]


@pytest.fixture
def molecules() -> Sequences:
    return encoded(TEXTS)


def prepared(made: Discriminator, sequences: Sequences, max_length: int = 30) -> Discriminator:
    made.prepare(sequences.vocabulary, max_length, "cpu")
    return made


def snapshot(made: Discriminator) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in made.network.state_dict().items()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


# --- scores ---------------------------------------------------------------------------------------


def test_a_score_does_not_depend_on_padding_company_or_order(
    make: Callable[..., Discriminator], molecules: Sequences
) -> None:
    reward = prepared(make(reward="logit"), molecules)
    together = reward(molecules).values_B
    assert len(together.unique()) == len(TEXTS)
    torch.testing.assert_close(reward(molecules.padded(30)).values_B, together)
    alone = torch.cat([reward(molecules[[i]]).values_B for i in range(len(molecules))])
    torch.testing.assert_close(alone, together)
    order = torch.tensor([5, 2, 7, 0, 3, 1, 6, 4])
    torch.testing.assert_close(reward(molecules[order]).values_B, together[order])
    many = torch.arange(600) % len(TEXTS)  # more than are scored at once
    torch.testing.assert_close(reward(molecules[many]).values_B, together[many])


@pytest.mark.parametrize("kind", ["gru", "lstm", "transformer"])
def test_padding_is_never_read(kind: str, molecules: Sequences) -> None:
    reward = prepared(MAKERS[kind](reward="logit"), molecules)
    before = reward(molecules).values_B
    with torch.no_grad():
        reward.network.embedding.weight[molecules.vocabulary.pad] = 100.0
    torch.testing.assert_close(reward(molecules).values_B, before)


def test_empty_sequences_and_empty_batches(make: Callable[..., Discriminator]) -> None:
    vocabulary = Vocabulary.from_tokens(["a", "b"], "characters", eos=False)
    sequences = vocabulary.encode(["", "ab", "b"])
    reward = prepared(make(reward="logit"), sequences, 4)
    values_B = reward(sequences).values_B
    assert values_B.isfinite().all()
    torch.testing.assert_close(reward(sequences[[0]]).values_B, values_B[:1])
    assert reward(sequences[:0]).values_B.shape == (0,)


def test_scores_are_computed_in_eval_mode(
    make: Callable[..., Discriminator], molecules: Sequences
) -> None:
    reward = make(dropout=0.9)
    reward.update(molecules, molecules)
    assert reward.network.training
    assert torch.equal(reward(molecules).values_B, reward(molecules).values_B)
    assert reward.network.training


def test_the_fast_way_is_the_same(make: Callable[..., Discriminator], molecules: Sequences) -> None:
    reward = prepared(make(reward="logit", learning_rate=0.01), molecules)
    for _ in range(3):  # again after the weights changed
        reward.network.eval()
        slow_B = reward.network(molecules.tokens_BT)
        torch.testing.assert_close(reward(molecules).values_B, slow_B.detach())
        reward.update(molecules, molecules[[0, 1]])


def test_weights_are_a_function_of_the_seed(
    make: Callable[..., Discriminator], molecules: Sequences
) -> None:
    first, second = (prepared(make(), molecules) for _ in range(2))
    first.initialise(5)
    second.initialise(5)
    assert same(snapshot(first), snapshot(second))
    second.initialise(6)
    assert not same(snapshot(first), snapshot(second))


def test_another_task_and_too_long_sequences_are_refused(molecules: Sequences) -> None:
    reward = prepared(conv(), molecules)
    with pytest.raises(ValueError, match="make a new one for each task"):
        make_task("tokengym/Molecules-v0", reward=reward)
    with pytest.raises(ValueError, match="make a new one for each task"):
        reward(encoded(["ab"]))
    short = prepared(conv(), molecules, 9)
    assert short(molecules[[1]]).ok_B.all()  # eight atoms and the end
    with pytest.raises(ValueError, match="up to 9 tokens and a sequence has 22; call prepare"):
        short(molecules)


# --- learning -------------------------------------------------------------------------------------

REAL, GENERATED = ["aab", "aa", "aba", "baa"], ["bbb", "bb", "bba", "bab"]


@pytest.fixture
def two_kinds(vocabulary: Vocabulary) -> tuple[Sequences, Sequences]:
    return vocabulary.encode(REAL * 8), vocabulary.encode(GENERATED * 8)


def trained(
    made: Discriminator, kinds: tuple[Sequences, Sequences], updates: int = 40, seed: int = 0
) -> dict[str, float]:
    prepared(made, kinds[0], 8)
    torch.manual_seed(seed)
    for _ in range(updates):
        metrics = made.update(*kinds)
    return metrics


def test_all_kinds_learn_to_tell_two_sources(
    make: Callable[..., Discriminator], two_kinds: tuple[Sequences, Sequences]
) -> None:
    reward = make(learning_rate=0.03, dropout=0.0, l2=0.0)
    metrics = trained(reward, two_kinds)
    assert metrics["auc"] == metrics["accuracy"] == 1.0
    assert metrics["loss"] < 0.4 < 0.69  # of log 2; spectral normalisation leaves it slow
    assert reward.updates == 40


@pytest.mark.parametrize(
    "loss",
    ["bce", "least_squares", "hinge", "relativistic", "relativistic_average", "wasserstein"],
)
def test_every_loss_learns_which_is_which(
    loss: Any, two_kinds: tuple[Sequences, Sequences]
) -> None:
    for real, generated in (two_kinds, two_kinds[::-1]):
        metrics = trained(conv(loss=loss, learning_rate=0.03), (real, generated), 20)
        assert metrics["auc"] > 0.95
        assert metrics["difference"] > 0  # the sign is learnt, too
    named = {"bce": 2, "least_squares": 2, "hinge": 1}
    assert len({"accuracy", "calibration_error"} & metrics.keys()) == named.get(loss, 0)
    assert ("gradient_penalty" in metrics) == (loss == "wasserstein")


def test_wasserstein_keeps_its_metric_and_its_slope(
    make: Callable[..., Discriminator], two_kinds: tuple[Sequences, Sequences]
) -> None:
    reward = make(loss="wasserstein", learning_rate=0.02, dropout=0.0, l2=0.0)
    prepared(reward, two_kinds[0], 8)
    before = snapshot(reward)
    lengths = before["embedding.weight"].norm(dim=1)
    torch.testing.assert_close(lengths[:-1], torch.ones(len(lengths) - 1))
    assert lengths[two_kinds[0].vocabulary.pad] == 0
    metrics = trained(reward, two_kinds)
    after = snapshot(reward)
    assert torch.equal(before["embedding.weight"], after["embedding.weight"])
    assert not same(before, after)
    assert metrics["difference"] > 0.02
    assert metrics.get("gradient_penalty", 0.0) < 0.3


def test_spectral_normalisation_holds_every_layer_at_one(
    two_kinds: tuple[Sequences, Sequences],
) -> None:
    reward = conv(spectral_norm=True, loss="hinge", learning_rate=0.003)
    trained(reward, two_kinds, 60)
    network = reward.network.eval()
    weights = [
        tensor.detach().flatten(1)
        for tensor in (*(layer.weight for layer in network.convolutions), network.highway.weight)  # type: ignore[union-attr]
    ]
    assert len(weights) == 5
    for weight in weights:
        assert float(torch.linalg.matrix_norm(weight, ord=2)) == pytest.approx(1.0, abs=0.05)


def test_the_gate_skips_updates_until_there_is_something_to_teach(
    two_kinds: tuple[Sequences, Sequences],
) -> None:
    reward = conv(gate=0.9, learning_rate=0.03)
    metrics = trained(reward, two_kinds, 40)
    assert reward.updates + reward.skipped == 40
    assert metrics["skipped"] == reward.skipped > 10
    assert "loss" not in metrics
    before = snapshot(reward)
    reward.update(*two_kinds)
    assert same(before, snapshot(reward))
    updates = reward.updates
    for _ in range(5):  # now the policy writes what is real: AUC 0.5
        reward.update(two_kinds[0], two_kinds[0])
    assert reward.updates > updates
    assert conv().gate == 1.0
    never = conv(learning_rate=0.03)
    trained(never, two_kinds)
    assert never.skipped == 0


def test_replay_mixes_half_and_stays_bounded(vocabulary: Vocabulary) -> None:
    torch.manual_seed(0)
    pad = vocabulary.pad
    replay = Replay(capacity=6, max_length=5, pad=pad)
    first = torch.tensor([[0, 0, 2], [0, 2, pad], [0, 1, 2], [0, 0, 0]])
    assert torch.equal(replay.mixed(first), first)
    second = torch.tensor([[1, 2], [1, 1], [1, 0], [1, pad]])
    mixed = replay.mixed(second)
    assert torch.equal(mixed[:2, :2], second[:2])
    rows = {tuple(row) for row in torch.nn.functional.pad(first, (0, 2), value=pad).tolist()}
    wide = torch.nn.functional.pad(mixed, (0, 5 - mixed.shape[1]), value=pad)
    assert {tuple(row) for row in wide[2:].tolist()} <= rows
    assert replay.tokens_RT.shape == (6, 5)
    for _ in range(60):
        replay.mixed(second)
    assert replay.tokens_RT.shape == (6, 5)
    assert replay.tokens_RT[:, 0].eq(1).all()  # those that began with 0 were forgotten in time


def test_noise_replaces_tokens_and_leaves_ends(vocabulary: Vocabulary) -> None:
    torch.manual_seed(0)
    larger = Vocabulary.from_tokens("abcd", "characters")
    tokens_BT = larger.encode(["abcd" * 50, "aa", ""]).tokens_BT.repeat(50, 1)
    kept_BT = (tokens_BT == larger.eos) | (tokens_BT == larger.pad)
    assert torch.equal(with_noise(tokens_BT, 0.0, larger), tokens_BT)
    noisy_BT = with_noise(tokens_BT, 0.4, larger)
    assert torch.equal(noisy_BT[kept_BT], tokens_BT[kept_BT])
    assert (noisy_BT[~kept_BT] < 4).all()
    assert larger.eos is not None
    assert noisy_BT[~kept_BT].ne(larger.eos).all()
    # A token drawn uniformly from four is another one in 3 of 4: 0.3 of 10,100, +- 4 errors.
    changed = float((noisy_BT != tokens_BT)[~kept_BT].double().mean())
    assert changed == pytest.approx(0.3, abs=4 * (0.21 / 10_100) ** 0.5)


def test_noise_fades(two_kinds: tuple[Sequences, Sequences]) -> None:
    def weights(noise: float, updates: int) -> dict[str, torch.Tensor]:
        reward = prepared(conv(noise=noise, noise_updates=10), two_kinds[0], 8)
        reward.updates = updates
        torch.manual_seed(0)
        reward.update(*two_kinds)
        return snapshot(reward)

    assert not same(weights(0.5, 9), weights(0.0, 9))
    assert same(weights(0.5, 10), weights(0.0, 10))


# --- options --------------------------------------------------------------------------------------


def test_forms_decide_range_and_credit(molecules: Sequences) -> None:
    assert conv().form == "probability"
    assert conv(loss="hinge").form == "logit"
    ranks = prepared(conv(loss="wasserstein", reward="rank"), molecules)
    assert (ranks.credit, ranks.range) == ("terminal", (0.0, 1.0))
    logits = conv(loss="wasserstein")
    assert (logits.credit, logits.range) == ("rollouts", (-float("inf"), float("inf")))
    prepared(logits, molecules)
    order = logits(molecules).values_B.argsort()
    ranked_B = ranks(molecules).values_B[order]
    torch.testing.assert_close(ranked_B, torch.linspace(0, 1, len(TEXTS)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "mse"}, "loss is 'mse'; expected one of bce, least_squares"),
        ({"reward": "odds"}, "reward is 'odds'; expected one of probability"),
        ({"loss": "hinge", "reward": "probability"}, "estimates no probability"),
        ({"loss": "relativistic", "reward": "log_ratio"}, "take reward='logit' or 'rank'"),
        ({"loss": "hinge", "smoothing": 0.1}, "no labels to smooth"),
        ({"smoothing": 1.0}, "smoothing is 1.0; expected at least 0, less than 1"),
        ({"noise": 1.5}, "noise is 1.5; expected a probability"),
        ({"replay": -1}, "replay is -1"),
        ({"gate": 0.5}, "gate is 0.5; expected more than 0.5"),
        ({"gradient_penalty": 0}, "gradient_penalty is 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"widths": (1,), "filters": ()}, "two lists of positive numbers"),
    ],
)
def test_options_that_mean_nothing(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConvDiscriminator(**options)


def test_networks_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="expected 'gru' or 'lstm'"):
        RecurrentDiscriminator("rnn")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a width that the heads divide"):
        TransformerDiscriminator(width=10, heads=4)
    with pytest.raises(ValueError, match="unexpected keyword argument 'spectral_norm'"):
        make_reward("recurrent_discriminator(spectral_norm=True)")


def test_names_and_ensembles_in_expressions(molecules: Sequences) -> None:
    reward = make_reward(
        "0.5 * mean(conv_discriminator(embedding=4, widths=(1,), filters=(3,), loss='bce'),"
        " recurrent_discriminator(cell='lstm', hidden=4), transformer_discriminator(width=8))"
        " + 0.5 * sigmoid(conv_discriminator(embedding=4, widths=(1,), filters=(3,),"
        " loss='hinge', spectral_norm=True), low=-1, high=1)"
    )
    assert reward.range == pytest.approx((0, 1))
    assert [term.credit for _, term in reward.terms()] == ["rollouts", "rollouts"]
    reward.prepare(molecules.vocabulary, 30, "cpu")
    parts = reward(molecules).parts
    members = ("conv_discriminator", "recurrent_discriminator", "transformer_discriminator")
    torch.testing.assert_close(
        parts["mean"], torch.stack([parts[member] for member in members]).mean(dim=0)
    )


# --- what a checkpoint keeps ----------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["bce", "wasserstein"])
def test_restored_it_goes_on_to_the_bit(
    loss: Any, make: Callable[..., Discriminator], two_kinds: tuple[Sequences, Sequences]
) -> None:
    options = {"loss": loss, "learning_rate": 0.01, "replay": 40, "noise": 0.2, "gate": 0.8}
    whole = make(**options)
    trained(whole, two_kinds, 8)
    tensors, state = whole.state()
    stored = {name: tensor.clone() for name, tensor in tensors.items()}
    second = prepared(make(**options), two_kinds[0], 8)
    second.restore(stored, json.loads(json.dumps(state)))
    assert torch.equal(whole(two_kinds[0]).values_B, second(two_kinds[0]).values_B)
    for reward in (whole, second):
        trained(reward, two_kinds, 8, seed=1)
    assert same(snapshot(whole), snapshot(second))
    assert torch.equal(whole.replayed.tokens_RT, second.replayed.tokens_RT)
    assert json.dumps(whole.state()[1]) == json.dumps(second.state()[1])
    assert whole.updates + whole.skipped == 16


def test_initialising_forgets_everything(two_kinds: tuple[Sequences, Sequences]) -> None:
    reward = conv(replay=10, gate=0.6, learning_rate=0.01)
    trained(reward, two_kinds, 20)
    assert reward.skipped > 0
    reward.initialise(3)
    fresh = prepared(conv(replay=10, gate=0.6, learning_rate=0.01), two_kinds[0], 8)
    fresh.initialise(3)
    assert reward.state()[1] == fresh.state()[1]
    assert same(reward.state()[0], fresh.state()[0])
