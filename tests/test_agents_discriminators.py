"""Agents with every kind of discriminator: they run, log what was learnt, and resume to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokengym.agents import ORGAN, SequenceAgent
from tokengym.envs import Task, TokenEnv, Vocabulary
from tokengym.rewards import Alternate, FunctionObjective, make_reward

SMALL = "embedding=4, widths=(1, 2), filters=(4, 4), learning_rate=0.01"
REWARDS = {
    "wasserstein": f"conv_discriminator({SMALL}, loss='wasserstein')",
    "all at once": f"conv_discriminator({SMALL}, loss='hinge', spectral_norm=True, replay=12,"
    " noise=0.2, noise_updates=20, gate=0.6)",
    "rank": f"conv_discriminator({SMALL}, loss='relativistic', reward='rank')",
    "ensemble": f"mean(conv_discriminator({SMALL}, smoothing=0.1, replay=8),"
    " recurrent_discriminator(embedding=4, hidden=6, learning_rate=0.01, gate=0.7),"
    " transformer_discriminator(width=8, learning_rate=0.01, loss='least_squares'))",
}


def share_of_a(texts: list[str]) -> list[float]:
    return [text.count("a") / 4 for text in texts]


def env_with(name: str) -> TokenEnv:
    vocabulary = Vocabulary.from_tokens(["a", "b", "c"], "characters")
    data = vocabulary.encode(["abc", "ab", "cba", "abb"] * 8)
    reward = 0.5 * make_reward(REWARDS[name]) + 0.5 * FunctionObjective(share_of_a)
    task = Task(
        name="Small", vocabulary=vocabulary, max_length=4, reward=reward, load_data=lambda: data
    )
    return TokenEnv(task)


def organ(name: str) -> ORGAN:
    options: dict[str, Any] = {"hidden": 12, "embedding": 6}
    return ORGAN(
        "GRU", env_with(name), seed=1, batch_size=8, completions=2, discriminator_steps=2,
        discriminator_batch_size=8, policy_kwargs=options,
    )  # fmt: skip


def everything(agent: SequenceAgent) -> dict[str, torch.Tensor]:
    tensors, state = agent._checkpoint()
    for name, kept in state["rewards"].items():
        for figure in ("updates", "skipped", "running_auc"):
            if figure in kept:
                tensors[f"{name}/{figure}"] = torch.tensor(kept[figure], dtype=torch.float64)
    return tensors


@pytest.mark.parametrize("name", REWARDS)
def test_saved_and_resumed_equals_never_stopped(name: str, tmp_path: Path) -> None:
    whole = organ(name)
    whole.pretrain(epochs=1, discriminator_steps=3)
    whole.learn(200)
    first = organ(name)
    first.pretrain(epochs=1, discriminator_steps=3)
    first.learn(100)
    first.save(tmp_path / "half")
    second = ORGAN.load(tmp_path / "half", env_with(name))
    second.learn(200 - second.num_timesteps, reset_num_timesteps=False)
    left, right = everything(whole), everything(second)
    assert left.keys() == right.keys()
    for key, tensor in left.items():
        assert torch.equal(tensor, right[key]), key
    assert any(key.endswith("/running_auc") for key in left)


def test_what_is_logged() -> None:
    made = organ("wasserstein")._train_round().metrics
    found = {name for name in made if name.startswith("train/conv_discriminator/")}
    figures = ("auc", "difference", "gradient_penalty", "loss", "skipped")
    assert found == {f"train/conv_discriminator/{figure}" for figure in figures}


@pytest.mark.slow
def test_organ_with_a_wasserstein_critic_moves_towards_the_data() -> None:
    vocabulary = Vocabulary.from_tokens(["a", "b", "c"], "characters")
    data = vocabulary.encode(["abc", "ab", "cba", "abb"] * 8)
    reward = make_reward(
        "conv_discriminator(embedding=8, widths=(1, 2, 3), filters=(16, 16, 16), "
        "learning_rate=0.005, loss='wasserstein')"
    )
    task = Task(
        name="Small", vocabulary=vocabulary, max_length=4, reward=reward, load_data=lambda: data
    )
    agent = ORGAN(
        "GRU", TokenEnv(task), seed=1, batch_size=32, completions=1, learning_rate=0.005,
        discriminator_batch_size=32, entropy_coefficient=0.05,
        policy_kwargs={"hidden": 12, "embedding": 6},
    )  # fmt: skip

    def share_of_data() -> float:
        return sum(text in data.texts for text in agent.sample(300, seed=5).texts) / 300

    assert share_of_data() < 0.1
    agent.learn(8000)
    assert share_of_data() > 0.4


def test_organ_alternates_its_objectives() -> None:
    """Each is asked about the batches of its own rounds alone, and both are learnt."""
    calls: list[str] = []

    def has(letter: str) -> FunctionObjective:
        def share(texts: list[str]) -> list[float]:
            calls.append(letter)
            return [text.count(letter) / 4 for text in texts]

        return FunctionObjective(share, name=f"has_{letter}", memo=False)

    vocabulary = Vocabulary.from_tokens(["a", "b", "c"], "characters", eos=False)
    reward = Alternate(has("a"), has("b"), period=2)
    task = Task(name="Small", vocabulary=vocabulary, max_length=4, reward=reward)
    agent = ORGAN(
        "GRU", TokenEnv(task), seed=1, batch_size=32, learning_rate=0.01,
        repetition_penalty=False, policy_kwargs={"hidden": 12, "embedding": 6},
    )  # fmt: skip
    agent.learn(32 * 4 * 8)
    assert calls == ["a", "a", "b", "b"] * 2
    agent.learn(32 * 4 * 60)
    written = "".join(agent.sample(300, seed=5).texts)
    assert written.count("c") < 0.1 * len(written)  # neither wants it; of random writing a third
