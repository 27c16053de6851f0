"""``tokengym assess``: links, answers over HTTP that the run reads, revoking, exporting."""

from __future__ import annotations

import csv
import json
import re
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tokengym.agents.checkpoint import load_checkpoint
from tokengym.train.command_line import main

from .test_train_command_line import command, environment

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


def ended(*arguments: str, code: int = 0) -> None:
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert done.value.code == code


def sent(link: str, path: str, body: object = None) -> Any:
    place, _, token = link.partition("/#")
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    headers |= {"Origin": place} if data else {}
    request = urllib.request.Request(place + path, data, headers)
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.loads(reply.read())


def answer(link: str, rated: int) -> None:
    asked = sent(link, "/api/next")
    assert asked["question"] == {"text": "Which?", "form": "pair", "domain": "text"}
    body = {"assignment": asked["assignment"], "answer": "left", "note": "", "key": f"k{rated}"}
    sent(link, "/api/rate", body)


# Without assessors all lines of so small a policy are of known words.
@pytest.mark.filterwarnings("ignore:in every round all sequences were worth the same")
def test_what_is_rated_on_the_page_reaches_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(CONFIG)
    lines = [f"{a} {b}" for a in ("red", "green", "blue") for b in ("sea", "sky", "hill", "town")]
    Path("mine.txt").write_text("\n".join(lines) + "\n")
    ended("train", "small.yaml", "--run", "a")
    served = subprocess.Popen(
        command("assess", "a", "--assessors", "anna,ben", "--port", "0"),
        env=environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert served.stdout is not None
        links = dict(served.stdout.readline().split() for _ in range(3))
        assert list(links) == ["anna", "ben", "overview"]
        for rated in range(12):
            answer(links["anna" if rated % 2 else "ben"], rated)
    finally:
        served.send_signal(signal.SIGINT)
        rest, _ = served.communicate(timeout=120)
    assert served.returncode == 0
    assert "12 ratings in sqlite:///a/ratings.sqlite" in rest
    ended("train", "a/config.yaml", "--resume", "--total_timesteps", "400")
    checkpoint = load_checkpoint("a/checkpoint.safetensors")[1]
    assert checkpoint["rewards"]["assessors"]["known"] == 12
    ended("assess", "a", "--export", "ratings.csv")
    assert "12 ratings in ratings.csv" in capsys.readouterr().out
    with open("ratings.csv", newline="") as file:
        assert {row["assessor"] for row in csv.DictReader(file)} == {"anna", "ben"}
    ended("assess", "a", "--revoke", "anna")
    assert "anna cannot rate any more" in capsys.readouterr().out
    ended("assess", "a", "--revoke", "eve", code=2)
    assert "there is no assessor 'eve'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        ("known_words(reference='mine.txt')", "has no assessors; train with one such as"),
        ("assessors(question='A?') + assessors(question='B?')", "assessors#2; name one with"),
        ("assessors(question='A?', store='mine.csv')", "come from mine.csv, which others write"),
    ],
)
def test_what_cannot_be_assessed_says_what_to_do(
    reward: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.txt").write_text("red sea\nblue sky\n")
    Path("a").mkdir()
    Path("a/config.yaml").write_text(re.sub("reward: .*", f'reward: "{reward}"', CONFIG))
    ended("assess", "a", code=2)
    assert message in capsys.readouterr().err


def test_a_link_for_every_address_names_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.txt").write_text("red sea\nblue sky\n")
    Path("a").mkdir()
    Path("a/config.yaml").write_text(CONFIG)

    def serve(_: object, listening: socket.socket) -> None:
        listening.close()

    monkeypatch.setattr("tokengym.rewards.assessors.serving.serve", serve)
    monkeypatch.setattr("tokengym.train.assessing.socket.gethostname", lambda: "lab7")
    ended("assess", "a", "--host", "0.0.0.0", "--port", "0")
    printed = capsys.readouterr().out
    assert re.match(r"me +http://lab7:\d+/#\S{43}\n", printed)
    assert "0 questions are waiting in sqlite:///a/ratings.sqlite" in printed


def test_what_is_mistyped_says_so_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.txt").write_text("red sea\nblue sky\n")
    Path("a").mkdir()
    Path("a/config.yaml").write_text(CONFIG)
    ended("assess", "a", "--component", "assesors", code=2)
    assert "has the assessors assessors; name one with" in capsys.readouterr().err
    ended("assess", "a", "--assessors", "anna,<b>", "--port", "0", code=2)
    printed = capsys.readouterr()
    assert "name is '<b>'" in printed.err
    assert "#" not in printed.out  # no link
    wrong = CONFIG.replace("queue=20", "store='sqlite:///missing/ratings.sqlite'")
    Path("wrong.yaml").write_text(wrong)
    ended("train", "wrong.yaml", "--run", "b", code=2)
    printed = capsys.readouterr()
    assert "unable to open database file" in printed.err
    assert "teacher forcing" not in printed.err  # which may take hours
