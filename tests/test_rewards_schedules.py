"""Schedules: their weights by hand, who is called, and that a run goes on where it stood."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from tokengym.agents import ORGAN, SeqGAN, SequenceAgent
from tokengym.envs import Sequences, TokenEnv, make_task
from tokengym.rewards import (
    Alternate,
    ConvDiscriminator,
    Curriculum,
    FunctionObjective,
    Progress,
    Ramp,
    Reward,
    Scores,
)

from .conftest import encoded, given

TEXTS = ["a", "b"]


class Counted(Reward):
    """A reward that says how often it was called."""

    def __init__(self, name: str, value: float, credit: Any = "terminal") -> None:
        self.name, self.value, self.credit = name, value, credit
        self.range = (value, value)
        self.calls = 0

    def __call__(self, sequences: Sequences) -> Scores:
        """Its value for each."""
        self.calls += 1
        return Scores.of(self.name, torch.full((len(sequences),), self.value))


def values(reward: Reward, *progress: tuple[int, float]) -> list[float]:
    found = []
    for round, share in progress:
        reward.begin_round(Progress(round, share))
        found.append(float(reward(encoded(TEXTS)).values_B[0]))
    return found


def test_a_ramp_by_hand() -> None:
    one = Counted("one", 2.0)
    ramp = Ramp(one, start=0.5, end=1.5, over=0.5)
    assert float(ramp(encoded(TEXTS)).values_B[1]) == 1.0  # as in round 0
    shares = [(0, 0.0), (1, 0.125), (2, 0.25), (3, 0.5), (4, 0.75), (9, 1.0)]
    assert values(ramp, *shares) == [1.0, 1.5, 2.0, 3.0, 3.0, 3.0]
    assert values(0.5 * ramp + one, (0, 0.25)) == [3.0]
    assert ramp.range == (1.0, 3.0)
    assert Ramp(one, start=-1, end=1).range == (-2.0, 2.0)


def test_what_rests_is_not_called() -> None:
    first, second = Counted("first", 1.0), Counted("second", 10.0)
    turns = Alternate(first, second, period=3)
    found = values(turns, *((round, 0.0) for round in range(8)))
    assert found == [1, 1, 1, 10, 10, 10, 1, 1]
    assert (first.calls, second.calls) == (5, 3)
    assert list(turns(encoded(TEXTS)).parts) == ["first"]
    assert turns.range == (1.0, 10.0)
    rising = first + Ramp(second, start=0, end=1)
    assert values(rising, (0, 0.0), (1, 0.5)) == [1.0, 6.0]
    assert second.calls == 4
    silent = Ramp(second, start=0, end=1)(encoded(TEXTS))
    assert silent.values_B.tolist() == [0.0, 0.0]
    assert silent.ok_B.all()
    assert second.calls == 4


def test_terms_are_those_of_the_round() -> None:
    cheap, dear = Counted("cheap", 1.0, "rollouts"), Counted("dear", 2.0)
    reward = 0.5 * cheap + 2 * Alternate(dear, cheap + Ramp(dear, start=0, end=1))
    assert reward.terms() == [(0.5, cheap), (2.0, dear)]
    reward.begin_round(Progress(1, 0.0))
    assert reward.terms() == [(0.5, cheap), (2.0, cheap)]
    reward.begin_round(Progress(3, 0.25))
    assert reward.terms() == [(0.5, cheap), (2.0, cheap), (0.5, dear)]
    assert {component.name for component in reward.components()} == {"cheap", "dear"}


def play(reward: Reward, rounds: int) -> list[list[str]]:
    """The names of what scored, round by round."""
    sequences, names = encoded(TEXTS), []
    for round in range(rounds):
        reward.begin_round(Progress(round, 0.0))
        scores = reward(sequences)
        reward.end_round(sequences, scores)
        names.append(list(scores.parts))
    return names


def test_a_curriculum_by_hand() -> None:
    level = {"a": 0.0, "b": 0.0}
    rising = FunctionObjective(lambda texts: [level[text] for text in texts], memo=False)
    rising.name = "rising"
    reward = Curriculum(rising, Counted("second", 1.0), Counted("third", 1.0), thresholds=[0.5, 1])
    assert play(reward, 2) == [["rising"], ["rising"]]
    level.update(a=1.0, b=0.0)  # a mean of 0.5 is not above 0.5
    assert play(reward, 2) == [["rising"], ["rising"]]
    level.update(b=0.25)
    assert play(reward, 2) == [["rising"], ["rising", "second"]]
    level.update(a=0.0, b=0.0)  # what has joined stays; 1 is not above 1
    assert play(reward, 3) == [["rising", "second"]] * 3
    reward.begin_round(Progress(9, 0.0))
    assert reward(encoded(TEXTS)).values_B.tolist() == [1.0, 1.0]
    fixed = Curriculum(Counted("x", -1.0), Counted("y", 2.0), thresholds=[0])
    assert fixed.range == (-1.0, 1.0)


def test_failures_and_evaluations_do_not_advance_a_curriculum() -> None:
    half = given({"a": 0.9, "b": None}, name="half")
    none = given({"a": None, "b": None}, name="none")
    last = Counted("last", 1.0)
    assert play(Curriculum(half, last, thresholds=[0.8]), 2)[1] == ["half", "last"]
    assert play(Curriculum(none, last, thresholds=[-9]), 2)[1] == ["none"]
    reward = Curriculum(given({"a": 1.0, "b": 0.0}, name="x"), last, thresholds=[0.6])
    sequences = encoded(TEXTS)
    for _ in range(2):  # outside the round all are "a"
        reward(sequences[[0, 0, 0]])
        reward.begin_round(Progress(0, 0.0))
        reward.end_round(sequences, reward(sequences))
    assert reward.joined == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: Ramp(Counted("a", 1.0), start=0, end=1),
        lambda: Alternate(Counted("a", 1.0), Counted("b", 2.0), period=2),
        lambda: Curriculum(Counted("a", 1.0), Counted("b", 2.0), thresholds=[0.5]),
    ],
    ids=["ramp", "alternate", "curriculum"],
)
def test_the_position_survives_as_json(make: Callable[[], Any]) -> None:
    reward, fresh = make(), make()
    play(reward, 3)
    reward.begin_round(Progress(3, 0.7))
    tensors, state = reward.state()
    fresh.restore(tensors, json.loads(json.dumps(state)))
    assert fresh.terms() != make().terms()
    assert [weight for weight, _ in fresh.terms()] == [weight for weight, _ in reward.terms()]
    assert fresh(encoded(TEXTS)).values_B.tolist() == reward(encoded(TEXTS)).values_B.tolist()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda a: Ramp(a, start=0, end=1, over=0), "over is 0; expected more than 0"),
        (lambda a: Ramp(a, start=0, end=math.inf), "finite"),
        (lambda a: Alternate(a, a, period=0), "period is 0; expected 1 round or more"),
        (lambda a: Alternate(period=2), "Alternate takes one reward or more"),
        (lambda a: Curriculum(a, a, thresholds=[]), "0 thresholds; expected 1"),
    ],
)
def test_mistakes_are_named(make: Callable[[Reward], Reward], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make(Counted("a", 1.0))


# --- in an agent ------------------------------------------------------------------------------


def share_of(token: str) -> FunctionObjective:
    return FunctionObjective(
        lambda texts: [text.split().count(token) / 6 for text in texts],
        name=f"share_{token}",
        range=(0.0, 1.0),
    )


def discriminator() -> ConvDiscriminator:
    return ConvDiscriminator(embedding=4, widths=(1, 2), filters=(4, 4))


SCHEDULES: dict[str, Callable[[], Reward]] = {
    "ramp": lambda: 0.5 * discriminator() + Ramp(share_of("0"), start=0, end=1),
    "fading": lambda: Ramp(discriminator(), start=1, end=0, over=0.5) + 0.5 * share_of("0"),
    "alternate": lambda: 0.5 * discriminator() + Alternate(share_of("0"), share_of("1"), period=3),
    "credits alternate": lambda: Alternate(discriminator(), share_of("1")),
    "curriculum": lambda: (
        0.5 * discriminator() + Curriculum(share_of("0"), share_of("1"), thresholds=[0.1])
    ),
}
TOTAL = 12 * 8 * 6  # twelve rounds of eight sequences of six tokens


def env_with(reward: Reward) -> TokenEnv:
    task = make_task("tokengym/Markov-v0", states=3, length=6, data_size=32, reward=reward)
    return TokenEnv(task)


def agent_with(reward: Reward, kind: type[SequenceAgent] = SeqGAN) -> Any:
    return kind(
        "GRU",
        env_with(reward),
        batch_size=8,
        completions=2,  # type: ignore[call-arg]
        discriminator_steps=1,
        policy_kwargs={"hidden": 8, "embedding": 4},
        seed=3,
    )


def weights(agent: Any) -> torch.Tensor:
    rewards = [reward.network for reward in agent._trainable_rewards().values()]
    parameters = [p for module in (agent.policy, *rewards) for p in module.parameters()]
    return torch.cat([p.detach().flatten() for p in parameters])


class StopAfter(BaseCallback):
    def __init__(self, rounds: int) -> None:
        super().__init__()
        self.rounds = rounds

    def _on_step(self) -> bool:
        return int(getattr(self.model, "rounds", 0)) < self.rounds


@pytest.mark.parametrize("kind", [SeqGAN, ORGAN])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_resumed_in_the_middle_equals_never_stopped(
    schedule: str, kind: type[SequenceAgent], tmp_path: Path
) -> None:
    make = SCHEDULES[schedule]
    whole = agent_with(make(), kind)
    whole.learn(TOTAL)
    assert whole.rounds == 12
    first = agent_with(make(), kind)
    first.learn(TOTAL, callback=StopAfter(5))
    first.save(tmp_path / "middle")
    second: Any = kind.load(tmp_path / "middle", env_with(make()))
    second.learn(TOTAL - second.num_timesteps, reset_num_timesteps=False)
    assert (first.rounds, second.rounds) == (5, 12)
    assert torch.equal(weights(whole), weights(second))
    sequences = whole.sample(4, seed=0)
    scores = [agent.task.reward(sequences).values_B for agent in (whole, second)]
    assert torch.equal(*scores)


def test_an_agent_moves_the_weights_and_leaves_what_rests_alone() -> None:
    zero, one = Counted("zero", 0.0), Counted("one", 1.0)
    heard: list[tuple[int, float]] = []

    class Heard(Alternate):
        def begin_round(self, progress: Progress) -> None:
            super().begin_round(progress)
            heard.append((progress.round, progress.share))

    agent = agent_with(Heard(zero, one, period=4), ORGAN)
    agent.learn(TOTAL)
    assert [round for round, _ in heard] == list(range(12))
    assert [share for _, share in heard] == pytest.approx([round / 12 for round in range(12)])
    assert (zero.calls, one.calls) == (8, 4)


def test_a_round_without_any_weight_changes_nothing() -> None:
    agent = agent_with(Ramp(share_of("0"), start=0, end=1), ORGAN)
    before = weights(agent)
    agent.learn(1)
    assert torch.equal(before, weights(agent))
    agent.learn(TOTAL, reset_num_timesteps=True)
    assert not torch.equal(before, weights(agent))


def test_end_round_has_the_training_sequences_alone() -> None:
    heard: list[tuple[int, list[str]]] = []

    class Listener(Counted):
        def end_round(self, sequences: Sequences, scores: Scores) -> None:
            heard.append((len(sequences), list(scores.parts)))

    agent = agent_with(0.5 * discriminator() + Listener("x", 1.0), SeqGAN)
    agent.learn(TOTAL)
    assert heard == [(8, ["conv_discriminator", "x"])] * 12
