"""A service over HTTP: passing faults are tried again, the others are errors that say so."""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tokengym.rewards import ObjectiveError, make_reward
from tokengym.rewards.workers import HTTPObjective

from .test_rewards_workers import TEXTS


class Service(BaseHTTPRequestHandler):
    """Answers the length of each text, after as many faults as are left."""

    faults: list[Any] = []  # noqa: RUF012 - the test sets it
    asked: list[dict[str, Any]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append({**request, "token": self.headers["X-Token"]})
        fault = self.faults.pop(0) if self.faults else 200
        if fault == "closes":
            return
        if fault == "hangs":
            time.sleep(2.0)
            return
        scores = [None if text == "?" else float(len(text)) for text in request["sequences"]]
        said: Any = {"id": request["id"], "scores": scores, "errors": {}}
        if isinstance(fault, dict):
            said |= fault
        body = b"x" * 10_000_000 if fault == "10 MB" else json.dumps(said).encode()
        self.send_response(fault if isinstance(fault, int) else 200)
        if fault == 302:
            self.send_header("Location", self.path)
        self.end_headers()
        if fault == "drips":
            for byte in body:
                self.wfile.write(bytes([byte]))
                time.sleep(0.2)
            return
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(Service, "faults", [])
    monkeypatch.setattr(Service, "asked", [])

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that went away is what some tests are about."""

    with Server(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/score"
        server.shutdown()
        thread.join()


def test_a_service_scores_a_batch(url: str) -> None:
    reward = HTTPObjective(url, headers={"X-Token": "secret"}, name="length", range=(0, 9))
    assert reward.score_texts(["ccc", "?", "é\n"]) == [3.0, None, 2.0]
    assert Service.asked == [{"id": 1, "sequences": ["ccc", "?", "é\n"], "token": "secret"}]


def test_passing_faults_are_tried_again_after_longer_and_longer_waits(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("tokengym.rewards.workers.over_http.time.sleep", waits.append)
    Service.faults = ["closes", 503, 429, 500]
    assert HTTPObjective(url, backoff=1.0).score_texts(TEXTS) == [1.0, 2.0, 3.0]
    assert len(Service.asked) == 5
    assert all(2**k / 2 <= wait <= 2**k for k, wait in enumerate(waits))
    assert len(waits) == 4
    again = HTTPObjective(url, backoff=1.0)
    assert [again.wait(k) for k in (1, 2, 3, 4)] == waits  # the jitter is the same in every run
    assert again.wait(1000) <= 60.0
    Service.faults = [503] * 9
    with pytest.raises(ObjectiveError, match="failed 3 times: HTTP Error 503"):
        HTTPObjective(url, retries=2).score_texts(TEXTS)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (404, "failed 1 times: HTTP Error 404"),
        (302, "HTTP Error 302.*; redirections are not followed, this one is to /score"),
        ("hangs", "failed 1 times: .*timed out"),
        ("drips", "failed 1 times: no whole answer within 0.5 s"),
        ("10 MB", "answered with more than [0-9,]+ bytes"),
        ({"id": 99}, 'no object that has "id": 1, but .{"id": 99'),
        ({"id": True}, 'no object that has "id": 1, but .{"id": true'),
        ({"scores": [1.0]}, "returned 1 scores for 3 sequences"),
        ({"scores": "high"}, "scores 'high'"),
        ({"scores": [1, 2, math.nan]}, "returned nan .* for 'ccc'"),
        ({"scores": [1, 10**400, 2]}, "returned inf .* for 'bb'"),
        ({"errors": {"1": "no bb"}}, "'http' reported 'no bb' for 'bb'"),
    ],
)
def test_faults_of_a_service(url: str, fault: Any, message: str) -> None:
    Service.faults = [fault]
    timeout = 0.5 if fault in ("hangs", "drips") else 30.0
    with pytest.raises(ObjectiveError, match=message):
        HTTPObjective(url, timeout=timeout, retries=0).score_texts(TEXTS)
    asked = [request["sequences"] for request in Service.asked]
    assert asked in ([TEXTS], [TEXTS, ["a"], ["bb"], ["ccc"]])  # one by one to find out which


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://host/score", "localhost:80", "http:", 3]
)
def test_only_http_is_asked(url: str) -> None:
    with pytest.raises(ValueError, match="expected http:// or https://"):
        HTTPObjective(url)


def test_a_service_that_fails_over_a_text_names_it(url: str) -> None:
    Service.faults = [500, 200, 500]
    with pytest.raises(ObjectiveError, match=r"HTTP Error 500.* for 'bb'"):
        HTTPObjective(url, retries=0).score_texts(TEXTS)


def test_a_service_that_is_not_there_is_no_sequences_fault() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/score?key=secret"
        with pytest.raises(ObjectiveError, match=r"/score failed 1 times.*is the service running"):
            HTTPObjective(nobody, retries=0, on_error="skip").score_texts(TEXTS)


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    for scheme in ("http", "ftp"):
        with pytest.raises(ValueError, match="url of host holds a user name") as caught:
            HTTPObjective(f"{scheme}://me:secret@host/score")
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"range": (3, 1)}, r"range is \(3, 1\); expected \(lowest, highest\)"),
        ({"name": 3}, "name is 3"),
        ({"retries": 1.5}, "retries is 1.5; expected a whole number"),
        ({"timeout": "5"}, "timeout is '5'; expected seconds"),
        ({"backoff": -1}, "backoff is -1; expected seconds"),
    ],
)
def test_options_that_cannot_be_meant(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HTTPObjective("http://host/score", **options)


def test_services_in_an_expression(url: str) -> None:
    reward = make_reward(
        f'0.5 * http(url="{url}", headers={{"a": "my:token"}}) + 0.5 * http(url="{url}")'
    )
    first = reward.children[0]
    assert isinstance(first, HTTPObjective)
    assert first.headers["a"] == "my:token"
