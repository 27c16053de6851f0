"""The preference model: likelihoods by hand, what is recovered, calibration, information."""

# Shapes: M members, B sequences, R ratings, C candidates, K answers
from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from tokengym.envs import Vocabulary
from tokengym.rewards.assessors import preference
from tokengym.rewards.assessors.answers import (
    COLUMNS,
    answer_log_probs,
    pair_log_probs,
    rising,
    scale_log_probs,
)
from tokengym.rewards.assessors.choosing import choose, distinct, information
from tokengym.rewards.assessors.preference import PreferenceModel, quality
from tokengym.rewards.assessors.ratings import ANSWERS, Form, Rating
from tokengym.rewards.assessors.reliability import reliability
from tokengym.rewards.assessors.utility import Utilities

T = 6
LETTERS = Vocabulary.from_tokens(list("abcd"), "characters", eos=False)


def model(form: Form = "pair", seed: int = 0) -> PreferenceModel:
    torch.manual_seed(seed)
    return PreferenceModel(LETTERS, form, members=3, hidden=8)


def texts(count: int, seed: int) -> list[str]:
    generator = torch.Generator().manual_seed(seed)
    return LETTERS.decode(torch.randint(4, (count, T), generator=generator))


def worth(text: str) -> float:
    """What the simulated assessors go by: how much more often a stands in it than d."""
    return 1.0 * (text.count("a") - text.count("d"))


def pairs(
    count: int, seed: int, bias: tuple[float, ...] = (0.0,), know: float = 1.0
) -> list[Rating]:
    """Ratings drawn from the model's own likelihood; assessor i is biased by ``bias[i]``."""
    shown, rows = texts(2 * count, seed), []
    torch.manual_seed(seed)
    for place in range(count):
        left, right, who = shown[2 * place], shown[2 * place + 1], place % len(bias)
        location = torch.tensor(know * (worth(left) - worth(right)) + bias[who])
        probs_K = pair_log_probs(location, torch.tensor(-2.0)).exp()
        answer = COLUMNS["pair"][int(torch.multinomial(probs_K, 1))]
        rows.append(Rating(place + 1, "abc"[who], left, right, answer))
    return rows


def fitted(ratings: list[Rating], form: Form = "pair", seed: int = 0) -> PreferenceModel:
    made = model(form, seed)
    given = made.read(ratings, T)
    assert given is not None
    made.fit(given)
    return made


# --- likelihoods ----------------------------------------------------------------------------------


def test_pairs_are_bradley_terry_with_the_ties_of_davidson() -> None:
    # exp(z/2) : nu : exp(-z/2) with z = 2 log 3 and nu = 2 is 3 : 2 : 1/3, of 16/3 in all
    log_probs_K = pair_log_probs(torch.tensor(2 * math.log(3)), torch.tensor(math.log(2)))
    assert log_probs_K.exp().tolist() == pytest.approx([9 / 16, 6 / 16, 1 / 16])


def test_without_a_tie_left_wins_by_the_logistic_function() -> None:
    left, _, right = pair_log_probs(torch.tensor(1.3), torch.tensor(-0.4)).exp()
    assert float(left / (left + right)) == pytest.approx(1 / (1 + math.exp(-1.3)))


def test_scales_are_cumulative_logits() -> None:
    # P(answer > k) = 2/3, 1/2, 1/5 at location 0 with these thresholds
    thresholds = torch.tensor([-math.log(2), 0.0, math.log(4)])
    probs_K = scale_log_probs(torch.tensor(0.0), thresholds).exp()
    assert probs_K.tolist() == pytest.approx([1 / 3, 1 / 6, 3 / 10, 1 / 5])


def test_yes_or_no_is_the_scale_of_two_levels() -> None:
    probs_K = answer_log_probs("yes_no", torch.tensor([0.7]), torch.tensor([[0.2]])).exp()
    assert probs_K[0, 1].item() == pytest.approx(1 / (1 + math.exp(-0.5)))


@pytest.mark.parametrize("form", list(COLUMNS))
def test_probabilities_sum_to_one(form: Form) -> None:
    size = 1 if form == "pair" else len(COLUMNS[form]) - 1
    torch.manual_seed(0)
    shape = torch.randn(7, size, dtype=torch.float64) * 3
    location = torch.randn(7, dtype=torch.float64) * 10
    total = answer_log_probs(form, location, shape).exp().sum(dim=1)
    assert torch.allclose(total, torch.ones_like(total))


def test_thresholds_rise_whatever_the_numbers() -> None:
    raised = rising(torch.tensor([5.0, -4.0, 0.0, -9.0])).tolist()
    assert all(a < b for a, b in pairwise(raised))


def test_every_answer_that_ratings_know_has_a_column() -> None:
    assert {form: set(columns) for form, columns in COLUMNS.items()} == {
        form: set(answers) for form, answers in ANSWERS.items()
    }


# --- encoders -------------------------------------------------------------------------------------


def test_a_utility_depends_on_no_padding_and_no_neighbour() -> None:
    torch.manual_seed(0)
    network = Utilities(LETTERS, 2, 4).eval()
    long_B = network(LETTERS.encode(["abcdab", "ab"]).tokens_BT)
    assert torch.allclose(long_B[:, 1:], network(LETTERS.encode(["ab"]).tokens_BT), atol=1e-6)


def test_a_member_is_a_gru_and_the_mean_of_its_states() -> None:
    torch.manual_seed(0)
    network = Utilities(LETTERS, 2, 4).eval()
    cells = torch.nn.GRU(4, 4, batch_first=True)
    with torch.no_grad():
        for name, mine in (
            ("weight_ih_l0", network.input_MHG[1].T),
            ("bias_ih_l0", network.input_bias_M1G[1, 0]),
            ("weight_hh_l0", network.state_MHG[1].T),
            ("bias_hh_l0", network.state_bias_M1G[1, 0]),
        ):
            getattr(cells, name).copy_(mine)
        tokens_BT = LETTERS.encode(["abcd", "ddca"]).tokens_BT
        states_BTH, _ = cells(network.embedding_MVH[1][tokens_BT])
        expected_B = (states_BTH.mean(dim=1) @ network.output_MH1[1])[:, 0]
        assert torch.allclose(network(tokens_BT)[1], expected_B, atol=1e-6)


# --- what is learnt -------------------------------------------------------------------------------


def test_utilities_and_noise_are_recovered() -> None:
    # Other seeds: correlations of 0.966 (sd 0.011), gains of 0.22 nats (sd 0.03).
    made = fitted(pairs(250, seed=0))
    held_out = texts(300, seed=1)
    mean_B = made.utilities(LETTERS.encode(held_out).tokens_BT).mean(dim=0)
    truth_B = torch.tensor([worth(text) for text in held_out])
    assert torch.corrcoef(torch.stack([mean_B, truth_B]))[0, 1] > 0.8
    assert made.temperature > 0
    assert made.metrics["log_loss"] < made.metrics["log_loss_guessing"] - 0.1


def test_biases_and_discriminations_are_recovered() -> None:
    # 200 answers of each; the second leans to the left by 2, the third answers at random. Other
    # seeds: 1.42 (sd 0.26), shrunk; -0.03 (sd 0.24); and 0.16 (sd 0.03) of the discrimination.
    ratings = pairs(400, seed=3, bias=(0.0, 2.0))
    random = pairs(200, seed=4, know=0.0)
    ratings += [Rating(r.id + 400, "c", r.left, r.right, r.answer) for r in random]
    effects = fitted(ratings).effects
    bias_J, slope_J = effects.bias_MJ.mean(dim=0), effects.log_discrimination_MJ.mean(dim=0).exp()
    assert 0.5 < bias_J[1] - bias_J[0] < 2.5
    assert abs(bias_J[0]) < 1
    assert slope_J[2] < 0.5 * slope_J[:2].min()


@pytest.mark.parametrize("form", ["scale", "yes_no"])
def test_scales_are_learnt_by_the_same_utility(form: Form) -> None:
    columns = COLUMNS[form]
    shown, ratings = texts(150, seed=5), []
    for place, text in enumerate(shown):  # two assessors, of whom the second is stricter
        level = round((worth(text) - place % 2 + 3) / 6 * (len(columns) - 1))
        answer = columns[min(max(level, 0), len(columns) - 1)]
        ratings.append(Rating(place + 1, "ab"[place % 2], text, None, answer))
    made = fitted(ratings, form)
    good, bad = made.preferred(LETTERS.encode(["aaaaaa", "dddddd"]).tokens_BT).mean(dim=0)
    assert good > 0.6 > 0.4 > bad  # other seeds: 0.77 and 0.26 of yes or no, sd 0.07 each
    bias_J = made.effects.bias_MJ.mean(dim=0)
    assert bias_J[0] > bias_J[1]


def test_what_says_nothing_moves_nothing() -> None:
    # Answers that go by a coin; 3 nats are gained by chance with probability below 1 %.
    made = fitted(pairs(120, seed=6, know=0.0))
    assert made.temperature == 0
    value_MB = made.preferred(LETTERS.encode(["aaaaaa", "dddddd"]).tokens_BT)
    assert value_MB.unique().tolist() == [0.5]


def test_a_member_never_sees_its_fold() -> None:
    ratings = pairs(40, seed=7)
    made = model()
    given = made.read(ratings, T)
    assert given is not None
    rows = given.fold_R.eq(1).nonzero()[:, 0]
    made.effects.widened(1)
    made._loss(given, rows).backward()
    grad_M = made.effects.bias_MJ.grad
    assert grad_M is not None
    assert grad_M[1].tolist() == [0.0]
    assert (grad_M[[0, 2]] != 0).all()


def test_a_pair_is_in_one_fold_whichever_side_it_stands_on() -> None:
    there = Rating(1, "a", "abcdab", "aaaaaa", "left")
    back = Rating(2, "b", "aaaaaa", "abcdab", "right", kind="repeat")
    given = model().read([there, back], T)
    assert given is not None
    assert len(given.fold_R.unique()) == 1


def test_what_cannot_be_read_is_left_out() -> None:
    made = model()
    assert made.read([Rating(1, "a", "xyz", "aaaaaa", "left")], T) is None
    assert made.read([Rating(1, "a", "a" * (T + 1), "aaaaaa", "left")], T) is None
    assert made.assessors == []


def test_the_temperature_is_the_likeliest() -> None:
    # One assessor, the truth as utility: sampled answers are likeliest near temperature 1.
    made = model()
    ratings = pairs(400, seed=8)
    given = made.read(ratings, T)
    assert given is not None
    truth_B = torch.tensor([worth(text) for text in LETTERS.decode(given.tokens_NT)])
    made.effects.widened(1)
    made.utilities = lambda tokens_BT: 2 * truth_B.repeat(3, 1)  # type: ignore[method-assign]
    made._calibrate(given)  # of utilities twice as large as they should be
    assert made.temperature == pytest.approx(0.5, rel=0.25)  # sd 0.03 over seeds
    assert made.metrics["calibration_error"] < 0.08


def test_figures_of_predictions_by_hand() -> None:
    log_probs_RK = torch.tensor([[0.8, 0.2], [0.8, 0.2], [0.4, 0.6], [0.4, 0.6]]).log()
    found = quality(log_probs_RK, torch.tensor([0, 0, 1, 0]))
    assert found["accuracy"] == 0.75
    assert found["log_loss"] == pytest.approx(-math.log(0.8 * 0.8 * 0.6 * 0.4) / 4)
    # in the bin of 0.8 all of two are right, in that of 0.6 one of two
    assert found["calibration_error"] == pytest.approx((2 * 0.2 + 2 * 0.1) / 4)


def test_the_value_is_the_probability_to_win_against_what_was_asked_at_random() -> None:
    made = model()
    made.temperature, made.reference_MS = 2.0, torch.tensor([[0.0, 1.0]]).repeat(3, 1)
    made.utilities = lambda tokens_BT: torch.full((3, 1), 0.5)  # type: ignore[method-assign]
    expected = (1 / (1 + math.exp(-1)) + 1 / (1 + math.exp(1))) / 2
    value_MB = made.preferred(LETTERS.encode(["a"]).tokens_BT)
    assert value_MB[:, 0].tolist() == pytest.approx([expected] * 3)


def test_one_seed_one_model() -> None:
    ratings = pairs(30, seed=9)
    first, second = fitted(ratings), fitted(ratings)
    for name, tensor in first.state()[0].items():
        assert torch.equal(tensor, second.state()[0][name]), name


# --- what to ask ----------------------------------------------------------------------------------


def test_information_by_hand() -> None:
    # Members that are sure of opposite answers: one bit. Members that agree: nothing.
    sure = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    other = torch.tensor([[0.0, 1.0], [0.5, 0.5]])
    told_C = information(torch.stack([sure, other]).log())
    assert told_C.tolist() == pytest.approx([math.log(2), 0.0])
    # H[(0.6, 0.4)] - (H[(0.9, 0.1)] + H[(0.3, 0.7)]) / 2 in nats
    mixed = torch.tensor([[[0.9, 0.1]], [[0.3, 0.7]]])
    expected = 0.673012 - (0.325083 + 0.610864) / 2
    assert information(mixed.log()).item() == pytest.approx(expected, abs=1e-6)


def test_what_members_disagree_on_most_is_asked() -> None:
    made = model("yes_no")
    made.temperature = 1.0
    apart = torch.zeros(3, 10)
    apart[:, 4] = torch.tensor([-5.0, 0.0, 5.0])
    order: list[torch.Tensor] = []

    def utilities(tokens_BT: torch.Tensor) -> torch.Tensor:
        order.append(tokens_BT[:, 0])
        return apart[:, tokens_BT[:, 0]]

    made.utilities = utilities  # type: ignore[method-assign]
    tokens_BT = torch.arange(10)[:, None].repeat(1, T)
    torch.manual_seed(0)
    (asked,) = choose(made, tokens_BT, 1, random_share=0.0)
    assert (asked.left, asked.right, asked.kind) == (4, None, "informed")


def test_no_sample_is_asked_about_twice_and_all_at_random_while_nothing_is_known() -> None:
    made = model()
    tokens_BT = LETTERS.encode(texts(9, seed=10)).tokens_BT
    torch.manual_seed(0)
    asked = choose(made, tokens_BT, 20, random_share=0.5)
    rows = [row for each in asked for row in (each.left, each.right)]
    assert len(asked) == 4
    assert len(set(rows)) == 8
    assert {each.kind for each in asked} == {"random"}
    made.temperature = 1.0
    asked = choose(made, tokens_BT, 4, random_share=0.5)
    rows = [row for each in asked for row in (each.left, each.right)]
    assert len(set(rows)) == len(rows)


def test_equal_things_are_one_thing_and_what_is_none_is_left_out() -> None:
    forms = {"a": "x", "b": "x", "c": None, "d": "y"}
    assert distinct(list("abcd"), forms.get, set()) == [0, 3]
    assert distinct(list("abcd"), forms.get, {"x"}) == [3]


def test_reliability_by_hand() -> None:
    ratings = [
        Rating(1, "ann", "p", "q", "left"),
        Rating(2, "ben", "q", "p", "right", kind="repeat"),  # p again
        Rating(3, "ben", "r", "s", "equal"),
        Rating(4, "ann", "s", "r", "left", kind="repeat"),
        Rating(5, "ann", "t", "u", "left", kind="gold", gold="left"),
        Rating(6, "ben", "t", "u", "right", kind="gold", gold="left"),
        Rating(7, "ben", "t", "u", "left", kind="gold", gold="left"),
    ]
    assert reliability(ratings) == {"consistency": 0.5, "gold": pytest.approx(2 / 3)}
    assert reliability(ratings[:1]) == {}


def test_gain_is_what_chance_rarely_reaches() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    assert scipy_stats.chi2.sf(2 * preference.GAIN, 1) / 2 == pytest.approx(0.007, abs=0.0005)
