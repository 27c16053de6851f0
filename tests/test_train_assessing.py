"""``tokengym assess``: links, answers over HTTP that the run reads, revoking, exporting."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from .test_train_command_line import command, environment, run

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("sqlalchemy")
pytestmark = pytest.mark.slow
CONFIG = """
task: tokengym/Text-v0
data: mine.txt
reward: "0.5 * known_words(reference='mine.txt') + 0.5 * assessors(question='Which?', queue=20)"
agent:
  class_path: Reinforce
  init_args:
    policy: GRU
    policy_kwargs: {hidden: 16, embedding: 8}
    batch_size: 16
    discriminator_steps: 1
pretrain: {epochs: 4, discriminator_steps: 2}
total_timesteps: 100
samples: 10
"""


def sent(link: str, path: str, body: object = None) -> Any:
    place, _, token = link.partition("/#")
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    headers |= {"Origin": place} if data else {}
    request = urllib.request.Request(place + path, data, headers)
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.loads(reply.read())


def test_what_is_rated_on_the_page_reaches_the_run(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(CONFIG)
    lines = [f"{a} {b}" for a in ("red", "green", "blue") for b in ("sea", "sky", "hill", "town")]
    (tmp_path / "mine.txt").write_text("\n".join(lines) + "\n")
    run(tmp_path, "train", "small.yaml", "--run", "a")
    served = subprocess.Popen(
        command("assess", "a", "--assessors", "anna,ben", "--port", "0"),
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert served.stdout is not None
        links = dict(served.stdout.readline().split() for _ in range(3))
        assert list(links) == ["anna", "ben", "overview"]
        assert len({re.sub(".*#", "", link) for link in links.values()}) == 3
        for rated in range(12):
            asked = sent(links["anna" if rated % 2 else "ben"], "/api/next")
            assert asked["question"] == {"text": "Which?", "form": "pair", "domain": "text"}
            body = {
                "assignment": asked["assignment"],
                "answer": "left",
                "note": "",
                "key": f"k{rated}",
            }
            sent(links["anna" if rated % 2 else "ben"], "/api/rate", body)
    finally:
        served.send_signal(signal.SIGINT)
        rest, _ = served.communicate(timeout=60)
    assert "12 ratings in sqlite:///a/ratings.sqlite" in rest
    run(tmp_path, "train", "a/config.yaml", "--resume", "--total_timesteps", "400")
    figures = [json.loads(line) for line in (tmp_path / "a/scores.jsonl").read_text().splitlines()]
    assert "assessors" in figures[-1]["parts"]
    out = run(tmp_path, "assess", "a", "--export", "ratings.csv")
    assert "12 ratings in ratings.csv" in out
    with open(tmp_path / "ratings.csv", newline="") as file:
        assert {row["assessor"] for row in csv.DictReader(file)} == {"anna", "ben"}
    assert "anna cannot rate any more" in run(tmp_path, "assess", "a", "--revoke", "anna")
    assert "there is no assessor 'eve'" in run(tmp_path, "assess", "a", "--revoke", "eve", code=2)


def test_a_run_without_assessors_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("red sea\nblue sky\n")
    text = re.sub("reward: .*", "reward: known_words(reference='mine.txt')", CONFIG)
    (tmp_path / "small.yaml").write_text(text)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/config.yaml").write_text(text)
    assert "has no assessors; train with one such as" in run(tmp_path, "assess", "a", code=2)
