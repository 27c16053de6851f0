"""The record of scores: exact, whole after a stop, and enough to weigh a run again."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from stable_baselines3.common.logger import KVWriter, Logger
from tokengym.agents import ORGAN
from tokengym.envs import Task, TokenEnv, Vocabulary
from tokengym.rewards import (
    ConvDiscriminator,
    FunctionObjective,
    GeometricMean,
    Linear,
    Reward,
    make_reward,
)
from tokengym.train import ScoreLog, read_scores, weigh
from tokengym.train.scores import RoundScores

TOKENS = ["a", "b", "c"]


def thirds(texts: list[str]) -> list[float | None]:
    """A value that float32 has no short form of, and a failure now and then."""
    return [None if text == "abca" else (1 + text.count("a")) / 3 for text in texts]


def reward(budget: int | None = None) -> Reward:
    learnt = ConvDiscriminator(embedding=4, widths=(1,), filters=(3,))
    short = FunctionObjective(lambda texts: [1 / (1 + t.count("b")) for t in texts], name="short")
    return 0.5 * learnt + FunctionObjective(thirds, budget=budget) * short


def env(budget: int | None = None) -> TokenEnv:
    vocabulary = Vocabulary.from_tokens(TOKENS, "characters", eos=False)
    data = vocabulary.encode(["abca", "abcb", "cbca"] * 4)
    task = Task(
        name="Small",
        vocabulary=vocabulary,
        max_length=4,
        reward=reward(budget),
        load_data=lambda: data,
    )
    return TokenEnv(task)


def agent(budget: int | None = None) -> ORGAN:
    options: dict[str, Any] = {"policy_kwargs": {"hidden": 8, "embedding": 4}, "seed": 3}
    return ORGAN("GRU", env(budget), batch_size=6, completions=2, discriminator_steps=1, **options)


def weights(learner: ORGAN) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in learner.policy.parameters()])


ROUND = 6 * 4  # tokens


def test_what_is_read_is_what_was_scored_to_the_last_bit(tmp_path: Path) -> None:
    learner = agent()
    learner.learn(5 * ROUND, callback=ScoreLog(tmp_path / "scores.jsonl"))
    rounds = read_scores(tmp_path)
    assert [each.round for each in rounds] == list(range(5))
    assert [each.timesteps for each in rounds] == [ROUND * (n + 1) for n in range(5)]
    objective = FunctionObjective(thirds)
    for each in rounds:
        parts = each.scores.parts
        assert list(parts) == ["conv_discriminator", "thirds", "short"]
        wanted = torch.tensor([math.nan if v is None else v for v in thirds(each.texts)])
        torch.testing.assert_close(parts["thirds"], wanted, rtol=0, atol=0, equal_nan=True)
        total = 0.5 * parts["conv_discriminator"] + parts["thirds"] * parts["short"]
        torch.testing.assert_close(each.scores.values_B, total, equal_nan=True)
        assert torch.equal(each.scores.ok_B, ~wanted.isnan())
        assert len(objective.score_texts(each.texts)) == 6


def test_twins_are_both_kept(tmp_path: Path) -> None:
    cheap = FunctionObjective(lambda texts: [1.0] * len(texts), name="twin", credit="rollouts")
    dear = FunctionObjective(lambda texts: [2.0] * len(texts), name="twin")
    vocabulary = Vocabulary.from_tokens(TOKENS, "characters", eos=False)
    task = Task(name="Twins", vocabulary=vocabulary, max_length=4, reward=cheap + 2 * dear)
    options: dict[str, Any] = {"batch_size": 3, "completions": 1, "repetition_penalty": False}
    learner = ORGAN("GRU", TokenEnv(task), seed=0, **options)
    learner.learn(12, callback=ScoreLog(tmp_path / "scores.jsonl"))
    scores = read_scores(tmp_path)[0].scores
    found = {name: part_B.tolist() for name, part_B in scores.parts.items()}
    assert found == {"twin": [1.0] * 3, "twin#2": [2.0] * 3}
    assert scores.values_B.tolist() == [5.0] * 3


def test_a_run_is_weighed_again(tmp_path: Path) -> None:
    learner = agent()
    learner.learn(3 * ROUND, callback=ScoreLog(tmp_path / "scores.jsonl"))
    rounds = read_scores(tmp_path / "scores.jsonl")
    for each, scores in zip(rounds, weigh(rounds, "2 * short + 3 * thirds * short"), strict=True):
        thirds_B, short_B = each.scores.parts["thirds"], each.scores.parts["short"]
        wanted = 2 * short_B + 3 * thirds_B * short_B
        torch.testing.assert_close(scores.values_B, wanted, equal_nan=True)
        assert torch.equal(scores.ok_B, each.scores.ok_B)
    with pytest.raises(ValueError, match="no values of 'qed' were recorded; recorded: conv"):
        weigh(rounds, "0.5 * qed")


def test_an_expression_with_transforms_weighs_what_the_components_said() -> None:
    objective = FunctionObjective(thirds)
    texts = ["aabc", "abca", "bbbb"]
    made = GeometricMean(Linear(objective, low=0.2, high=1.5), objective)
    scores = made(Vocabulary.from_corpus(texts, "characters").encode(texts))
    once = RoundScores(0, 12, texts, scores)
    (again,) = weigh([once], made.name)
    assert torch.equal(again.ok_B, scores.ok_B)
    torch.testing.assert_close(again.values_B, scores.values_B, equal_nan=True)
    (plain,) = weigh([once], "thirds")
    assert plain.values_B[0] == 1.0


plain = FunctionObjective(lambda texts: [float(len(text)) for text in texts], name="plain")
renamed = FunctionObjective(lambda texts: [2.0] * len(texts), name="another")


def test_a_run_with_schedules_is_weighed_by_its_own_expression(tmp_path: Path) -> None:
    here = "tests.test_train_scores"
    expression = f"0.5 * alternate({here}:plain, {here}:renamed)"
    vocabulary = Vocabulary.from_tokens(TOKENS, "characters")
    task = Task(name="Small", vocabulary=vocabulary, max_length=4, reward=make_reward(expression))
    learner = ORGAN("GRU", TokenEnv(task), batch_size=6, completions=1, seed=0)
    learner.learn(80, callback=ScoreLog(tmp_path / "scores.jsonl"))
    rounds = read_scores(tmp_path)
    assert len(rounds) > 3
    for each, scores in zip(rounds, weigh(rounds, expression), strict=True):
        assert torch.equal(scores.values_B, each.scores.values_B)
    # What rested is not known in those rounds; the others are.
    known = [bool(scores.ok_B.all()) for scores in weigh(rounds, "0.1 * plain")]
    assert known == [place % 2 == 0 for place in range(len(rounds))]


def test_a_resumed_run_writes_what_the_never_stopped_one_does(tmp_path: Path) -> None:
    whole, half = tmp_path / "whole.jsonl", tmp_path / "half.jsonl"
    never_stopped = agent(budget=30)
    never_stopped.learn(9 * ROUND, callback=ScoreLog(whole))
    stopped = agent(budget=30)
    stopped.learn(2 * ROUND, callback=ScoreLog(half))
    stopped.save(tmp_path / "saved")
    stopped.learn(2 * ROUND, callback=ScoreLog(half), reset_num_timesteps=False)  # not saved
    with open(half, "a") as file:
        file.write('{"round": 4, "text')  # killed while it wrote
    resumed = ORGAN.load(tmp_path / "saved", env(budget=30))
    resumed.learn(
        9 * ROUND - resumed.num_timesteps, callback=ScoreLog(half), reset_num_timesteps=False
    )
    assert half.read_bytes() == whole.read_bytes()
    assert torch.equal(weights(never_stopped), weights(resumed))
    assert never_stopped.stopped == resumed.stopped


def test_files_that_are_no_scores(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_scores(tmp_path / "none")
    good = {"round": 0, "timesteps": 4, "texts": ["a"], "total": [1], "parts": {"x": [None]}}
    path = tmp_path / "cut.jsonl"
    path.write_text(f"{json.dumps(good)}\n{json.dumps(good)[:30]}")
    with pytest.warns(UserWarning, match="cut.jsonl, line 2 is cut short and left out"):
        assert len(read_scores(path)) == 1
    wrong = [
        "[]",
        "{",
        "{}",
        json.dumps({**good, "texts": []}),
        json.dumps({**good, "total": ["x"]}),
    ]
    for number, line in enumerate(wrong):
        path = tmp_path / f"{number}.jsonl"
        path.write_text(f"{json.dumps(good)}\n{line}\n")
        with pytest.raises(ValueError, match=f"{number}.jsonl, line 2 is no round of scores"):
            read_scores(path)


def test_a_spent_budget_ends_learning_with_a_whole_round() -> None:
    learner = agent(budget=20)
    learner.learn(1000 * ROUND)
    assert learner.stopped == "objective 'thirds' has scored its budget of 20 sequences"
    assert learner.num_timesteps == learner.rounds * ROUND < 1000 * ROUND
    before = weights(learner)
    learner.learn(1000 * ROUND)
    assert learner.stopped is not None
    assert torch.equal(before, weights(learner))


def test_a_budget_goes_on_where_it_was_saved(tmp_path: Path) -> None:
    learner = agent(budget=20)
    learner.learn(ROUND)
    spent = learner.task.reward.named()["thirds"].spent  # type: ignore[union-attr]
    assert 0 < spent <= 6
    learner.save(tmp_path / "saved")
    loaded = ORGAN.load(tmp_path / "saved", env(budget=20))
    found = loaded.task.reward.named()["thirds"]  # type: ignore[union-attr]
    assert isinstance(found, FunctionObjective)
    assert found.spent == spent
    assert found.memo is not None
    assert len(found.memo) > 0


class Remember(KVWriter):
    """A logger's output that keeps what is written to it."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []

    def write(self, key_values: Any, key_excluded: Any, step: int = 0) -> None:
        self.entries.append(dict(key_values))

    def close(self) -> None:
        pass


def test_every_component_is_logged() -> None:
    learner, written = agent(budget=60), Remember()
    learner.set_logger(Logger(None, [written]))
    learner.learn(6 * ROUND)
    for entry in written.entries:
        for name in ("conv_discriminator", "thirds", "short"):
            assert {f"reward/{name}/{what}" for what in ("mean", "failed", "milliseconds")} <= set(
                entry
            )
            assert entry[f"reward/{name}/milliseconds"] > 0
        assert entry["reward/thirds/failed"] == entry["reward/failed"]
        assert entry["reward/short/failed"] == 0
    spent = [entry["reward/thirds/spent"] for entry in written.entries]
    assert spent == sorted(spent)
    assert 0 < spent[0] <= 6
    assert sum(entry["reward/short/memo_hits"] for entry in written.entries) > 0
