"""The diversity memory: what fills a bucket, what does not, and that a run can be resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokengym import make_reward, make_task
from tokengym.agents import ORGAN
from tokengym.envs import Sequences, TokenEnv, Vocabulary
from tokengym.rewards import Alternate, DiversityMemory, Progress, Reward, Scores, Sigmoid
from tokengym.rewards.melodies import canonical_melody

from .conftest import encoded, given

VALUES = {"a": 1.0, "b": 0.5, "c": 0.3, "n": -1.0, "f": None}
BATCH = encoded(list("aabcnf"))


def memory(**options: Any) -> DiversityMemory:
    table = given(VALUES, "table", on_error="skip", range=(-1.0, 1.0))
    return DiversityMemory(table, **{"bucket_size": 3, "minimum": 0.4, **options})


def live_round(reward: Reward, batch: Sequences = BATCH) -> Scores:
    """Score a training batch and end its round."""
    scores = reward(batch)
    reward.end_round(batch, scores)
    return scores


def values(reward: Reward, batch: Sequences = BATCH) -> list[float]:
    found: list[float] = reward(batch).values_B.nan_to_num(9).tolist()
    return found


def test_a_full_bucket_is_worth_nothing() -> None:
    reward = memory()
    whole = pytest.approx([1, 1, 0.5, 0.3, -1, 9])
    assert values(reward) == whole
    live_round(reward)
    assert reward.places == {"a": 2, "b": 1}  # what is below the minimum or failed takes none
    assert values(reward) == whole
    live_round(reward)
    assert reward.places == {"a": 4, "b": 2}
    scores = live_round(reward)
    assert scores.values_B.nan_to_num(9).tolist() == pytest.approx([0, 0, 0.5, 0.3, -1, 9])
    assert scores.ok_B.tolist() == [True] * 5 + [False]
    assert scores.parts["table.raw"].nan_to_num(9).tolist() == whole
    assert torch.equal(scores.parts["table"].nan_to_num(9), scores.values_B.nan_to_num(9))
    assert values(reward) == pytest.approx([0, 0, 0, 0.3, -1, 9])


def test_a_linear_penalty_fades() -> None:
    reward = memory(penalty="linear")
    for expected in (1.0, 1 / 3, 0.0, 0.0):
        assert values(reward)[0] == pytest.approx(expected)
        live_round(reward)
    assert values(reward)[2] == 0.0


def test_only_the_end_of_a_round_teaches_it_and_once() -> None:
    reward = memory()
    for _ in range(20):  # evaluations and completions
        reward(BATCH[:3])
    assert reward.places == {}
    twice = 0.5 * reward + Sigmoid(reward, low=0.2, high=0.8)
    live_round(twice)
    assert reward.places == {"a": 2, "b": 1}
    reward.end_round(BATCH, reward(BATCH[:2]))  # told again, without having been asked again
    assert reward.places == {"a": 2, "b": 1}
    live_round(reward)  # the same batch in another round
    assert reward.places == {"a": 4, "b": 2}


def test_batches_may_be_scored_ahead_of_the_rounds_end() -> None:
    reward, other = memory(), encoded(["b", "b"])
    first, second = reward(BATCH), reward(other)
    reward.end_round(BATCH, first)
    assert reward.places == {"a": 2, "b": 1}
    reward.end_round(other, second)
    assert reward.places == {"a": 2, "b": 3}


def test_it_learns_nothing_while_it_rests() -> None:
    reward = memory()
    schedule = Alternate(given({}, "other"), reward)
    schedule.begin_round(Progress(round=0))
    schedule.end_round(BATCH, Scores(torch.zeros(6), torch.ones(6).bool()))
    assert reward.places == {}


def test_state_and_restore() -> None:
    reward = memory()
    live_round(reward)
    copy = memory()
    copy.restore(*reward.state())
    assert list(copy.places.items()) == list(reward.places.items())
    live_round(reward)
    live_round(copy)
    assert values(copy) == values(reward)
    assert values(reward)[0] == 0.0


def test_identical_is_as_the_task_says() -> None:
    texts = ["C4:1 D4:1", "D4:1 E4:1"]  # one melody, transposed
    batch = Vocabulary.from_corpus(texts, "words").encode(texts)
    reward = DiversityMemory(given(dict.fromkeys(texts, 1.0), "one"), bucket_size=2)
    reward.adopt_canonical(canonical_melody)
    live_round(reward, batch)
    assert reward.places == {"C-1:1 D-1:1": 2}
    assert values(reward, batch) == [0.0, 0.0]


def test_its_expression_is_its_name() -> None:
    pytest.importorskip("rdkit")
    text = "diversity_memory(qed, by='scaffold', bucket_size=10, minimum=0.5, penalty='linear')"
    made = make_reward(text)
    assert made.name == text
    assert (made.label, made.credit, made.range) == ("qed", "terminal", (0.0, 1.0))
    assert make_reward("diversity_memory(valid, by='similarity', similarity=0.7)").name.endswith(
        "by='similarity', bucket_size=25, minimum=0.4, penalty='step', similarity=0.7)"
    )
    for wrong in ("by='shape'", "penalty='erf'", "bucket_size=0", "similarity=0"):
        with pytest.raises(ValueError, match="expected"):
            make_reward(f"diversity_memory(qed, {wrong})")
    with pytest.raises(TypeError, match="takes one reward or more"):
        DiversityMemory("qed")  # type: ignore[arg-type]


# --- molecules ------------------------------------------------------------------------------------

BENZENES = ["Cc1ccccc1", "Oc1ccccc1", "Nc1ccccc1"]
CHAINS = ["CCO", "CCCCN"]


def of_molecules(texts: list[str], **options: Any) -> tuple[DiversityMemory, Sequences]:
    pytest.importorskip("rdkit")
    batch = Vocabulary.from_corpus(texts, "smiles").encode(texts)
    return DiversityMemory(given(dict.fromkeys(texts, 1.0), "one"), **options), batch


def test_by_scaffold() -> None:
    texts = [*BENZENES, *CHAINS, "C1CC1C", "C("]
    reward, batch = of_molecules(texts, by="scaffold", bucket_size=2)
    live_round(reward, batch)
    assert reward.places == {"c1ccccc1": 3, "no rings": 2, "C1CC1": 1}
    # what is no molecule falls in no bucket
    assert values(reward, batch) == [0, 0, 0, 0, 0, 1, 1]


def test_by_similarity() -> None:
    texts = ["CCCCCCO", "CCCCCCCO", "OCCCCCC", "c1ccncc1", "C("]
    reward, batch = of_molecules(texts, by="similarity", bucket_size=2, similarity=0.5)
    live_round(reward, batch)
    # hexanol opened a bucket, heptanol is near it, and hexanol is hexanol however it is spelt
    assert reward.places == {"CCCCCCO": 3, "c1ccncc1": 1}
    assert values(reward, batch) == [0, 0, 0, 1, 1]
    other, _ = of_molecules(texts, by="similarity", bucket_size=2, similarity=0.5)
    other.restore(*reward.state())
    assert values(other, batch) == values(reward, batch)
    apart, _ = of_molecules(texts, by="similarity", bucket_size=2, similarity=1.0)
    live_round(apart, batch)
    assert apart.places == {"CCCCCCO": 2, "CCCCCCCO": 1, "c1ccncc1": 1}


# --- in a run -------------------------------------------------------------------------------------


def agent() -> Any:
    inner = given({}, "share")
    inner.function = lambda texts: [text.count("0") / 6 for text in texts]
    reward = DiversityMemory(inner, bucket_size=4, minimum=0.1, penalty="linear")
    task = make_task("tokengym/Markov-v0", states=3, length=6, data_size=32, reward=reward)
    return ORGAN(
        "GRU",
        TokenEnv(task),
        learning_rate=0.05,
        batch_size=8,
        discriminator_steps=0,
        policy_kwargs={"hidden": 8, "embedding": 4},
        seed=3,
    )


def test_resumed_in_the_middle_equals_never_stopped(tmp_path: Path) -> None:
    whole, first = agent(), agent()
    whole.learn(10 * 8 * 6)
    first.learn(4 * 8 * 6)
    first.save(tmp_path / "middle")
    second: Any = ORGAN.load(tmp_path / "middle", agent().env)
    assert second.task.reward.places == first.task.reward.places
    second.learn(6 * 8 * 6, reset_num_timesteps=False)
    assert (whole.rounds, second.rounds) == (10, 10)
    assert second.task.reward.places == whole.task.reward.places
    assert max(whole.task.reward.places.values()) >= 4  # a bucket was full
    assert sum(whole.task.reward.places.values()) <= 80  # training sequences alone
    weights = [
        torch.cat([p.detach().flatten() for p in each.policy.parameters()])
        for each in (whole, second)
    ]
    assert torch.equal(*weights)
