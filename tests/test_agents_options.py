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
