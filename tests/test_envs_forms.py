"""Masks in both environment forms, prompts, and what they cost."""

# Shapes: B environments, T steps, A actions
from __future__ import annotations

import pickle
import tracemalloc
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tokengym
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as check_env_sb3
from stable_baselines3.common.vec_env import DummyVecEnv
from tokengym.envs import (
    Constraint,
    MinimumLength,
    NoRepetition,
    SMILESSyntax,
    Task,
    TokenEnv,
    TokenVectorEnv,
    Vocabulary,
    make_task,
)

torch.set_num_threads(1)

SMILES = Vocabulary.from_tokens([*"CNOF()=#12cn"], "smiles")
T = 8


@tokengym.objective
def length(texts: list[str]) -> list[float | None]:
    return [len(text) / 10 for text in texts]


def small_task(constraint: Constraint | None = None, vocabulary: Vocabulary = SMILES) -> Task:
    return Task(
        name="Small",
        vocabulary=vocabulary,
        max_length=T,
        reward=length,
        constraint=constraint,
    )


def ids(*tokens: str) -> list[int]:
    return [SMILES.tokens.index(token) for token in tokens]


# --- masks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("constraint", [SMILESSyntax(), MinimumLength(3) & NoRepetition(1)])
def test_both_checkers_accept_an_environment_with_a_constraint(constraint: Constraint) -> None:
    env = gym.make("tokengym/Molecules-v0", reward=length, constraint=constraint)
    check_env(env.unwrapped, skip_render_check=True)
    check_env_sb3(env)
    env = gym.make("tokengym/Oracle-v0", reward=length, data_size=2, constraint=NoRepetition(1))
    check_env(env.unwrapped, skip_render_check=True)


def test_masks_of_the_single_form() -> None:
    env = TokenEnv(small_task(SMILESSyntax()))
    _, info = env.reset()
    first_A = info["action_mask"]
    assert first_A.dtype == np.int8
    assert {SMILES.tokens[i] for i in np.flatnonzero(first_A)} == set("CNOFcn")
    assert env.action_masks().dtype == bool
    assert env.action_space.sample(mask=first_A) in np.flatnonzero(first_A)
    first_A[:] = 0  # what was given is the caller's own
    env.action_masks()[:] = False
    assert env.action_masks().sum() == 6
    *_, info = env.step(ids("C")[0])
    np.testing.assert_array_equal(info["action_mask"], env.action_masks())
    *_, terminated, _, info = env.step(len(SMILES.tokens) - 1)
    assert terminated
    assert info["text"] == "C"
    assert info["action_mask"].all()  # nothing can be written, and nothing is forbidden


def test_action_masks_exist_only_with_a_constraint() -> None:
    # sb3-contrib asks whether the attribute is there, through wrappers and through a VecEnv.
    from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported

    with_it, without = small_task(SMILESSyntax()), small_task()
    assert hasattr(TokenEnv(with_it), "action_masks")
    assert not hasattr(TokenEnv(without), "action_masks")
    assert not hasattr(TokenVectorEnv(without, 2), "action_masks")
    assert TokenVectorEnv(with_it, 2).action_masks().sum() == 12
    assert "action_mask" not in TokenEnv(without).reset()[1]
    assert "action_mask" not in TokenVectorEnv(without, 2).reset()[1]
    many = DummyVecEnv([lambda: TokenEnv(with_it)] * 3)
    assert is_masking_supported(many)
    assert not is_masking_supported(DummyVecEnv([lambda: TokenEnv(without)]))
    many.reset()
    assert get_action_masks(many).shape == (3, SMILES.num_actions)


def test_maskable_ppo_writes_only_what_is_allowed() -> None:
    from sb3_contrib import MaskablePPO

    task = small_task(SMILESSyntax(on_empty="raise", on_forbidden="raise"))
    agent = MaskablePPO("MlpPolicy", TokenEnv(task), n_steps=64, seed=0, device="cpu")
    agent.learn(128)


def test_a_forbidden_action_is_named_and_frees_the_rest() -> None:
    env = TokenEnv(small_task(SMILESSyntax()))
    env.reset()
    env.step(ids("C")[0])
    observation, reward, terminated, _, info = env.step(ids(")")[0])
    assert info["forbidden"] == (
        f"action {ids(')')[0]}, the token ')', is forbidden at position 2 by SMILESSyntax()"
    )
    assert observation[:2].tolist() == ids("C", ")")
    assert (reward, terminated) == (0.0, False)
    assert info["action_mask"].all()
    *_, info = env.step(ids("=")[0])
    assert "forbidden" not in info
    _, info = env.reset()
    assert info["action_mask"].sum() == 6


def test_a_forbidden_action_is_an_error_where_asked() -> None:
    task = small_task(SMILESSyntax(on_forbidden="raise"))
    env = TokenEnv(task)
    env.reset(options={"prompt": "CC"})
    with pytest.raises(ValueError, match=r"token '\)', is forbidden at position 3 by SMILESSy.*"):
        env.step(ids(")")[0])
    observation = env.step(ids("O")[0])[0]  # nothing was written
    assert SMILES.decode(observation[None]) == ["CCO"]
    vector = TokenVectorEnv(task, 2)
    vector.reset()
    with pytest.raises(ValueError, match=r"environment 1: action .* forbidden at position 1 by"):
        vector.step(np.array(ids("C", "=")))


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_forbidden_actions_are_named_in_the_vector_form(mode: AutoresetMode) -> None:
    env = TokenVectorEnv(small_task(SMILESSyntax()), 3, autoreset_mode=mode)
    env.reset()
    end = len(SMILES.tokens) - 1
    *_, terminated, _, infos = env.step(np.array([*ids("C", "="), end]))
    assert terminated.tolist() == [False, False, True]
    final = infos["final_info"] if mode is AutoresetMode.SAME_STEP else infos
    assert "token '<eos>', is forbidden at position 1" in final["forbidden"][2]
    assert "token '=', is forbidden at position 1" in infos["forbidden"][1]
    assert infos["_forbidden"].tolist() == [False, True, mode is not AutoresetMode.SAME_STEP]
    assert infos["action_mask"][1].all()
    assert infos["action_mask"][2].all() == (mode is not AutoresetMode.SAME_STEP)
    assert not infos["action_mask"][0].all()


def test_a_task_with_a_constraint_can_be_sent_to_a_process() -> None:
    constraint = pickle.loads(pickle.dumps(MinimumLength(2) & SMILESSyntax())).bound(SMILES, T)
    assert constraint.allowed(constraint.start(1)).sum() == 6


def test_what_is_no_constraint_is_named() -> None:
    with pytest.raises(
        TypeError, match=r"the constraint is 'smiles'; expected a tokengym\.envs\.C"
    ):
        small_task("smiles")  # type: ignore[arg-type]


# --- prompts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("CCCCCCCC", r"prompt 'CCCCCCCC' has 8 tokens and max_length is 8; shorten it"),
        ("CX", r"token 'X' at character 2 of text 0 \('CX'\) is not among the 13 tokens"),
        ("CF(", r"prompt 'CF\(' contradicts the constraint SMILESSyntax\(\).*'\(' at position 3"),
        ("C1(C)C2", r"prompt 'C1\(C\)C2' contradicts the constraint.*'2' at position 7"),
    ],
)
def test_prompts_that_cannot_be_begun_with(prompt: str, message: str) -> None:
    task = small_task(SMILESSyntax())
    env, vector = TokenEnv(task), TokenVectorEnv(task, 2)
    with pytest.raises(ValueError, match=message):
        env.reset(options={"prompt": prompt})
    before = vector.reset()[0]
    for prompts in (prompt, ["C", prompt]):
        with pytest.raises(ValueError, match=message):
            vector.reset(options={"prompt": prompts})
    np.testing.assert_array_equal(vector.step(np.array(ids("C", "N")))[0][:, 1:], before[:, 1:])


def test_prompts_one_for_all_or_one_each() -> None:
    vector = TokenVectorEnv(small_task(SMILESSyntax()), 3)
    observations, infos = vector.reset(options={"prompt": ["CF", None, "C1C"]})
    assert SMILES.decode(observations) == ["CF", "", "C1C"]
    allowed = [{SMILES.tokens[i] for i in np.flatnonzero(m)} for m in infos["action_mask"]]
    assert allowed[0] == {"<eos>"}
    assert "1" not in allowed[2]
    observations, _ = vector.reset(options={"prompt": "CO"})
    assert SMILES.decode(observations) == ["CO"] * 3
    with pytest.raises(ValueError, match="0 seeds for 3 environments; give one each"):
        vector.reset(seed=[])
    with pytest.raises(ValueError, match="2 prompts for 3 environments; give one each"):
        vector.reset(options={"prompt": ["C", "C"]})
    with pytest.raises(TypeError, match="the prompt is 3; expected a text"):
        vector.reset(options={"prompt": 3})


# --- cost -----------------------------------------------------------------------------------------


class CountingVocabulary(Vocabulary):
    """Counts the rows that are decoded."""

    rows = 0

    def decode(self, tokens_BT: Any) -> list[str]:
        type(self).rows += len(tokens_BT)
        return super().decode(tokens_BT)


def test_nothing_is_decoded_before_an_episode_ends() -> None:
    counting = CountingVocabulary(SMILES.tokenizer)
    vector = TokenVectorEnv(small_task(MinimumLength(3), counting), 16)
    env = TokenEnv(small_task(MinimumLength(3), counting))
    vector.reset(options={"prompt": "C"})
    env.reset(options={"prompt": "C"})
    for _ in range(T - 2):
        vector.step(np.zeros(16, int))
        env.step(0)
    assert CountingVocabulary.rows == 0
    end = np.zeros(16, int)
    end[3] = SMILES.num_actions - 1  # ends by its token; all of them by the limit
    vector.step(end)
    assert CountingVocabulary.rows == 16
    env.step(0)
    assert CountingVocabulary.rows == 17


def peak_of_a_step(length_of_episodes: int) -> int:
    """The most bytes that NumPy held at once while 32 environments took 40 steps."""
    task = Task(
        name="Long",
        vocabulary=SMILES,
        max_length=length_of_episodes,
        reward=length,
        constraint=MinimumLength(length_of_episodes),
    )
    vector = TokenVectorEnv(task, 32)
    vector.reset()
    vector.step(np.zeros(32, int))
    tracemalloc.start()
    for _ in range(40):
        vector.step(np.zeros(32, int))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_grows_with_the_length_and_not_its_square() -> None:
    short, long = peak_of_a_step(1000), peak_of_a_step(4000)
    assert long < 5 * short
    assert long < 4 * 32 * 4000 * 8  # a few copies of the observations


# --- long runs -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_ten_thousand_random_episodes_under_a_constraint() -> None:
    task = make_task("tokengym/Molecules-v0", reward=length, constraint=SMILESSyntax())
    vector = TokenVectorEnv(task, 512)
    rng = np.random.default_rng(0)
    mask_BA, ended = vector.reset()[1]["action_mask"], 0
    for _ in range(700):
        actions_B = (rng.random(mask_BA.shape) * mask_BA).argmax(axis=1)
        *_, terminated, _, infos = vector.step(actions_B)
        mask_BA, ended = infos["action_mask"], ended + int(terminated.sum())
        assert "forbidden" not in infos
    assert ended >= 10_000
    assert task.constraint is not None
    assert task.constraint.fallbacks == 0
