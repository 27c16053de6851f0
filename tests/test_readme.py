"""The README's Python runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from tokengym.envs import TokenEnv, TokenVecEnv, TokenVectorEnv, check_vector_env

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("index", range(len(BLOCKS)))
def test_block_runs(index: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quick = BLOCKS[index].replace("5_000", "500").replace("_steps=20", "_steps=2")
    exec(compile(quick, f"README block {index}", "exec"), {"__name__": "readme"})
    gym.registry.pop("mine/Haiku-v0", None)


@pytest.mark.slow
def test_its_own_task_has_every_form_and_is_learnt() -> None:
    block = next(block for block in BLOCKS if "register_task" in block)
    made: dict[str, Any] = {"__name__": "readme"}
    exec(compile(block, "README, a task of one's own", "exec"), made)
    env, envs, rows = made["env"].unwrapped, made["envs"].unwrapped, made["for_sb3"]
    gym.registry.pop("mine/Haiku-v0", None)
    assert (type(env), type(envs), type(rows)) == (TokenEnv, TokenVectorEnv, TokenVecEnv)
    assert repr(env.task.constraint) == "MinimumLength(tokens=3) & NoRepetition(n=1)"
    check_vector_env(envs, TokenEnv(envs.task), steps=15)
    frog = envs.task.vocabulary.encode(["frog"], end=False).tokens_BT[0, 0]
    rows.reset()
    for _ in range(envs.task.max_length):
        _, rewards_B, dones_B, infos = rows.step(np.full(64, int(frog)))
    assert dones_B.all()
    assert rewards_B.tolist() == [1.0] * 64
    assert infos[0]["text"] == " ".join(["frog"] * 8)
    # At first one verse in three or so has a frog; one seed, so no false alarm.
    assert made["frogs"](made["agent"].sample(200, seed=0).texts) == [1.0] * 200
