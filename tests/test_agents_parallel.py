"""Two processes that learn as one: what one process would find, to rounding."""

# Shapes: B sequences, T steps
from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from tokengym.agents import ORGAN, PPO, GRUPolicy, Reinforce, SequenceAgent
from tokengym.agents.parallel import (
    ProcessError,
    World,
    action_values_together,
    logits_together,
    sample_together,
    world,
)
from tokengym.envs import Task, TokenEnv, Vocabulary
from tokengym.rewards import (
    Assessors,
    ConvDiscriminator,
    FunctionObjective,
    SetObjective,
    objective,
)

from .conftest import TokenSum

# In float64 sums of another order differ in the last digits: 1e-16 a term, a thousand terms.
EXACT: dict[str, Any] = {"atol": 1e-12, "rtol": 1e-10}
LINES = ["ab", "ba", "b", "aab", "bab", "a", "abba"]


def each_of(processes: int, folder: Path, work: Callable[[World], object]) -> list[Any]:
    """What ``work`` gives on each of some processes, copies of this one that are joined."""
    meeting, children = folder / "meeting", []
    meeting.unlink(missing_ok=True)
    for rank in range(processes):
        if (child := os.fork()) == 0:
            code = 1
            try:
                dist.init_process_group(
                    "gloo", init_method=f"file://{meeting}", rank=rank, world_size=processes
                )
                torch.save(work(world()), folder / f"found{rank}")
                code = 0
            except BaseException:
                (folder / f"error{rank}").write_text(traceback.format_exc())
            finally:
                sys.stdout.flush()
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    errors = [each.read_text() for each in folder.glob("error*")]
    assert codes == [0] * processes, "\n".join(errors)
    return [torch.load(folder / f"found{rank}") for rank in range(processes)]


class Variety(SetObjective):
    """How many different texts a set has, of all: every value needs the whole batch."""

    name = "variety"

    def value(self, forms: list[str]) -> float:
        """The share."""
        return len(set(forms)) / max(len(forms), 1)


def make_agent(kind: type[SequenceAgent] = ORGAN, **options: Any) -> Any:
    """In float64 throughout; its reward has all that could go apart on two processes."""
    vocabulary = Vocabulary.from_tokens(["a", "b"], "characters")
    calls: list[str] = []

    @objective
    def length(texts: list[str]) -> list[float]:
        calls.extend(texts)
        return [float(len(text)) for text in texts]

    discriminator = ConvDiscriminator(
        embedding=3, widths=(1, 2), filters=(2, 2), dropout=0.2, replay=8, noise=0.1
    )
    reward = 0.3 * discriminator + 0.2 * TokenSum() + 0.3 * length + 0.2 * Variety()
    task = Task(
        name="Small",
        vocabulary=vocabulary,
        max_length=5,
        reward=reward,
        load_data=lambda: vocabulary.encode(LINES),
    )
    torch.manual_seed(0)
    policy = GRUPolicy(vocabulary, embedding=5, hidden=7).double()
    options = {"batch_size": 5, "discriminator_steps": 2, "discriminator_batch_size": 3} | options
    agent: Any = kind(policy, TokenEnv(task), seed=3, **options)
    discriminator.network.double()
    agent.calls = calls
    return agent


def learnt(agent: Any) -> dict[str, Any]:
    agent.pretrain(epochs=3, batch_size=3, discriminator_steps=3)
    agent.learn(60)
    (discriminator,) = agent._trainable_rewards().values()
    return {
        "policy": agent.policy.state_dict(),
        "discriminator": discriminator.network.state_dict(),
        "rounds": agent.rounds,
        "episodes": [e["r"] + 100 * e["l"] for e in agent.ep_info_buffer],
        "calls": agent.calls,
    }


@pytest.mark.parametrize("kind", [Reinforce, ORGAN, PPO])
@pytest.mark.parametrize("processes", [2, 3])
def test_processes_together_learn_what_one_learns(
    processes: int, kind: type[SequenceAgent], tmp_path: Path
) -> None:
    """Pretraining, discriminators, and rounds of 5 sequences, which no number here divides."""
    options: dict[str, Any] = {"prior_coefficient": 0.1, "entropy_coefficient": 0.05}
    if kind is ORGAN:
        options |= {"completions": 3, "rollout_update": 0.5}
    if kind is PPO:  # of which each reads the whole, what is replayed as well
        options |= {"minibatch_size": 2, "replay_batch_size": 3}
    alone = learnt(make_agent(kind, **options))
    assert alone["rounds"] >= 3
    for rank, found in enumerate(
        each_of(processes, tmp_path, lambda _: learnt(make_agent(kind, **options)))
    ):
        for name in ("policy", "discriminator"):
            for key, weights in alone[name].items():
                torch.testing.assert_close(found[name][key], weights, **EXACT)
        assert found["rounds"] == alone["rounds"]
        assert found["episodes"] == pytest.approx(alone["episodes"])
        assert found["calls"] == (alone["calls"] if rank == 0 else [])  # each asked about once


def test_processes_share_the_completions_of_ppo(tmp_path: Path) -> None:
    def learn() -> tuple[list[Any], int]:
        calls: list[str] = []

        def length(texts: list[str]) -> list[float]:
            calls.extend(texts)
            return [float(len(text)) for text in texts]

        vocabulary = Vocabulary.from_tokens(["a", "b"], "characters")
        reward = FunctionObjective(length, credit="rollouts", memo=False)
        task = Task(name="Small", vocabulary=vocabulary, max_length=5, reward=reward)
        torch.manual_seed(0)
        policy = GRUPolicy(vocabulary, embedding=5, hidden=7).double()
        options: dict[str, Any] = {"advantage": "rollouts", "completions": 2, "batch_size": 6}
        agent = PPO(policy, TokenEnv(task), seed=3, **options)
        agent.learn(60)
        return [weights.detach().clone() for weights in policy.parameters()], len(calls)

    alone, asked = learn()
    found = each_of(2, tmp_path, lambda _: learn())
    for weights, _ in found:
        for one, other in zip(weights, alone, strict=True):
            torch.testing.assert_close(one, other, **EXACT)
    assert all(calls < asked for _, calls in found)


@pytest.mark.parametrize("backend", ["tiled", "graph"])
@pytest.mark.parametrize("scheme", ["plain", "systematic", "arithmetic", "reuse", "backward"])
def test_rollouts_are_those_of_one_process(scheme: str, backend: str, tmp_path: Path) -> None:
    agent = make_agent()
    written = agent.sample(5, seed=2)
    options = {"completions": 4, "scheme": scheme, "backend": backend, "seed": 9}

    def roll_out(_: World | None = None) -> dict[str, Any]:
        found = action_values_together(agent.policy, written, TokenSum(), **options)
        return {"q": found.q_BT, "n": found.n_BT, "variance": found.variance_BT} | {
            "tokens": found.tokens,
            "values": found.scores.values_B,
            "sample": sample_together(agent.policy, 7, max_length=5, seed=1).log_probs_BT,
        }

    alone = roll_out()
    for found in each_of(2, tmp_path, roll_out):
        for name, value in alone.items():
            if isinstance(value, int):
                assert found[name] == value
            else:
                torch.testing.assert_close(found[name], value, equal_nan=True, **EXACT)


def test_a_share_may_be_empty(policy: Any, tmp_path: Path) -> None:
    tokens_BT = policy.vocabulary.encode(["ab"]).tokens_BT

    def gradient(_: World | None = None) -> Any:
        policy.zero_grad(set_to_none=True)
        logits_together(policy, tokens_BT).square().sum().backward()
        world().sum_gradients(policy.parameters(), mean=False)
        return [parameter.grad.clone() for parameter in policy.parameters()]

    for found in each_of(3, tmp_path, gradient):
        torch.testing.assert_close(found, gradient(), **EXACT)


def test_what_is_no_part_of_the_policy_is_averaged(tmp_path: Path) -> None:
    """Every process computes a critic's gradient of the whole batch."""

    def gather(here: World) -> list[float]:
        agent, critic = make_agent(), torch.nn.Parameter(torch.zeros(1))
        agent.optimizer.add_param_group({"params": [critic]})
        weight = next(agent.policy.parameters())
        found = []
        for in_shares in (True, False):
            weight.grad, critic.grad = torch.ones_like(weight), torch.ones(1)
            agent._in_shares = in_shares
            agent._gather_gradients()
            found += [float(weight.grad.max()), float(critic.grad)]
        return found

    assert each_of(2, tmp_path, gather) == [[2, 1, 1, 1]] * 2


def test_what_every_process_has_to_agree_on(tmp_path: Path) -> None:
    def voted(here: World) -> list[Any]:
        other_seeds, few = make_agent(), make_agent(batch_size=2, baseline="none")
        other_seeds.seed, few.batch_size = here.rank, 1
        said = []
        for agent in (few, other_seeds):
            try:
                agent._check_processes()
                said.append("")
            except ValueError as error:
                said.append(str(error))
        return [here.all(here.rank == 0), here.all(True), *said]

    first, second = each_of(2, tmp_path, voted)
    assert first[:2] == second[:2] == [False, True]
    assert "batch_size is 1 for 2 processes; expected at least a sequence for each" in first[2]
    assert first[3] == ""
    assert "has the seed 1, the first one's 0; give all processes the same seed" in second[3]


def test_a_failure_of_one_ends_all(tmp_path: Path) -> None:
    def fail(here: World) -> str:
        try:
            here.first(lambda: 1 / 0)
        except ZeroDivisionError as error:
            return f"own: {error}"
        except ProcessError as error:
            return f"other: {error}"
        return "nothing"

    first, second = each_of(2, tmp_path, fail)
    assert first == "own: division by zero"
    assert second == "other: the first process failed: ZeroDivisionError: division by zero"

    def leave(here: World) -> str:
        if here.rank == 1:
            return "gone"
        try:
            here.all(True)
        except ProcessError as error:
            return str(error)
        return "nothing"

    assert "ended, or does not answer" in each_of(2, tmp_path, leave)[0]


def test_a_budget_of_completions_is_refused(tmp_path: Path) -> None:
    def budget(_: World) -> str:
        agent = make_agent()
        counted = FunctionObjective(
            lambda texts: [1.0] * len(texts), name="one", budget=9, credit="rollouts"
        )
        with pytest.raises(ValueError, match="one has a budget and scores completions"):
            action_values_together(agent.policy, agent.sample(4, seed=0), counted)
        return "refused"

    assert each_of(2, tmp_path, budget) == ["refused", "refused"]


def test_shares_are_all_rows_once() -> None:
    for size in (1, 2, 3, 7):
        for rows in (0, 1, 6, 20):
            shares = [World(rank, size).share(rows) for rank in range(size)]
            assert [b for share in shares for b in range(rows)[share]] == list(range(rows))
            lengths = [share.stop - share.start for share in shares]
            assert max(lengths) - min(lengths) <= 1


def test_what_comes_from_outside_is_learnt_by_the_first_for_all(tmp_path: Path) -> None:
    vocabulary = Vocabulary.from_tokens(["a", "b"], "characters")
    ratings = [f"ann,{'a' * (n % 4 + 1)},{'b' * (n % 3 + 1)},left\n" for n in range(30)]
    (tmp_path / "ratings0.csv").write_text("assessor,left,right,answer\n" + "".join(ratings))

    def work(world: World) -> Any:
        store = str(tmp_path / f"ratings{world.rank}.csv")  # of the second there is none yet
        assessors = Assessors(store, "Which?", members=2, hidden=4)
        discriminator = ConvDiscriminator(embedding=3, widths=(1,), filters=(2,), dropout=0.2)
        task = Task(
            name="Small",
            vocabulary=vocabulary,
            max_length=5,
            reward=0.5 * assessors + 0.5 * discriminator,
            load_data=lambda: vocabulary.encode(LINES),
        )
        agent = Reinforce("GRU", TokenEnv(task), seed=3, batch_size=4, discriminator_steps=2)
        agent.learn(20)
        return assessors.state(), discriminator.state()

    one, other = each_of(2, tmp_path, work)
    assert one[0][1]["known"] == 30
    for (tensors, state), (others, other_state) in zip(one, other, strict=True):
        assert state == other_state
        for name, tensor in tensors.items():
            assert torch.equal(tensor, others[name]), name
