"""Agents with every kind of discriminator: they run, log what was learnt, and resume to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokengym.agents import ORGAN, SequenceAgent
from tokengym.envs import Task, TokenEnv, Vocabulary
from tokengym.rewards import FunctionObjective, make_reward

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
