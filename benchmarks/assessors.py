"""Fifty raters at once: how long an answer takes to be kept, and whether every one is.

``python -m benchmarks.assessors`` serves a question from a process of its own on loopback, and lets
50 raters answer pairs for 30 seconds, each as soon as the last answer was acknowledged: many times
what fifty people do. A rater is what the page is: it sends an answer with a key, keeps sending it
until a reply comes, and takes the next pair from that reply. What is measured is wall time, from
sending to the reply, as a person waits for it; an answer is on disk by then.

Afterwards the store has to hold every acknowledged answer, once, nothing else, and no pair more
often than it was wanted. ``--url`` names the database, a fresh SQLite file otherwise, and for
PostgreSQL ``postgresql+psycopg://user@host/name``.

Floors: none lost, none doubled, none too many; 99 of 100 answers within 5 seconds, on two cores
that others keep busy. Exits 1 when one is missed. The machine's load and the disk's speed are in
these figures. Fifty raters who never pause wait for each other: a reply takes fifty times what the
server needs for one. People who answer every other second are at most 25 answers a second.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from tokengym.rewards.assessors.server import make_app
from tokengym.rewards.assessors.serving import listen, serve
from tokengym.rewards.assessors.store import Item, Store

from .reporting import new_table

SLOWEST = 5.0  # seconds, of 99 answers in 100
PERCENTILES = (50, 90, 99, 100)


class Server:
    """A server in a process of its own, which can be killed and begun again at the same port."""

    def __init__(self, url: str, question: int) -> None:
        self.port = 0
        self._url, self._question = url, question
        self._processes = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload([__name__])
        self.start()

    def start(self) -> None:
        """Begin; it listens when this returns."""
        told, tells = self._processes.Pipe(duplex=False)
        arguments = (self._url, self._question, self.port, tells)
        self.process = self._processes.Process(target=_serve, args=arguments, daemon=True)
        self.process.start()
        tells.close()
        with told:
            self.port = int(told.recv())

    def kill(self) -> None:
        """SIGKILL, as at any moment."""
        self.process.kill()
        self.process.join()
        self.process.close()


def _serve(url: str, question: int, port: int, tells: Connection) -> None:
    listening = listen(port=port)
    tells.send(listening.getsockname()[1])
    serve(make_app(Store(url), question, owner_token="owner"), listening)


class Rater(threading.Thread):
    """Answers whatever comes until the deadline.

    Args:
        who: the assessor.
        token: theirs.
        server: where the questions come from.
        deadline: on the clock of ``time.monotonic``.
    """

    def __init__(self, who: str, token: str, server: Server, deadline: float) -> None:
        super().__init__(name=who, daemon=True)
        self.server, self.deadline = server, deadline
        self.seconds: list[float] = []
        self.kept: list[tuple[str, str, str]] = []  # acknowledged: whose, of which pair, what
        self.resent = 0
        self.refused: str | None = None
        self._token = token
        self._connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        """Rate; an answer that was sent is sent until it is acknowledged, or refused."""
        try:
            with suppress(_RefusedError):
                self._rate()
        finally:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _rate(self) -> None:
        asked = self._send("GET", "/api/next")
        while time.monotonic() < self.deadline:
            if asked["assignment"] is None:
                time.sleep(0.05)
                asked = self._send("GET", "/api/next")
                continue
            said = ("left", "right", "equal")[len(self.kept) % 3]
            body = {"assignment": asked["assignment"], "answer": said, "key": f"k{len(self.kept)}"}
            begun = time.monotonic()
            answered = (self.name, asked["left"]["text"], said)
            asked = self._send("POST", "/api/rate", body)
            self.seconds.append(time.monotonic() - begun)
            self.kept.append(answered)

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        while True:
            try:
                return self._sent(method, path, body)
            except (OSError, http.client.HTTPException):
                self.resent += 1
                self._hang_up()
                time.sleep(0.05)

    def _sent(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/json",
            "Origin": f"http://127.0.0.1:{self.server.port}",
        }
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        reply = self._connection.getresponse()
        text = reply.read()
        if reply.status != 200:
            self.refused = f"{method} {path} gave {reply.status}: {text[:200]!r}"
            raise _RefusedError
        found: dict[str, Any] = json.loads(text)
        return found


class _RefusedError(Exception):
    pass


@dataclass(frozen=True)
class Result:
    """What came of it."""

    database: str
    raters: int
    seconds: float
    ratings: int
    milliseconds: dict[str, float]
    resent: int
    lost: int
    doubled: int
    too_many: int
    """Pairs that were answered more often than they were wanted."""
    refused: list[str]
    """What raters were told who were turned away."""

    @property
    def exact(self) -> bool:
        """Whether every acknowledged answer is there once, and nothing else is."""
        return self.ratings > 0 and not (self.lost or self.doubled or self.too_many or self.refused)


class Load:
    """A question with pairs, its server, and its raters, who begin at once.

    Args:
        url: of the database.
        raters: how many.
        pairs: how many there are to answer.
        wanted: by how many raters each.
        seconds: for how long.
    """

    def __init__(self, url: str, raters: int, pairs: int, wanted: int, seconds: float) -> None:
        self.store, self.wanted, self.planned = Store(url), wanted, seconds
        self.question = self.store.question(f"at {time.time()}", form="pair", domain="text")
        items = [Item(f"left {i}", f"right {i}", wanted=wanted) for i in range(pairs)]
        self.store.ask(self.question, items)
        names = [f"rater {i}" for i in range(raters)]
        tokens = [self.store.add_assessor(name) for name in names]
        self.server = Server(url, self.question)
        self._begun = time.monotonic()
        deadline = self._begun + seconds
        self.raters = [
            Rater(n, t, self.server, deadline) for n, t in zip(names, tokens, strict=True)
        ]
        for rater in self.raters:
            rater.start()

    def result(self) -> Result:
        """Wait for the raters, and compare what they were told with what is there."""
        for rater in self.raters:
            rater.join(timeout=self.planned + 60)
        took = time.monotonic() - self._begun
        self.server.kill()
        stored = Counter((r.assessor, r.left, r.answer) for r in self.store.ratings(self.question))
        kept = Counter(answer for rater in self.raters for answer in rater.kept)
        often = Counter(left for _, left, _ in stored.elements())
        seconds = np.array([s for rater in self.raters for s in rater.seconds] or [np.nan])
        self.store.close()
        return Result(
            database=self.store.url.split(":")[0],
            raters=len(self.raters),
            seconds=took,
            ratings=kept.total(),
            milliseconds={f"p{p}": float(np.percentile(seconds, p) * 1000) for p in PERCENTILES},
            resent=sum(rater.resent for rater in self.raters),
            lost=(kept - stored).total(),
            doubled=(stored - kept).total(),
            too_many=sum(count > self.wanted for count in often.values()),
            refused=[rater.refused for rater in self.raters if rater.refused],
        )


def print_table(result: Result) -> None:
    """The result, for people."""
    table = new_table(
        f"{result.raters} raters at once for {result.seconds:.0f} s, milliseconds to the reply",
        ["database", "ratings", "a second", *result.milliseconds, "lost", "doubled", "too many"],
    )
    table.add_row(
        *(result.database, f"{result.ratings:,}", f"{result.ratings / result.seconds:.1f}"),
        *(f"{value:.0f}" for value in result.milliseconds.values()),
        *(str(count) for count in (result.lost, result.doubled, result.too_many)),
    )
    Console().print(table, *result.refused, sep="\n")


def main() -> int:
    """Measure and print; 1 when a floor is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--raters", type=int, default=50)
    parser.add_argument("--url", help="of the database; a fresh SQLite file if not given")
    parser.add_argument("--json", type=Path, help="write the result to this file too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = options.url or f"sqlite:///{folder}/ratings.sqlite"
        load = Load(url, options.raters, pairs=2000, wanted=options.raters, seconds=options.seconds)
        result = load.result()
    print_table(result)
    if options.json is not None:
        options.json.write_text(json.dumps(asdict(result), indent=2) + "\n", encoding="utf-8")
    return 0 if result.exact and result.milliseconds["p99"] <= 1000 * SLOWEST else 1


if __name__ == "__main__":
    raise SystemExit(main())
