"""The report of a run: everything that a run left is on the page, and nothing of it is code."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from tokengym import Task, Vocabulary, make_reward
from tokengym.envs.drawing import draw_melody
from tokengym.rewards import FunctionObjective
from tokengym.train.curves import charts_of, draw_chart, read_curves
from tokengym.train.report import write_report
from tokengym.train.run_folder import RunFolder, write_csv
from torch.utils.tensorboard import SummaryWriter

CONFIG = {
    "task": "mine/Words-v0",
    "data": "words.txt",
    "seed": 17,
    "total_timesteps": 4000,
    "pretrain": {"epochs": 1},
    "agent": {"class_path": "tokengym.agents.ORGAN", "init_args": {"policy": "GRU"}},
}
SUMMARY: dict[str, dict[str, float | None]] = {
    "data": {"novelty": 0.0, "novelty_se": 0.0},
    "pretrained": {"novelty": 0.5, "novelty_se": 0.01, "possible": None, "possible_se": None},
    "trained": {
        "novelty": 0.25,
        "novelty_se": 0.02,
        "novelty_n": 1234,
        "possible": 34.5,
        "possible_se": 0.25,
    },
}
CURVES = {
    "pretrain/nll": [3.0],
    "rollout/ep_rew_mean": [0.125, 0.25, 0.375],
    "reward/good/mean": [0.5, 0.5, 0.75],
    "reward/better/mean": [0.0, 0.1, 0.2],
    "reward/failed": [0.0, 0.0, 0.0],
    "train/grad_norm": [1.0, 2.0, 3.0],
    "train/learning_rate": [0.5, 0.5, 0.5],
    "time/fps": [1.0, 2.0, 3.0],
}


def write_curves(folder: Path, curves: dict[str, list[float]], first_step: int = 0) -> None:
    with SummaryWriter(str(folder)) as writer:
        for tag, values in curves.items():
            for step, value in enumerate(values, first_step):
                writer.add_scalar(tag, value, step)


def words_task(**options: object) -> Task:
    vocabulary = Vocabulary.from_tokens(["a", "b"])
    reward = make_reward(lambda texts: [1.0 for _ in texts])
    options = {"name": "Words", "load_data": lambda: vocabulary.encode(["a b"] * 1234), **options}
    return Task(vocabulary=vocabulary, max_length=3, reward=reward, **options)  # type: ignore[arg-type]


def report_of(folder: Path, task: Task, samples: list[tuple[str, ...]]) -> str:
    run = RunFolder(folder / "<run>")
    run.path.mkdir()
    run.config.write_text(yaml.safe_dump(CONFIG))
    write_csv(run.samples, ["text", "valid", "good"], samples)
    write_curves(run.tensorboard, CURVES)
    write_report(run, task, SUMMARY)
    return run.report.read_text(encoding="utf-8")


def test_it_says_what_was_run_and_what_came_out(tmp_path: Path) -> None:
    page = report_of(tmp_path, words_task(), [("a b", "1", "0.8125"), ("b", "0", "0")])
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page))
    assert facts["data"] == "words.txt, 1,234 sequences"
    assert facts["seed"] == "17"
    assert facts["agent"] == "ORGAN, GRU"
    assert facts["training"] == "1 epoch of teacher forcing, then 4,000 tokens"
    assert facts["wall time"] == "0 seconds"
    assert "class_path: tokengym.agents.ORGAN" in page
    assert '<td title="of 1,234">0.250 ' in page
    rows = [re.findall(r"<td.*?>(.*?)</td>", row) for row in page.split("<tr>")]
    assert ["novelty", "0.000", *(f"{v} <small>± {e}</small>" for v, e in
            (("0.500", "0.010"), ("0.250", "0.020")))] in rows  # fmt: skip
    assert ["possible", "-", "-", "34.5 <small>± 0.2</small>"] in rows  # a figure of one row
    assert "The first 2 of 2" in page
    assert "good 0.812" in page
    assert page.count("not valid") == 1


def test_it_says_what_failed_first(tmp_path: Path) -> None:
    reward = FunctionObjective(lambda texts: [None] * len(texts), name="<b>")
    reward.score_texts(["a b"])
    page = report_of(tmp_path, replace(words_task(), reward=reward), [("a", "1", "0.5")])
    said = "<dt>first failure of &lt;b&gt;</dt><dd>&#x27;a b&#x27;, it returned None"
    assert said in page


def test_nothing_on_it_is_code_or_comes_from_elsewhere(tmp_path: Path) -> None:
    page = report_of(tmp_path, words_task(name="<b>"), [("<script>alert(1)</script>", "1", "1")])
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<b>" not in page.split("</h1>")[0]
    assert "&lt;run&gt;" in page
    # Names of XML vocabularies, which nothing fetches.
    assert set(re.findall(r"https?://[\w.]+", page)) <= {"http://www.w3.org"}
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)


def test_a_domain_with_pictures_shows_them(tmp_path: Path) -> None:
    page = report_of(tmp_path, words_task(draw=draw_melody), [("C4:1", "1", "1"), ("", "1", "")])
    assert page.count("data:image/png;base64,") == 2
    assert "(empty)" in page


def test_molecules_are_drawn_at_one_scale() -> None:
    pytest.importorskip("rdkit")
    from tokengym.envs.molecules import draw_molecule_svg

    def longest_line(smiles: str) -> float:
        line = r"d='M ([\d.]+),([\d.]+) L ([\d.]+),([\d.]+)'"
        ends = np.array(re.findall(line, draw_molecule_svg(smiles)), float)
        return float(np.hypot(*(ends[:, :2] - ends[:, 2:]).T).max())

    # A bond is 1.5 angstrom, and an angstrom 20 pixels.
    assert longest_line("CC") == pytest.approx(30, abs=0.5)
    assert longest_line("C1CCCCC1") == pytest.approx(30, abs=0.5)
    assert longest_line("C" * 40) < 15  # it would not fit
    assert "<path" not in draw_molecule_svg("no molecule")


def test_the_charts_that_matter_come_first_and_flat_ones_not_at_all(tmp_path: Path) -> None:
    write_curves(tmp_path, CURVES)
    first, rest, flat = charts_of(read_curves(tmp_path)[0])
    assert [chart.title for chart in first] == ["Teacher forcing", "Reward", "better", "good"]
    assert [chart.title for chart in rest] == ["train/grad_norm"]
    assert flat == ["reward/failed", "train/learning_rate"]
    assert [chart.last for chart in first] == ["training 3", "last 0.375", "last 0.2", "last 0.75"]


def test_the_only_component_is_the_reward_and_failures_are_shown(tmp_path: Path) -> None:
    write_curves(tmp_path, {**CURVES, "reward/failed": [0, 2, 0], "reward/better/mean": []})
    first, rest, _ = charts_of(read_curves(tmp_path)[0])
    titles = [chart.title for chart in first]
    assert titles == ["Teacher forcing", "Reward", "Sequences without a score"]
    assert [chart.title for chart in rest] == ["reward/good/mean", "train/grad_norm"]


def test_a_curve_of_one_point_can_be_seen(tmp_path: Path) -> None:
    write_curves(tmp_path, {"pretrain/nll": [3.0], "rollout/ep_rew_mean": list(range(100))})
    few, many = charts_of(read_curves(tmp_path)[0])[0]
    marker = r"<g clip-path=[^>]*>\s*<use"
    assert re.search(marker, draw_chart(few))
    assert not re.search(marker, draw_chart(many))
    assert "nats a token" in draw_chart(few)
    assert "tokens written" in draw_chart(many)


def test_what_a_resumed_run_did_again_counts(tmp_path: Path) -> None:
    write_curves(tmp_path, {"train/entropy": [1.0, 2.0, 3.0]})
    time_of = sorted(tmp_path.iterdir())[0].name.split(".")[3]
    write_curves(tmp_path, {"train/entropy": [5.0, 6.0]}, first_step=1)
    for path in tmp_path.iterdir():  # both began in the same second
        if path.stat().st_size < max(other.stat().st_size for other in tmp_path.iterdir()):
            path.rename(tmp_path / path.name.replace(time_of, str(int(time_of) + 60)))
    curves, seconds = read_curves(tmp_path)
    assert curves == {"train/entropy": ([0, 1, 2], [1.0, 5.0, 6.0])}
    assert 0 <= seconds < 30
