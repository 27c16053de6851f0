# Shapes: B prefixes, T steps, A actions, F features
from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tokengym
import torch
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv
from tokengym import (
    GRUPolicy,
    LastToken,
    LSTMPolicy,
    Policy,
    Task,
    TokenEnv,
    TokenVecEnv,
    Vocabulary,
    WithCondition,
)
from tokengym.agents import GeneratorPolicy, GRUExtractor, TransformerExtractor

ZOO_ID = "tokengym/Markov-v0"  # what rl_zoo3 and TorchRL are tried on
VOCABULARY = Vocabulary.from_tokens("abcd", "characters", eos=False)
T = 5
TARGET = "bdaca"
OPTIMUM, RANDOM = 1.0, 0.25
REACHED = 0.75

GRU = {
    "features_extractor_class": GRUExtractor,
    "features_extractor_kwargs": {"embedding": 16, "hidden": 32},
}
TRANSFORMER = {
    "features_extractor_class": TransformerExtractor,
    "features_extractor_kwargs": {"embedding": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def share_right(texts: list[str]) -> list[float | None]:
    return [sum(map(str.__eq__, text, TARGET)) / T for text in texts]


def make_task() -> Task:
    reward = tokengym.make_reward(share_right)
    return Task(name="target", vocabulary=VOCABULARY, max_length=T, reward=reward)


TARGET_ID = "tests/Target-v0"
tokengym.register_task(TARGET_ID, make_task)


# --- what reads a prefix -----------------------------------------------------------------------


def padded(prefixes: list[list[int]], length: int) -> torch.Tensor:
    rows = [prefix + [VOCABULARY.pad] * (length - len(prefix)) for prefix in prefixes]
    return torch.tensor(rows).float()  # what Stable-Baselines3 makes of integers


def extractors(length: int) -> list[GRUExtractor | TransformerExtractor]:
    space = gym.spaces.Box(0, VOCABULARY.num_inputs - 1, (length,), np.int64)
    torch.manual_seed(0)
    return [GRUExtractor(space, layers=2), TransformerExtractor(space)]


PREFIXES = [[], [0], [1], [0, 1], [1, 0], [3, 3, 2], [3, 3, 2, 0]]


@pytest.mark.parametrize("which", [0, 1])
def test_features_do_not_depend_on_the_padding(which: int) -> None:
    short, long = extractors(4)[which], extractors(9)[which]
    weights = {name: value for name, value in long.state_dict().items()}
    if which == 1:  # a longer limit has more positions, the first ones mean the same
        weights["positions.weight"] = weights["positions.weight"][:5]
    short.load_state_dict(weights)
    features_BF = short(padded(PREFIXES, 4))
    assert features_BF.shape == (7, 64) == (7, short.features_dim)
    assert torch.equal(long(padded(PREFIXES, 9)), features_BF)
    alone = torch.cat([long(padded([prefix], 9)) for prefix in PREFIXES])
    torch.testing.assert_close(alone, features_BF, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("which", [0, 1])
def test_features_tell_every_two_prefixes_apart(which: int) -> None:
    features_BF = extractors(4)[which](padded(PREFIXES, 4))
    distances = torch.cdist(features_BF, features_BF) + torch.eye(len(PREFIXES)) * 10
    assert distances.min() > 0.01


def test_extractors_read_conditions_too() -> None:
    env = WithCondition(TokenEnv(make_task()), lambda rng: rng.normal(size=3), 3)
    extractor = GRUExtractor(env.observation_space)
    condition = torch.tensor([[1.0, 2.0, 3.0]])
    features_BF = extractor({"tokens": padded([[0, 1]], T), "condition": condition})
    assert features_BF.shape == (1, 67) == (1, extractor.features_dim)
    assert features_BF[:, 64:].tolist() == condition.tolist()
    venv = make_vec_env(
        lambda: WithCondition(TokenEnv(make_task()), lambda rng: rng.normal(size=3), 3), 2
    )
    PPO("MultiInputPolicy", venv, n_steps=8, batch_size=16, policy_kwargs=GRU).learn(16)


def test_extractors_refuse_what_is_no_prefix() -> None:
    for space in (gym.spaces.Discrete(6), gym.spaces.Box(0, 1, (4,), np.float32)):
        with pytest.raises(ValueError, match="expected the Box of int64 tokens"):
            GRUExtractor(space)
    with pytest.raises(ValueError, match="multiple of heads"):
        TransformerExtractor(make_task().observation_space, embedding=10, heads=4)


# --- a generator of ours as their policy ---------------------------------------------------------


def make_generator(kind: type[GRUPolicy] | type[LSTMPolicy] = GRUPolicy, **more: Any) -> Policy:
    torch.manual_seed(3)
    return kind(VOCABULARY, embedding=16, hidden=32, **more)


def ppo(env: VecEnv, policy: Any, seed: int = 0, **options: Any) -> PPO:
    options = {"n_steps": 20, "batch_size": 80, "n_epochs": 4, "learning_rate": 3e-3, **options}
    return PPO(policy, env, gamma=1.0, ent_coef=0.03, seed=seed, device="cpu", **options)


def target_env(num_envs: int = 16, constraint: str | None = None) -> TokenVecEnv:
    return tokengym.make_sb3(TARGET_ID, num_envs, constraint=constraint)


@pytest.mark.parametrize("kind", [GRUPolicy, LSTMPolicy])
def test_a_generator_begins_with_its_own_distribution(
    kind: type[GRUPolicy] | type[LSTMPolicy],
) -> None:
    generator = make_generator(kind, layers=2, dropout=0.5)
    agent = ppo(target_env(4), GeneratorPolicy, policy_kwargs={"generator": generator})
    written = tokengym.sample(generator, 6, max_length=T, seed=1)
    assert written.log_probs_BT is not None
    for training in (False, True):  # no dropout in either
        agent.policy.set_training_mode(training)
        for t in range(T):
            prefixes_BT = written.tokens_BT.clone()
            prefixes_BT[:, t:] = VOCABULARY.pad
            actions_B = written.tokens_BT[:, t]
            _, log_probs_B, entropy_B = agent.policy.evaluate_actions(prefixes_BT, actions_B)
            torch.testing.assert_close(log_probs_B, written.log_probs_BT[:, t])
            assert entropy_B is not None
            assert (entropy_B < math.log(4)).all()
    assert agent.policy.predict_values(written.tokens_BT).shape == (6, 1)  # a full prefix, too


def test_every_weight_is_trained_once() -> None:
    agent = ppo(target_env(4), GeneratorPolicy, policy_kwargs={"generator": make_generator()})
    values, log_probs_B, _ = agent.policy.evaluate_actions(
        torch.tensor([[0, 1, VOCABULARY.pad, VOCABULARY.pad, VOCABULARY.pad]]), torch.tensor([2])
    )
    (values.sum() + log_probs_B.sum()).backward()
    optimised = [p for group in agent.policy.optimizer.param_groups for p in group["params"]]
    assert len({id(p) for p in optimised}) == len(optimised) == len(list(agent.policy.parameters()))
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in optimised)


def test_a_generator_goes_in_and_comes_out(tmp_path: Path) -> None:
    generator = make_generator()
    before = tokengym.sample(generator, 8, max_length=T, seed=0)
    agent = ppo(target_env(4), GeneratorPolicy, policy_kwargs={"generator": generator})
    agent.learn(160)
    assert agent.policy.generator is generator
    after = tokengym.sample(generator, 8, max_length=T, seed=0)
    assert after.log_probs_BT is not None
    assert before.log_probs_BT is not None
    assert not torch.equal(after.log_probs_BT, before.log_probs_BT)
    agent.save(tmp_path / "agent")
    loaded = PPO.load(tmp_path / "agent", device="cpu")
    assert isinstance(loaded.policy, GeneratorPolicy)
    again = tokengym.sample(loaded.policy.generator, 8, max_length=T, seed=0)
    assert torch.equal(again.tokens_BT, after.tokens_BT)
    assert again.log_probs_BT is not None
    assert torch.equal(again.log_probs_BT, after.log_probs_BT)
    agent.policy.save(str(tmp_path / "policy"))
    policy = GeneratorPolicy.load(str(tmp_path / "policy"), device="cpu")
    again = tokengym.sample(policy.generator, 8, max_length=T, seed=0)
    assert torch.equal(again.tokens_BT, after.tokens_BT)


def test_a_generator_of_another_vocabulary_is_refused() -> None:
    other = GRUPolicy(Vocabulary.from_tokens("abc", "characters", eos=False))
    with pytest.raises(ValueError, match=r"vocabulary=generator\.vocabulary"):
        ppo(target_env(4), GeneratorPolicy, policy_kwargs={"generator": other})


# --- other people's agents -----------------------------------------------------------------------


class Enough(BaseCallback):
    """Stops when the last hundred episodes are nearly as good as can be."""

    def _on_step(self) -> bool:
        returns = [episode["r"] for episode in self.model.ep_info_buffer or ()]
        return len(returns) < 100 or float(np.mean(returns)) < 0.93


def make_ppo(seed: int) -> PPO:
    return ppo(target_env(), "MlpPolicy", seed, policy_kwargs=GRU)


def make_ppo_transformer(seed: int) -> PPO:
    return ppo(target_env(), "MlpPolicy", seed, policy_kwargs=TRANSFORMER)


def make_ppo_generator(seed: int) -> PPO:
    kwargs = {"generator": make_generator()}
    return ppo(target_env(), GeneratorPolicy, seed, policy_kwargs=kwargs)


def make_a2c(seed: int) -> A2C:
    return A2C(
        "MlpPolicy", target_env(), learning_rate=3e-3, gamma=1.0, ent_coef=0.03,
        policy_kwargs=GRU, seed=seed, device="cpu",
    )  # fmt: skip


def make_dqn(seed: int) -> DQN:
    return DQN(
        "MlpPolicy", target_env(), learning_rate=3e-3, gamma=1.0, learning_starts=500,
        buffer_size=10_000, train_freq=1, gradient_steps=2, batch_size=64,
        target_update_interval=100, exploration_fraction=0.5,
        policy_kwargs={**GRU, "net_arch": [32]}, seed=seed, device="cpu",
    )  # fmt: skip


def make_maskable_ppo(seed: int) -> MaskablePPO:
    return MaskablePPO(
        "MlpPolicy", target_env(16, "no_repetition(on_forbidden='raise')"), n_steps=20,
        batch_size=80, n_epochs=4, learning_rate=3e-3, gamma=1.0, ent_coef=0.03, policy_kwargs=GRU,
        seed=seed, device="cpu",
    )  # fmt: skip


def make_recurrent_ppo(seed: int) -> RecurrentPPO:
    return RecurrentPPO(
        "MlpLstmPolicy", make_vec_env(TARGET_ID, 16, wrapper_class=LastToken), n_steps=20,
        batch_size=80, n_epochs=4, learning_rate=3e-3, gamma=1.0, ent_coef=0.03,
        policy_kwargs={"lstm_hidden_size": 32, "net_arch": []}, seed=seed, device="cpu",
    )  # fmt: skip


LEARNERS: list[Callable[[int], BaseAlgorithm]] = [
    make_ppo, make_ppo_transformer, make_ppo_generator, make_a2c, make_dqn, make_maskable_ppo,
    make_recurrent_ppo,
]  # fmt: skip


def write(agent: BaseAlgorithm, env: VecEnv, num_steps: int) -> list[dict[str, Any]]:
    """The infos at the ends of episodes that an agent writes as it finds best."""
    ends = []
    observations = env.reset()
    state: Any = None
    starts_B = np.ones(env.num_envs, bool)
    masked = isinstance(agent, MaskablePPO)
    for _ in range(num_steps):
        more = {"action_masks": np.stack(env.env_method("action_masks"))} if masked else {}
        actions_B, state = agent.predict(observations, state, starts_B, deterministic=True, **more)  # type: ignore[arg-type]
        observations, _, starts_B, infos = env.step(actions_B)
        ends += [info for info in infos if "episode" in info]
    return ends


@pytest.mark.parametrize("make_agent", LEARNERS)
@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 2))])
def test_reaches_a_stated_return(make_agent: Callable[[int], BaseAlgorithm], seed: int) -> None:
    agent = make_agent(seed)
    env = agent.get_env()
    assert env is not None
    # 640 random letters at 1/4: 0.25 within 4 standard errors of 0.017.
    rng = np.random.default_rng(0)
    random = np.mean(share_right(["".join(rng.choice(list("abcd"), T)) for _ in range(128)]))  # type: ignore[arg-type]
    agent.learn(16_000, Enough())
    ends = write(agent, env, T)
    assert len(ends) == 16
    learnt = float(np.mean([end["episode"]["r"] for end in ends]))
    assert abs(random - RANDOM) < 0.07 < REACHED <= learnt <= OPTIMUM
    if isinstance(agent, MaskablePPO):
        texts = [end["text"] for end in ends]
        assert not any(a == b for text in texts for a, b in pairwise(text))


@pytest.mark.parametrize(
    ("id", "constraint"),
    [
        ("tokengym/Molecules-v0", "smiles_syntax(on_forbidden='raise')"),
        ("tokengym/Oracle-v0", "no_repetition(on_forbidden='raise')"),
    ],
)
@pytest.mark.parametrize("algorithm", [PPO, A2C, DQN, MaskablePPO, RecurrentPPO])
def test_registered_ids_train(algorithm: type[BaseAlgorithm], id: str, constraint: str) -> None:
    options: dict[str, Any] = {"n_steps": 8} if algorithm is not DQN else {"learning_starts": 8}
    if algorithm not in (A2C, DQN):
        options |= {"batch_size": 16, "n_epochs": 1}
    policy: str = "MlpPolicy"
    masked = {"constraint": constraint} if algorithm is MaskablePPO else {}
    env: VecEnv = tokengym.make_sb3(id, 2, **masked)
    if algorithm is RecurrentPPO:
        env, policy = make_vec_env(id, 2, wrapper_class=LastToken), "MlpLstmPolicy"
        options["policy_kwargs"] = {"lstm_hidden_size": 8, "net_arch": []}
    else:
        options["policy_kwargs"] = GRU
    agent = algorithm(policy, env, seed=0, device="cpu", **options)
    agent.learn(32)
    assert agent.num_timesteps == 32


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A Python of its own, with one thread, that finds this checkout."""
    root = str(Path(tokengym.__file__).parents[1])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_rl_zoo3_trains_to_its_end(tmp_path: Path) -> None:
    pytest.importorskip("rl_zoo3", reason="of the extra sb3")
    done = run(
        "-m", "rl_zoo3.train", "--algo", "ppo", "--env", ZOO_ID, "--gym-packages", "tokengym",
        "--n-timesteps", "2048", "--num-threads", "1", "--log-folder", "logs", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Saving to" in done.stdout
    assert list(tmp_path.glob("logs/ppo/*/*.zip"))


@pytest.mark.slow
def test_torchrl_takes_both_forms() -> None:
    envs = pytest.importorskip("torchrl.envs", reason="of the extra dev")
    env = envs.GymEnv(ZOO_ID, categorical_action_encoding=True)
    envs.check_env_specs(env)
    steps = env.rollout(1000)
    assert steps["next", "terminated"].sum() == 1
    assert steps["next", "reward"][-1] < 0.0  # a log-probability
    envs.check_env_specs(envs.GymWrapper(gym.make_vec(ZOO_ID, num_envs=3)))
