"""Options of agents: stated once, known everywhere, refused by their name."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from tokengym.agents import AGENTS, ORGAN, Reinforce, SequenceAgent
from tokengym.agents.assembled import AssembledAgent
from tokengym.envs import Task, TokenEnv

COMMON = set(inspect.signature(AssembledAgent).parameters)


class Own(ORGAN):
    """Has one more."""

    def __init__(self, policy: Any = "GRU", env: Any = None, *, bonus: int = 1, **options: Any):
        self.bonus = bonus
        super().__init__(policy, env, **options)


@pytest.mark.parametrize("kind", [*AGENTS.values(), Own], ids=lambda kind: kind.__name__)
def test_an_agent_knows_its_own_and_the_common_options(kind: type[SequenceAgent]) -> None:
    names = kind.keywords()
    assert len(set(names)) == len(names)
    assert set(names) >= COMMON
    assert not {"options", "self"} & set(names)


@pytest.mark.parametrize("kind", AGENTS.values(), ids=lambda kind: kind.__name__)
def test_a_class_describes_the_options_that_it_names(kind: type[SequenceAgent]) -> None:
    for each in (kind, AssembledAgent):
        described = inspect.getdoc(each) or ""
        for name in inspect.signature(each).parameters:
            if not name.startswith(("_", "options")):
                assert f"\n    {name}: " in described, f"{each.__name__} does not describe {name}"


def test_options_reach_the_class_that_they_are_of(small_task: Task) -> None:
    agent = Own(
        env=TokenEnv(small_task), bonus=2, repetition_penalty=False, completions=3, baseline="mean",
        prior_coefficient=0.5, batch_size=5, seed=7,
    )  # fmt: skip
    found = (agent.bonus, agent.repetition_penalty, agent.completions, agent.baseline)
    assert (*found, agent.prior_coefficient, agent.batch_size) == (2, False, 3, "mean", 0.5, 5)


def test_an_unknown_option_is_named(small_task: Task) -> None:
    with pytest.raises(TypeError, match="batchsize"):
        Reinforce("GRU", TokenEnv(small_task), batchsize=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 8.0}, r"batch_size is 8\.0; expected a whole number"),
        ({"replay_batch_size": 2.5}, r"replay_batch_size is 2\.5; expected a whole number"),
        ({"prompts": "ab"}, "prompts is 'ab'; expected a list"),
    ],
)
def test_options_that_cannot_be_meant(
    options: dict[str, Any], message: str, small_task: Task
) -> None:
    with pytest.raises(ValueError, match=message):
        Reinforce("GRU", TokenEnv(small_task), **options)


def test_options_of_pretraining_and_learning_are_checked(small_task: Task) -> None:
    agent = Reinforce("GRU", TokenEnv(small_task), batch_size=4, seed=0)
    pretraining: list[tuple[dict[str, Any], str]] = [
        ({"learning_rate": -1.0}, r"learning_rate is -1\.0; expected more than 0"),
        ({"epochs": -1}, "epochs is -1; expected a whole number, at least 0"),
        ({"batch_size": 0}, "batch_size is 0; expected a whole number, at least 1"),
    ]
    for options, message in pretraining:
        with pytest.raises(ValueError, match=message):
            agent.pretrain(["a"], **options)
    with pytest.raises(ValueError, match="log_interval is 0; expected a whole number, at least 1"):
        agent.learn(1, log_interval=0)
    assert agent.learn(1, log_interval=None).rounds == 1
