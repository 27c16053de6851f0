"""The page on evaluation defines every figure and every metric that there is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokengym.agents import GRUPolicy, sample
from tokengym.envs import make_task
from tokengym.train.evaluation import figures_of_samples, further_figures
from tokengym.train.metrics.melodies import melody_figures
from tokengym.train.metrics.requested import METRICS

PAGE = (Path(__file__).parents[1] / "docs" / "evaluation.md").read_text(encoding="utf-8")


def test_every_metric_has_its_part() -> None:
    for name in METRICS:
        assert [
            line for line in PAGE.splitlines() if line.startswith("## ") and f"`{name}`" in line
        ]


def test_every_figure_is_defined() -> None:
    pytest.importorskip("rdkit")
    names = set(melody_figures([], []))
    markov = make_task("tokengym/Markov-v0", data_size=8)
    for task, metrics in ((markov, "all"), (make_task("tokengym/Molecules-v0"), "moses")):
        assert task.data is not None
        torch.manual_seed(0)
        policy = GRUPolicy(task.vocabulary, embedding=4, hidden=4)
        samples, few = sample(policy, 4, max_length=task.max_length), task.data[:4]
        names |= set(figures_of_samples(task, samples, [], policy, few))
        names |= set(further_figures(metrics, task, samples, few.texts, policy))
    missing = [name for name in names if f"`{name}`" not in PAGE]
    assert not missing
