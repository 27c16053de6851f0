"""Checkpoints: what they keep, whose classes they load, and files tampered with."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tokengym.agents import ORGAN, CheckpointError, GRUPolicy, load_agent
from tokengym.agents.checkpoint import load_checkpoint, save_checkpoint
from tokengym.envs import Task, TokenEnv, Vocabulary
from tokengym.rewards import ConvDiscriminator

SMALL: dict[str, Any] = {"hidden": 6, "embedding": 4}


class OwnPolicy(GRUPolicy):
    """Bears the name that it inherits."""


class OwnAgent(ORGAN):
    """Hands its keywords on."""

    def __init__(self, policy: Any, env: Any, bonus: float = 1.0, **options: Any) -> None:
        self.bonus = bonus
        super().__init__(policy, env, **options)


def make(task: Task, kind: type[ORGAN] = ORGAN, **options: Any) -> ORGAN:
    defaults: dict[str, Any] = {"policy_kwargs": SMALL, "batch_size": 4, "seed": 1}
    return kind(options.pop("policy", "GRU"), TokenEnv(task), **(defaults | options))


@pytest.fixture
def path(small_task: Task, tmp_path: Path) -> Path:
    """A good checkpoint."""
    made = tmp_path / "good.safetensors"
    make(small_task).learn(10).save(made)
    return made


def test_the_window_of_episodes_is_kept_through_a_load(path: Path, tmp_path: Path) -> None:
    _, state = load_checkpoint(path)
    assert state["episodes"]
    load_agent(path).save(tmp_path / "again")
    assert load_checkpoint(tmp_path / "again.safetensors")[1]["episodes"] == state["episodes"]


def test_draws_of_predict_go_on_after_a_load(small_task: Task, tmp_path: Path) -> None:
    agent = make(small_task)
    observation = np.full((99, 5), agent.policy.vocabulary.pad)
    first = agent.predict(observation)[0]
    agent.save(tmp_path / "a")
    second = agent.predict(observation)[0]
    assert not np.array_equal(first, second)  # 99 equal draws of tokens nearly alike: p below 1e-20
    loaded = load_agent(tmp_path / "a", TokenEnv(small_task))
    assert np.array_equal(loaded.predict(observation)[0], second)


def rewrite(path: Path, change: Callable[[Any], Any], *, honest: bool) -> None:
    """Change the state; with a checksum that is right, or with the old one."""
    tensors, state = load_checkpoint(path)
    if honest:
        save_checkpoint(path, tensors, change(state))
        return
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    header = json.loads(metadata["tokengym"])
    header["state"] = change(header["state"])
    save_file(tensors, path, metadata | {"tokengym": json.dumps(header)})


def test_the_checksum_covers_what_is_no_tensor(path: Path) -> None:
    rewrite(path, lambda state: state | {"num_timesteps": 5}, honest=False)
    with pytest.raises(CheckpointError, match="was changed since"):
        load_agent(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_length": -1}, "max_length is -1; expected at least 1"),
        ({"max_length": 10**12}, "max_length is 10{12}"),
        ({"num_timesteps": float("inf")}, "OverflowError"),
        ({"num_timesteps": "many"}, "ValueError"),
        ({"options": {"learning_rate": "x"}}, "does not fit"),
        ({"options": {"batch_size": None}}, "does not fit"),
        ({"options": 3}, "does not fit"),
        ({"pretraining": {"step": []}}, "does not fit"),
        ({"episodes": [1]}, "does not fit"),
        ({"policy": {"name": "os:system", "config": {}}}, "of the class 'os:system'"),
        ({"vocabulary": "{}"}, "does not fit"),
        ({"seed": "x"}, "does not fit"),
        ({"notes": [3]}, "does not fit"),
        ({"rewards": 3}, "does not fit"),
        ({"optimizer": {}}, "does not fit"),
        ({"optimizer": [{}]}, "does not fit"),
    ],
)
def test_a_hostile_state_is_one_error_with_the_file(
    change: dict[str, Any], message: str, path: Path
) -> None:
    rewrite(path, lambda state: state | change, honest=True)
    with pytest.raises(CheckpointError, match=message) as caught:
        ORGAN.load(path)
    assert "good.safetensors" in str(caught.value)


def malicious(folder: Path) -> list[Any]:
    """What a pickle could do."""

    class Touch:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {folder / 'ran'}",)

    return [Touch()]


def hostile_files(folder: Path, good: bytes) -> dict[str, bytes]:
    stream = io.BytesIO()
    torch.save(malicious(folder), stream)
    bomb, nested = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data", bytes(2**26))
    with zipfile.ZipFile(nested, "w") as archive:
        archive.writestr("../../escaped", b"x")
    claims = json.dumps({"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}})
    return {
        "pickle": pickle.dumps(malicious(folder)),
        "torch": stream.getvalue(),
        "zip bomb": bomb.getvalue(),
        "zip with a path": nested.getvalue(),
        "empty": b"",
        "header beyond the end": (2**62).to_bytes(8, "little") + b"{}",
        "weights beyond the end": len(claims).to_bytes(8, "little") + claims.encode(),
        **{f"cut at {n}": good[: len(good) * n // 7] for n in range(1, 7)},
    }


def test_a_file_of_anything_else_runs_nothing_and_is_named(path: Path, tmp_path: Path) -> None:
    for what, content in hostile_files(tmp_path, path.read_bytes()).items():
        path.write_bytes(content)
        for load in (load_agent, ORGAN.load, load_checkpoint):
            with pytest.raises(CheckpointError) as caught:
                load(path)
            assert "good.safetensors is no whole checkpoint" in str(caught.value), what
        assert list(tmp_path.iterdir()) == [path], what
    assert not (tmp_path.parent / "escaped").exists()


def test_every_flipped_bit_is_found(path: Path) -> None:
    good = path.read_bytes()
    for place in range(0, len(good), max(1, len(good) // 50)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(CheckpointError, match=r"good\.safetensors"):
            load_agent(path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "policy.output.weight",
            lambda w: w[:, :-1],
            r"output\.weight has the shape \(3, 5\)",
        ),
        ("policy.output.weight", lambda w: None, "has the shape None; expected"),
        ("policy.more", lambda w: torch.zeros(2), r"weight more has the shape \(2,\)"),
        ("optimizer.0.exp_avg", lambda w: w[:-1], r"optimizer\.0\.exp_avg has the shape"),
        ("optimizer.99.exp_avg", lambda w: torch.zeros(2), "IndexError"),
        ("optimizer.x.exp_avg", lambda w: torch.zeros(2), "ValueError"),
    ],
)
def test_tensors_that_do_not_fit(name: str, change: Any, message: str, path: Path) -> None:
    tensors, state = load_checkpoint(path)
    changed = change(tensors.get(name))
    tensors = {k: t for k, t in {**tensors, name: changed}.items() if t is not None}
    save_checkpoint(path, tensors, state)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_agent(path)
    assert "good.safetensors" in str(caught.value)


def test_claimed_sizes_take_no_memory(path: Path) -> None:
    """A policy as large as the file says would have 43 GB, or more than can be counted."""
    for hidden in (60_000, 10**12):
        tensors, state = load_checkpoint(path)
        state["policy"]["config"]["hidden"] = hidden
        save_checkpoint(path, tensors, state)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(CheckpointError, match=r"good\.safetensors does not fit"):
            load_agent(path)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**17  # KiB


def test_a_rate_that_is_no_number(path: Path) -> None:
    def change(state: Any) -> Any:
        state["optimizer"][0]["lr"] = "much"
        return state

    rewrite(path, change, honest=True)
    with pytest.raises(CheckpointError, match="optimizer has lr = 'much'; expected as"):
        load_agent(path)


def test_old_sequences_of_another_language(vocabulary: Vocabulary, tmp_path: Path) -> None:
    reward = ConvDiscriminator(embedding=4, widths=(1,), filters=(4,), replay=8)
    task = Task(
        name="Small",
        vocabulary=vocabulary,
        max_length=4,
        reward=reward,
        load_data=lambda: vocabulary.encode(["ab", "ba", "b"]),
    )
    make(task, discriminator_steps=1, discriminator_batch_size=4).learn(10).save(tmp_path / "a")
    tensors, state = load_checkpoint(tmp_path / "a.safetensors")
    name = "rewards.conv_discriminator.replay"
    for wrong in (tensors[name] + 9, tensors[name][:, :2], tensors[name].float()):
        save_checkpoint(tmp_path / "b.safetensors", {**tensors, name: wrong}, state)
        with pytest.raises(CheckpointError, match=r"b\.safetensors.*the old sequences are"):
            ORGAN.load(tmp_path / "b", TokenEnv(task))


def test_a_state_cannot_say_where_curves_are_written(path: Path, tmp_path: Path) -> None:
    logged = {"tensorboard_log": str(tmp_path / "elsewhere"), "_init_setup_model": True}
    rewrite(path, lambda s: s | {"options": s["options"] | logged}, honest=True)
    assert load_agent(path).tensorboard_log is None


def test_json_that_is_too_deep(path: Path) -> None:
    tensors, _ = load_checkpoint(path)
    save_file(tensors, path, {"tokengym": "[" * 100_000})
    with pytest.raises(CheckpointError, match="no tokengym checkpoint"):
        load_agent(path)
    rewritten: dict[str, Any] = {"agent": ["ORGAN"]}
    save_checkpoint(path, tensors, rewritten)
    with pytest.raises(CheckpointError, match="none of AugmentedHillClimb, ORGAN"):
        load_agent(path)


def test_weights_that_are_no_numbers_are_refused(small_task: Task, tmp_path: Path) -> None:
    agent = make(small_task)
    with torch.no_grad():
        agent.policy.output.bias[0] = torch.nan
    agent.save(tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"policy\.output\.bias holds numbers that are not"):
        ORGAN.load(tmp_path / "a")


def test_a_policy_of_ones_own(small_task: Task, tmp_path: Path) -> None:
    policy = OwnPolicy(small_task.vocabulary, **SMALL)
    agent = make(small_task, policy=policy, policy_kwargs=None)
    agent.save(tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"stored:OwnPolicy', which is none of GRU.*policy="):
        ORGAN.load(tmp_path / "a")
    for given in (OwnPolicy, OwnPolicy(small_task.vocabulary, **SMALL)):
        loaded = load_agent(tmp_path / "a", policy=given)
        assert type(loaded.policy) is OwnPolicy
        assert loaded.sample(9, seed=0).texts == agent.sample(9, seed=0).texts


def test_an_agent_of_ones_own(small_task: Task, tmp_path: Path) -> None:
    make(small_task, OwnAgent, bonus=3.0, batch_size=5).save(tmp_path / "a")
    loaded = load_agent(tmp_path / "a", TokenEnv(small_task))
    assert isinstance(loaded, OwnAgent)
    assert (loaded.bonus, loaded.batch_size) == (3.0, 5)
    with pytest.raises(CheckpointError, match="holds a OwnAgent, not a ORGAN"):
        ORGAN.load(tmp_path / "a")


def test_what_could_not_be_saved_has_to_be_given_again(small_task: Task, tmp_path: Path) -> None:
    def halves(remaining: float) -> float:
        return 0.5 * remaining

    agent = make(small_task, learning_rate=halves)
    with pytest.warns(UserWarning, match=r"cannot be saved; give it again to load\(path, learning"):
        agent.save(tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"a\.safetensors could not hold learning_rate; give"):
        ORGAN.load(tmp_path / "a")
    assert ORGAN.load(tmp_path / "a", learning_rate=halves).learning_rate is halves
