"""Evaluation from Python: the figures of what an agent writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokengym import ORGAN
from tokengym.train import evaluate, figures_of_samples
from tokengym.train.evaluation import figures_of_scores, scored_of


def test_an_agent_is_evaluated_against_its_tasks_data(tmp_path: Path) -> None:
    agent = ORGAN("GRU", "tokengym/Dyck-v0", policy_kwargs={"hidden": 8, "embedding": 4}, seed=1)
    assert agent.task is not None
    assert agent.task.data is not None
    figures = evaluate(agent, 50, seed=3)
    sequences = agent.sample(50, seed=3)
    expected = figures_of_samples(agent.task, sequences, agent.task.data.texts, agent.policy)
    assert figures == expected | figures_of_scores(agent.task.reward(sequences))
    assert figures["uniqueness"].value == len(set(sequences.texts)) / 50
    assert str(figures["uniqueness"]).startswith(f"{figures['uniqueness'].value:.3f} ± ")
    agent.save(tmp_path / "a")
    with pytest.raises(ValueError, match=r"no environment; 0 batches .* load it with env="):
        evaluate(ORGAN.load(tmp_path / "a"))


def test_rewards_of_fewer_sequences_than_were_written_say_so() -> None:
    text = {"uniqueness_n": 30, "nll_data_n": 100, "distinct_2_n": 400}
    assert scored_of({**text, "reward_n": 30}, "reward") == ""
    assert scored_of({**text, "reward/qed_n": 29}, "reward/qed") == " of 29"
    molecules = {"validity_n": 30, "uniqueness_n": 20}  # of the valid
    assert scored_of({**molecules, "reward_n": 25}, "reward") == " of 25"
    assert scored_of({**molecules, "length_n": 7}, "length") == ""
