"""The server of assessors: what it takes, what it refuses and in which words, and what it hides."""

from __future__ import annotations

import json
import logging
import select
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra 'assessors'")
pytest.importorskip("httpx2", reason="needs the extra 'dev'")

from starlette.testclient import TestClient
from tokengym.rewards.assessors import limits, server, serving
from tokengym.rewards.assessors.limits import Buckets
from tokengym.rewards.assessors.ratings import RatingsFile
from tokengym.rewards.assessors.store import Item, Store, StoreError

from .test_rewards_assessors_store import HOSTILE

ORIGIN = "http://127.0.0.1:8000"
OWNER = "the owner's token"


@dataclass
class Page:
    """What a browser with the page open is to the server."""

    client: TestClient
    store: Store
    question: int
    token: str

    def get(self, path: str, token: str | None = None, **headers: str) -> Any:
        mine = {"authorization": f"Bearer {token or self.token}"}
        return self.client.get(path, headers=mine | headers)

    def post(self, path: str, body: object, **headers: str) -> Any:
        mine = {"authorization": f"Bearer {self.token}", "origin": ORIGIN}
        mine |= {"content-type": "application/json"} | headers
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post(path, content=content, headers=mine)

    def next(self) -> Any:
        return self.get("/api/next").json()


def a_page(folder: Path, *items: Item, **options: Any) -> Page:
    store = Store(f"sqlite:///{folder}/ratings.sqlite")
    question = store.question("Which?", form="pair", domain="text")
    store.ask(question, items)
    app = server.make_app(store, question, owner_token=OWNER, **options)
    client = TestClient(app, base_url=ORIGIN, raise_server_exceptions=False)
    return Page(client, store, question, store.add_assessor("anna"))


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    made = a_page(tmp_path, Item("a", "b", priority=1.0), Item("c", "d"), requests_per_second=1e6)
    yield made
    made.store.close()


def test_a_session(page: Page) -> None:
    first = page.next()
    assert first["question"] == {"text": "Which?", "form": "pair", "domain": "text"}
    assert (first["left"]["text"], first["right"]["text"]) == ("a", "b")
    assert "kind" not in json.dumps(first)
    assert first["progress"] == {"answered": 0, "waiting": 2}
    body = {"assignment": first["assignment"], "answer": "left", "note": "hm", "key": "k1"}
    second = page.post("/api/rate", body).json()
    assert (second["left"]["text"], second["progress"]) == ("c", {"answered": 1, "waiting": 1})
    assert page.post("/api/rate", body).json() == second  # sent again: the same
    assert page.post("/api/undo", {}).json()["assignment"] == first["assignment"]
    for key, expected in (("k2", second["assignment"]), ("k3", None)):
        now = page.next()["assignment"]
        reply = page.post("/api/rate", {"assignment": now, "answer": "right", "key": key}).json()
        assert reply["assignment"] == expected
    assert reply["left"] is reply["right"] is None
    assert [(r.left, r.answer) for r in page.store.ratings(page.question)] == [
        ("a", "right"),
        ("c", "right"),
    ]


def test_the_owner_alone_sees_the_overview_and_the_export(page: Page, tmp_path: Path) -> None:
    body = {"assignment": page.next()["assignment"], "answer": "left", "note": 'so, "so"\nso'}
    page.post("/api/rate", body)
    for path in ("/api/overview", "/api/export"):
        assert page.get(path).status_code == 401
        assert page.get(path, token=OWNER).status_code == 200
    for format in ("csv", "jsonl"):
        reply = page.get(f"/api/export?format={format}", token=OWNER)
        assert f"ratings.{format}" in reply.headers["content-disposition"]
        file = tmp_path / f"export.{format}"
        file.write_bytes(reply.content)
        (found,) = RatingsFile(file, form="pair").ratings()
        (kept,) = page.store.ratings(page.question)
        assert (found.left, found.right, found.note, found.at) == (
            *(kept.left, kept.right, kept.note),
            kept.at,
        )
    assert page.get("/api/next", token=OWNER).status_code == 401


@pytest.mark.parametrize("token", ["", "x", "Ünknown", "x" * 5000])
def test_no_token_no_question(page: Page, token: str) -> None:
    for value in (f"Bearer {token}", token, f"Basic {token}", ""):
        reply = page.client.get("/api/next", headers={b"authorization": value.encode()})
        assert reply.status_code == 401
        assert "link" in reply.json()["error"]
    assert page.client.get("/api/next").status_code == 401


def test_a_token_revoked_mid_lease(page: Page) -> None:
    held = page.next()["assignment"]
    page.store.revoke("anna")
    reply = page.post("/api/rate", {"assignment": held, "answer": "left"})
    assert reply.status_code == 401
    assert page.store.ratings(page.question) == []
    page.token = page.store.add_assessor("anna")  # a further link: what was held is theirs again
    assert page.next()["assignment"] == held


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b"null", 422),
        (b"[]", 422),
        (b'"x"', 422),
        (b"\xff\xfe", 422),
        (b"[" * 15000, 400),
        (b'{"assignment": 1' + b"0" * 5000 + b', "answer": "left"}', 400),
        ({}, 422),
        ({"assignment": "1", "answer": "left"}, 422),
        ({"assignment": 1.5, "answer": "left"}, 422),
        ({"assignment": True, "answer": "left"}, 422),
        ({"assignment": -1, "answer": "left"}, 422),
        ({"assignment": 2**63, "answer": "left"}, 422),
        ({"assignment": 1}, 422),
        ({"assignment": 1, "answer": "best"}, 422),
        ({"assignment": 1, "answer": 3}, 422),
        ({"assignment": 1, "answer": None}, 422),
        ({"assignment": 1, "answer": "left", "more": 1}, 422),
        ({"assignment": 1, "answer": "left", "key": "a b"}, 422),
        ({"assignment": 1, "answer": "left", "key": "k\n"}, 422),
        ({"assignment": 1, "answer": "left", "key": "k" * 65}, 422),
        ({"assignment": 1, "answer": "left", "note": "n" * 2001}, 422),
        ({"assignment": 1, "answer": "left", "note": "\ud800"}, 422),
        ({"assignment": 1, "answer": "left", "note": "n" * 20000}, 413),
        ({"assignment": 99, "answer": "left"}, 409),
    ],
)
def test_bad_input_is_told_what_was_expected(page: Page, body: object, status: int) -> None:
    page.next()
    reply = page.post("/api/rate", body)
    assert reply.status_code == status, reply.text
    assert len(reply.json()["error"]) > 20
    assert "Traceback" not in reply.text
    assert page.store.ratings(page.question) == []


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/api/nothing", "GET", 404),
        ("/static/../server.py", "GET", 404),
        ("/static/%2e%2e/server.py", "GET", 404),
        ("/static/..%2f..%2fserver.py", "GET", 404),
        ("//etc/passwd", "GET", 404),
        ("/static/\\..\\server.py", "GET", 404),
        ("/docs", "GET", 404),
        ("/openapi.json", "GET", 404),
        ("/api/rate", "GET", 405),
        ("/api/next", "DELETE", 405),
        ("/api/export?format=exe", "GET", 422),
    ],
)
def test_other_addresses(page: Page, path: str, method: str, status: int) -> None:
    headers = {"authorization": f"Bearer {OWNER}", "origin": ORIGIN}
    headers["content-type"] = "application/json"
    reply = page.client.request(method, path, headers=headers)
    assert (reply.status_code, list(reply.json())) == (status, ["error"])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"origin": "null", "sec-fetch-site": "same-origin"}, 200),  # under no-referrer
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:8001"}, 403),
        ({"origin": "http://127.0.0.1:8000.evil.example"}, 403),
        ({"origin": "file://127.0.0.1:8000"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "none"}, 403),
        ({"host": "evil.example:8000", "origin": "http://evil.example:8000"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "application/json; charset=utf-8"}, 200),
    ],
)
@pytest.mark.parametrize("path", ["/api/rate", "/api/undo"])
def test_writes_come_from_the_page_alone(
    page: Page, path: str, headers: dict[str, str], status: int
) -> None:
    body = {"assignment": page.next()["assignment"], "answer": "left"}
    reply = page.post(path, body if path == "/api/rate" else {}, **headers)
    assert reply.status_code == status, reply.text
    assert len(page.store.ratings(page.question)) == (status == 200 and path == "/api/rate")


def test_a_write_that_does_not_say_where_it_comes_from_is_refused(page: Page) -> None:
    headers = {"authorization": f"Bearer {page.token}"}
    reply = page.client.post("/api/undo", json={}, headers=headers)
    assert reply.status_code == 403
    assert "Origin: http://127.0.0.1:8000" in reply.json()["error"]


@pytest.mark.parametrize(
    ("host", "asked", "status"),
    [
        ("127.0.0.1", "localhost:99", 200),
        ("127.0.0.1", "[::1]:99", 200),
        ("localhost", "127.0.0.1", 200),
        ("127.0.0.1", "evil.example", 403),
        ("127.0.0.1", "", 403),
        ("192.0.2.7", "192.0.2.7:99", 200),
        ("192.0.2.7", "evil.example", 403),
        ("lab.example", "LAB.example:99", 200),
        ("2001:db8::1", "[2001:db8::1]:99", 200),
        ("0.0.0.0", "any.example", 200),
    ],
)
def test_names_of_the_host(tmp_path: Path, host: str, asked: str, status: int) -> None:
    page = a_page(tmp_path, host=host)
    assert page.client.get("/", headers={"host": asked}).status_code == status
    page.store.close()


def test_headers_of_every_reply(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("of the server's own")

    replies = [page.get(path) for path in ("/", "/api/next", "/nothing", "/api/overview")]
    replies += [page.post("/api/rate", b"{"), page.post("/api/undo", {}, origin="http://evil")]
    replies.append(page.post("/api/rate", b"x" * 20000))
    monkeypatch.setattr(server, "drawn", fail)
    replies.append(page.get("/api/next"))
    assert [r.status_code for r in replies] == [200, 200, 404, 401, 422, 403, 413, 500]
    for reply in replies:
        policy = dict(
            rule.split(" ", 1) for rule in reply.headers["content-security-policy"].split("; ")
        )
        assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["base-uri"] == policy["form-action"] == "'none'"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["x-frame-options"] == "DENY"
        assert not [name for name in reply.headers if name.startswith("access-control")]
    assert "server's own" not in replies[-1].text


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_samples_stay_texts(tmp_path: Path, text: str) -> None:
    page = a_page(tmp_path, Item(text, text + "!"))
    reply = page.get("/api/next")
    assert reply.headers["content-type"] == "application/json"
    assert reply.content.isascii()
    found = reply.json()
    assert found["left"]["text"][:1000] == text[:1000]
    page.post("/api/rate", {"assignment": found["assignment"], "answer": "left"})
    for format in ("csv", "jsonl"):
        assert page.get(f"/api/export?format={format}", token=OWNER).status_code == 200
    assert page.get("/api/overview", token=OWNER).status_code == 200
    page.store.close()


def test_requests_are_limited_for_each_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_BURST_SECONDS", 1000)
    page = a_page(tmp_path, Item("a", "b"), requests_per_second=0.001)  # one, and then wait
    other = page.store.add_assessor("ben")
    assert page.get("/api/next").status_code == 200
    reply = page.get("/api/next")
    assert reply.status_code == 429
    assert 900 <= int(reply.headers["retry-after"]) <= 1000
    assert page.get("/api/next", token=other).status_code == 200
    assert [page.get("/api/next", token="x").status_code for _ in range(2)] == [401, 429]
    assert page.get("/api/overview", token=OWNER).status_code == 200
    page.store.close()


def test_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    buckets = Buckets(per_second=2.0, burst=3.0)
    assert [buckets.wait("a") for _ in range(4)] == [0, 0, 0, 1]
    assert buckets.wait("b") == 0
    now[0] = 0.5  # one more
    assert [buckets.wait("a") for _ in range(2)] == [0, 1]
    now[0] = 100.0  # full, not fuller
    assert [buckets.wait("a") for _ in range(4)] == [0, 0, 0, 1]
    for stranger in range(20_000):
        buckets.wait(stranger)
    assert len(buckets._left) == limits._MOST_BUCKETS


def test_a_database_that_went_away(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StoreError("disk full")

    held = page.next()["assignment"]
    monkeypatch.setattr(page.store, "rate", fail)
    reply = page.post("/api/rate", {"assignment": held, "answer": "left"})
    assert reply.status_code == 503
    assert "send this again" in reply.json()["error"]
    assert "disk full" not in reply.text


class Running:
    """The server as it is served, in a thread, until the end of the test."""

    def __init__(self, page: Page) -> None:
        self.listening = serving.listen()
        self.address = self.listening.getsockname()
        self._server = serving.make_server(page.client.app)  # type: ignore[arg-type]
        self._thread = threading.Thread(target=self._server.run, args=([self.listening],))
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    def raw(self, *parts: bytes, pause: float = 0.0) -> bytes:
        """What comes back for these bytes, until the server closes the connection."""
        found = b""
        with socket.create_connection(self.address, timeout=20) as connection:
            try:
                for part in parts:
                    connection.sendall(part)
                    if select.select([connection], [], [], pause)[0]:
                        break  # there is a reply
                while data := connection.recv(65536):
                    found += data
            except ConnectionError:
                pass  # closed while there was more to say
        return found

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self.listening.close()


@pytest.fixture
def running(page: Page) -> Iterator[Running]:
    made = Running(page)
    yield made
    made.stop()


def head(running: Running, line: str, *headers: str) -> bytes:
    host = "{}:{}".format(*running.address)
    lines = [line, f"Host: {host}", f"Origin: http://{host}", *headers]
    return "\r\n".join([*lines, "Content-Type: application/json", "", ""]).encode()


def test_loopback_by_default() -> None:
    listening = serving.listen()
    assert listening.getsockname()[0] == "127.0.0.1"
    with pytest.raises(OSError, match="the port free"):
        serving.listen(port=listening.getsockname()[1])
    listening.close()
    for host, port in (("192.0.2.1", 0), ("127.0.0.1", 70000), ("127.0.0.1", -1)):
        with pytest.raises(OSError, match="cannot serve on"):
            serving.listen(host, port)


def test_no_token_in_any_log(
    page: Page,
    running: Running,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise StoreError("disk full")

    caplog.set_level(logging.DEBUG)
    bearer = f"Authorization: Bearer {page.token}"
    closing = "Connection: close"
    statuses = []
    for line in ("GET /api/next", f"GET /?token={page.token}", f"GET /{page.token}"):
        statuses.append(running.raw(head(running, f"{line} HTTP/1.1", bearer, closing))[9:12])
    monkeypatch.setattr(server, "drawn", lambda *_: 1 / 0)
    statuses.append(running.raw(head(running, "GET /api/next HTTP/1.1", bearer, closing))[9:12])
    monkeypatch.setattr(page.store, "lease", fail)
    statuses.append(running.raw(head(running, "GET /api/next HTTP/1.1", bearer, closing))[9:12])
    page.store.revoke("anna")
    statuses.append(running.raw(head(running, "GET /api/next HTTP/1.1", bearer, closing))[9:12])
    statuses.append(running.raw(f"GET / HTTP/1.1\r\n{bearer}\x00\r\n\r\n".encode())[9:12])
    assert statuses == [b"200", b"200", b"404", b"500", b"503", b"401", b"400"]
    assert "ZeroDivisionError" in caplog.text
    assert "disk full" in caplog.text
    printed = capfd.readouterr()
    assert page.token not in caplog.text + printed.out + printed.err


def test_slow_and_broken_requests(
    page: Page, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.3)
    bearer = f"Authorization: Bearer {page.token}"
    post = head(running, "POST /api/rate HTTP/1.1", bearer, "Content-Length: 100")
    assert running.raw() == b""  # says nothing: closed
    assert running.raw(post[:40]) == b""  # half a head
    assert running.raw(*(bytes([c]) for c in post[:10]), pause=0.1) == b""  # drop by drop
    whole = head(running, "GET /api/next HTTP/1.1", bearer)
    assert running.raw(whole + post[:40]).startswith(b"HTTP/1.1 200")  # the second head by halves
    assert b" 408 " in running.raw(post, b'{"assignment"')
    assert b" 408 " in running.raw(post, *[b" "] * 10, pause=0.1)
    assert b" 413 " in running.raw(post.replace(b": 100", b": 99999999"), b" " * 20000)
    chunked = post.replace(b"Content-Length: 100", b"Transfer-Encoding: chunked")
    assert b" 413 " in running.raw(chunked, b"8000\r\n" + b" " * 0x8000 + b"\r\n")
    for wrong in (
        post.replace(b": 100", b": -5"),
        post.replace(b": 100", b": 1\r\nContent-Length: 2"),
        chunked + b"zz\r\n",
        b"\x16\x03\x01\x02\x00" * 40 + b"\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 20_000 + b"\r\n",
    ):
        assert running.raw(wrong)[9:12] in (b"400", b""), wrong[:80]
    closing = head(running, "GET /api/next HTTP/1.1", bearer, "Connection: close")
    assert b" 200 " in running.raw(closing)
