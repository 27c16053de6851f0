"""The agents: they learn, are deterministic, go on as if never stopped, and say what is wrong."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any, get_args

import gymnasium as gym
import pytest
import torch
from safetensors.torch import save_file
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from tokengym.agents import ORGAN, CheckpointError, SeqGAN, SequenceAgent, load_agent
from tokengym.agents.base import Batch
from tokengym.agents.completions import Scheme
from tokengym.envs import Sequences, Task, TokenEnv, Vocabulary
from tokengym.rewards import ConvDiscriminator, FunctionObjective, ObjectiveError, Reward, Scores

TARGET = "abca"


def likeness(texts: list[str]) -> list[float]:
    """The share of places that are as in the target: optimum 1, random tokens 1/3."""
    return [sum(a == b for a, b in zip(text, TARGET, strict=False)) / len(TARGET) for text in texts]


def task_with(reward: Reward) -> Task:
    vocabulary = Vocabulary.from_tokens(["a", "b", "c"], "characters", eos=False)
    data = vocabulary.encode(["abca", "abcb", "cbca", "abba"] * 8)
    return Task(
        name="Target",
        vocabulary=vocabulary,
        max_length=len(TARGET),
        reward=reward,
        load_data=lambda: data,
    )


def discriminator() -> ConvDiscriminator:
    return ConvDiscriminator(embedding=4, widths=(1, 2), filters=(4, 4), learning_rate=1e-3)


def make(kind: type[SequenceAgent] = ORGAN, seed: int = 1, **options: Any) -> Any:
    reward = options.pop("reward", None)
    if reward is None:
        reward = 0.5 * discriminator() + 0.5 * FunctionObjective(likeness)
    defaults: dict[str, Any] = {
        "batch_size": 8,
        "completions": 2,
        "discriminator_steps": 1,
        "policy_kwargs": {"hidden": 12, "embedding": 6},
    }
    return kind("GRU", TokenEnv(task_with(reward)), seed=seed, **(defaults | options))


def weights(agent: SequenceAgent) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in agent.policy.parameters()])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_learns_a_task_with_a_known_optimum(seed: int) -> None:
    agent = make(
        seed=seed,
        reward=FunctionObjective(likeness),
        batch_size=64,
        learning_rate=0.02,
        repetition_penalty=False,
    )

    def mean_return() -> float:
        texts = agent.sample(500, seed=9).texts
        return sum(likeness(texts)) / len(texts)

    random, optimum = 1 / 3, 1.0
    assert abs(mean_return() - random) < 0.2
    agent.learn(25_000)
    assert mean_return() > 0.9 * optimum


def test_seqgan_learns_from_its_discriminator() -> None:
    agent = make(SeqGAN, reward=discriminator(), batch_size=16)
    agent.pretrain(epochs=2, discriminator_steps=5)
    before = weights(agent)
    agent.learn(200)
    assert not torch.equal(before, weights(agent))
    assert agent.task.reward.updates > 5
    with pytest.raises(ValueError, match=r"reward=ConvDiscriminator\(\), or use ORGAN"):
        make(SeqGAN, reward=FunctionObjective(likeness))


def test_pretraining_approaches_the_data() -> None:
    agent = make()
    agent.pretrain(epochs=60, batch_size=8, learning_rate=0.02, discriminator_steps=0)
    texts = agent.sample(200, seed=0).texts
    share = sum(text in ("abca", "abcb", "cbca", "abba") for text in texts) / len(texts)
    assert share > 0.8  # of uniformly random texts it is 4 / 81


def test_a_constant_reward_changes_nothing_at_all() -> None:
    agent = make(
        reward=FunctionObjective(lambda texts: [0.1] * len(texts)), repetition_penalty=False
    )
    before = weights(agent)
    agent.learn(300)
    assert torch.equal(before, weights(agent))


@pytest.mark.parametrize("scheme", get_args(Scheme))
def test_a_constant_reward_of_completions_changes_nothing_at_all(scheme: str) -> None:
    rolled = FunctionObjective(lambda texts: [0.1] * len(texts), credit="rollouts")
    with pytest.warns(UserWarning, match="which the repetition penalty leaves as they are"):
        make(reward=rolled)
    agent = make(reward=rolled, scheme=scheme, repetition_penalty=False)
    before = weights(agent)
    agent.learn(200)
    assert torch.equal(before, weights(agent))


def test_the_rollout_policy_is_the_convex_mix_that_it_says() -> None:
    agent = make(rollout_update=0.2)
    agent._before_learning()
    rollout_policy = agent.companions["rollout_policy"]
    old = [p.clone() for p in rollout_policy.parameters()]
    agent.learn(8 * len(TARGET))  # one round
    mixed = zip(rollout_policy.parameters(), old, agent.policy.parameters(), strict=True)
    moved = 0.0
    for delayed, before, now in mixed:
        torch.testing.assert_close(delayed, 0.8 * before + 0.2 * now.detach())
        moved += float((delayed - before).abs().sum())
    assert moved > 0


def test_one_seed_one_result() -> None:
    runs = []
    for seed in (1, 1, 2):
        agent = make(seed=seed, prior_coefficient=0.1, rollout_update=0.5)
        agent.pretrain(epochs=1, discriminator_steps=2)
        agent.learn(200)
        runs.append(weights(agent))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


@pytest.mark.parametrize("stop_at", [3, 9, 14])
def test_a_stopped_pretraining_goes_on_to_the_bit(stop_at: int, tmp_path: Path) -> None:
    options: dict[str, Any] = {"epochs": 3, "batch_size": 4, "discriminator_steps": 4}
    whole = make()
    whole.pretrain(**options)
    stopped = make()
    steps = iter(range(1, 1000))
    stopped.pretrain(callback=lambda _: next(steps) < stop_at, **options)
    stopped.save(tmp_path / "stopped")
    env = TokenEnv(task_with(0.5 * discriminator() + 0.5 * FunctionObjective(likeness)))
    resumed = ORGAN.load(tmp_path / "stopped", env)
    resumed.pretrain(reset=False, **options)
    assert torch.equal(weights(whole), weights(resumed))
    assert resumed.pretraining == whole.pretraining
    for agent in (whole, resumed):
        agent.learn(150)
    assert torch.equal(weights(whole), weights(resumed))


def test_saved_and_resumed_equals_never_stopped(tmp_path: Path) -> None:
    options: dict[str, Any] = {"prior_coefficient": 0.1, "rollout_update": 0.5}
    whole = make(**options)
    whole.learn(400)
    first = make(**options)
    first.learn(200)
    first.save(tmp_path / "half")
    env = TokenEnv(task_with(0.5 * discriminator() + 0.5 * FunctionObjective(likeness)))
    second = ORGAN.load(tmp_path / "half", env)
    second.learn(400 - second.num_timesteps, reset_num_timesteps=False)
    assert torch.equal(weights(whole), weights(second))
    assert whole.num_timesteps == second.num_timesteps
    assert whole.sample(5, seed=1).texts == second.sample(5, seed=1).texts
    assert whole.sample(5).texts == second.sample(5).texts


def test_loaded_without_an_environment_it_writes_and_saves_all(tmp_path: Path) -> None:
    agent = make()
    agent.pretrain(epochs=1, discriminator_steps=2)
    agent.save(tmp_path / "agent.zip")  # as Stable-Baselines3's callbacks name it
    assert (tmp_path / "agent.safetensors").exists()
    loaded = load_agent(tmp_path / "agent")
    assert loaded.sample(9, seed=3).texts == agent.sample(9, seed=3).texts
    with pytest.raises(ValueError, match="call set_env first"):
        loaded.learn(10)
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again.safetensors").read_bytes() == (
        tmp_path / "agent.safetensors"
    ).read_bytes()


def test_native_to_stable_baselines3(tmp_path: Path) -> None:
    agent = make()
    mean, _ = evaluate_policy(agent, agent.get_env(), n_eval_episodes=5, deterministic=False)
    assert isinstance(mean, float)
    assert 0 <= mean <= 1
    agent.learn(200, callback=CheckpointCallback(20, str(tmp_path)))
    assert list(tmp_path.glob("*.safetensors"))
    assert agent.num_timesteps >= 200
    observation, _ = agent.env.envs[0].reset()
    assert agent.env.action_space.contains(agent.predict(observation, deterministic=True)[0])


def test_a_broken_objective_leaves_the_agent_as_it_was() -> None:
    calls = iter(range(100))

    def breaks(texts: list[str]) -> list[float]:
        if next(calls) == 3:
            raise RuntimeError("the lab is closed")
        return [float(len(set(text))) for text in texts]

    agent = make(reward=FunctionObjective(breaks, memo=False), batch_size=8)
    snapshots: list[torch.Tensor] = []

    def remember(*_: Any) -> bool:
        snapshots.append(weights(agent))
        return True

    with pytest.raises(ObjectiveError, match="objective 'breaks' raised RuntimeError: the lab"):
        agent.learn(1000, callback=remember)
    assert torch.equal(weights(agent), snapshots[-1])
    assert agent.rounds == 3


def test_a_round_that_cannot_be_scored_changes_nothing() -> None:
    agent = make(reward=FunctionObjective(lambda texts: [None] * len(texts)))
    before = weights(agent)
    with pytest.warns(UserWarning, match="no sequence of this round could be scored"):
        agent.learn(1)
    assert torch.equal(before, weights(agent))


def test_an_agent_shows_what_it_is_and_has_done(small_task: Task) -> None:
    agent = ORGAN("GRU", TokenEnv(small_task), policy_kwargs={"hidden": 4}, batch_size=8, seed=0)
    assert repr(agent) == (
        "<ORGAN with GRUPolicy: Small, token_sum; 0 batches of teacher forcing, 0 timesteps>"
    )
    agent.learn(1)
    assert f"{agent.num_timesteps} timesteps" in repr(agent)


def test_mistakes_are_named() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"baseline": "median"}, "baseline is 'median'; expected 'leave_one_out' or 'mean'"),
        ({"rollout_update": 0.0}, "rollout_update is 0"),
        ({"scheme": "forward"}, "scheme is 'forward'; expected 'plain' or 'systematic' or"),
        ({"batch_size": 1}, "batch_size is 1"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            make(**options)
    with pytest.raises(ValueError, match="unknown policy 'GRUU'; did you mean 'GRU'"):
        ORGAN("GRUU", TokenEnv(task_with(FunctionObjective(likeness))))
    with pytest.raises(ValueError, match="has no task"):
        ORGAN("GRU", gym.make("CartPole-v1"))


def test_damaged_checkpoints(tmp_path: Path) -> None:
    agent = make()
    agent.save(tmp_path / "good")
    good = (tmp_path / "good.safetensors").read_bytes()
    damaged = {
        "missing": None,
        "empty": b"",
        "cut": good[: len(good) // 2],
        "pickle": b"cos\nsystem\n(S'true'\ntR.",
        "flipped": good[:-1] + bytes([good[-1] ^ 1]),
    }
    for name, content in damaged.items():
        path = tmp_path / f"{name}.safetensors"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(CheckpointError, match=f"{name}.safetensors"):
            ORGAN.load(path)
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="no tokengym checkpoint"):
        ORGAN.load(tmp_path / "other")
    with pytest.raises(CheckpointError, match=r"holds a ORGAN, not a SeqGAN; load it with ORGAN"):
        SeqGAN.load(tmp_path / "good")


def test_a_failed_save_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make()
    agent.save(tmp_path / "a")
    before = (tmp_path / "a.safetensors").read_bytes()
    agent.learn(50)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        agent.save(tmp_path / "a")
    assert (tmp_path / "a.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_every_hyperparameter_is_saved(tmp_path: Path) -> None:
    agent = make(learning_rate=0.003, batch_size=5, repetition_penalty=False)
    options = agent._options()
    json.dumps(options)
    agent.save(tmp_path / "a")
    loaded = ORGAN.load(tmp_path / "a")
    assert loaded._options() == options
    assert (loaded.batch_size, loaded.repetition_penalty) == (5, False)


def test_whole_sequences_score_as_the_stepwise_environment_does() -> None:
    agent = make()
    sequences = agent.sample(12, seed=4)
    scores = agent._value(Batch(sequences, sequences.mask_BT)).scores
    env = TokenEnv(agent.task)
    for tokens, value in zip(sequences.tokens_BT.tolist(), scores.values_B.tolist(), strict=True):
        env.reset()
        steps = [env.step(token) for token in tokens]
        assert steps[-1][2]
        assert steps[-1][1] == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"discriminator_steps": -1},
            "discriminator_steps is -1; expected a whole number, at least 0",
        ),
        (
            {"discriminator_batch_size": 0},
            "discriminator_batch_size is 0; expected a whole number, at least 1",
        ),
        ({"max_grad_norm": -1.0}, "max_grad_norm is -1.0; expected more than 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; expected more than 0"),
        ({"prior_coefficient": -0.1}, "prior_coefficient is -0.1; expected at least 0"),
        ({"device": "foo"}, "device is 'foo'; expected one that is here"),
        (
            {"policy_kwargs": {"hiddens": 3}},
            "policy GRU has no option 'hiddens'; did you mean hidden",
        ),
    ],
)
def test_options_that_cannot_be_are_named_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)


class Overflowing(SeqGAN):
    """An agent whose loss has no gradient."""

    def _check_rewards(self) -> None: ...

    def _update(self, *_: Any) -> dict[str, float]:
        weight = next(self.policy.parameters()).flatten()[0]
        return {"grad_norm": self._update_policy((weight - weight).sqrt())}


def test_a_gradient_that_is_not_finite_leaves_the_policy_as_it_was() -> None:
    agent = make(Overflowing, reward=FunctionObjective(likeness))
    before = weights(agent)
    with pytest.raises(FloatingPointError, match="the gradient's norm is nan in round 0"):
        agent.learn(8)
    assert torch.equal(weights(agent), before)
    assert not agent.within_update


def test_it_says_whether_it_stands_between_rounds() -> None:
    agent = make()
    agent.learn(8)
    assert not agent.within_update
    discriminator = next(iter(agent._trainable_rewards().values()))
    discriminator.update = None
    with pytest.raises(TypeError):
        agent.learn(8)
    assert agent.within_update


def test_names_alike_in_36_characters_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a_name_that_is_so_long_that_it_is_cut"
    make(reward=FunctionObjective(likeness, name=name), verbose=1).learn(8)
    assert f"{name}/failed" in capsys.readouterr().out


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_repetition_penalty_makes_a_repetition_worth_less(sign: float) -> None:
    agent = make(reward=FunctionObjective(likeness))
    sequences = agent.policy.vocabulary.encode(["abca", "abca", "cccc"])
    shaped_B = agent._shape_terminal(sequences, torch.full((3,), sign))
    penalty_B = torch.tensor([1 / 3, 1 / 3, 2 / 3])  # 2 of 3 are different, one stands twice
    expected_B = penalty_B if sign > 0 else penalty_B - 2
    torch.testing.assert_close(shaped_B, expected_B)
    assert shaped_B[0] < shaped_B[2]


def test_one_token_has_an_advantage_without_spread() -> None:
    vocabulary = Vocabulary.from_tokens(["a", "b"], "characters", eos=False)
    reward = FunctionObjective(lambda texts: [1.0] * len(texts))
    task = Task(name="One", vocabulary=vocabulary, max_length=1, reward=reward)
    agent = ORGAN("GRU", TokenEnv(task), batch_size=1, baseline="none", seed=0)
    assert agent._train_round().metrics["train/advantage_std"] == 0.0


def test_a_discriminator_that_learnt_elsewhere_begins_anew() -> None:
    env = TokenEnv(task_with(discriminator()))
    options: dict[str, Any] = {
        "batch_size": 4,
        "completions": 1,
        "discriminator_steps": 1,
        "seed": 3,
    }
    first = SeqGAN("GRU", env, **options).learn(40)
    with pytest.warns(UserWarning, match=r"learnt already, by \d+ updates, and begins anew"):
        second = SeqGAN("GRU", env, **options)
    second.learn(40)
    assert torch.equal(weights(first), weights(second))


def test_loading_into_a_discriminator_in_use_is_said(tmp_path: Path) -> None:
    agent = make(SeqGAN, reward=discriminator())
    agent.learn(40)
    agent.save(tmp_path / "a")
    SeqGAN.load(tmp_path / "a", agent.get_env())  # as it was saved: nothing is lost
    agent.learn(40)
    with pytest.warns(UserWarning, match=r"conv_discriminator had \d+ updates.*overwritten"):
        SeqGAN.load(tmp_path / "a", agent.get_env())


class Doubled(gym.RewardWrapper[Any, Any]):
    def reward(self, reward: Any) -> float:
        return 2 * float(reward)


def test_wrappers_that_an_agent_does_not_see_are_named() -> None:
    env = TokenEnv(task_with(FunctionObjective(likeness)))
    with pytest.warns(UserWarning, match=r"do not see its wrappers \['Doubled'\]"):
        ORGAN("GRU", Doubled(env))
    normalized = VecNormalize(DummyVecEnv([lambda: Monitor(env)]))
    with pytest.warns(UserWarning, match=r"do not see its wrappers \['VecNormalize'\]"):
        ORGAN("GRU", normalized)


def test_overlap_changes_no_bit() -> None:
    agents = [make(overlap=overlap).learn(200) for overlap in (False, True)]
    assert torch.equal(weights(agents[0]), weights(agents[1]))


def test_overlap_scores_while_completions_are_made() -> None:
    completing = threading.Event()

    class Announcing(ConvDiscriminator):
        def __call__(self, sequences: Sequences) -> Scores:
            completing.set()
            return super().__call__(sequences)

    def waiting(texts: list[str]) -> list[float]:
        assert completing.wait(timeout=30), "no completion was scored meanwhile"
        return likeness(texts)

    reward = 0.5 * Announcing(4, (1, 2), (4, 4)) + 0.5 * FunctionObjective(waiting)
    agent = make(reward=reward, overlap=True, discriminator_steps=0)
    completing.clear()
    agent.learn(10)
    assert agent.rounds == 1


def test_overlap_refuses_what_two_threads_would_score_with() -> None:
    shared = discriminator()
    reward = 0.5 * shared + 0.5 * shared * FunctionObjective(likeness)
    with pytest.raises(ValueError, match="conv_discriminator scores both"):
        make(reward=reward, overlap=True).learn(10)
