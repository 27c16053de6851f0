"""A scorer that is a service: the worker protocol's messages, one request a POST.

The body is ``{"id": 7, "sequences": [...]}``, the answer ``{"id": 7, "scores": [...], "errors":
{...}}``; there is no handshake. What may be a passing fault (no connection, no answer in time,
status 408, 429 or 5xx) is tried again, after a wait that doubles each time and is shortened at
random, so that many clients do not come back together.
"""

from __future__ import annotations

import http.client
import itertools
import logging
import random
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Unpack
from urllib.parse import urlsplit

from ..crew import Answer, WorkerError
from ..executing import Where
from ..objective import KeepingOptions, Objective
from .protocol import ProtocolError, largest_answer, message, read_answer, request

log = logging.getLogger(__name__)

_LONGEST_WAIT = 60.0  # seconds
_PASSING = {408, 429, 500, 502, 503, 504}
_BLOCK = 1 << 16  # bytes


class HTTPObjective(Objective):
    """An objective that a service computes.

    Args:
        url: of the service, ``"http://127.0.0.1:8000/score"``.
        timeout: seconds that one attempt may take.
        retries: attempts after the first.
        backoff: seconds before the second attempt, at most; twice as many before each further one.
        headers: what the service wants to know, a token for instance.
        name: in logs and errors.
        range: the lowest and the highest score, as far as they are known.
        executor: a ``ThreadPoolExecutor`` sends several requests at once.
        **options: as for ``Objective``.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 60.0,
        retries: int = 4,
        backoff: float = 0.5,
        headers: Mapping[str, str] | None = None,
        name: str = "http",
        range: tuple[float, float] = (-float("inf"), float("inf")),
        executor: Where | None = None,
        **options: Unpack[KeepingOptions],
    ) -> None:
        super().__init__(executor=executor, **options)
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise ValueError(f"url is {url!r}; expected http:// or https:// and a host")
        if not 0 < timeout < float("inf") or retries < 0 or backoff < 0:
            raise ValueError(
                f"timeout is {timeout}, retries {retries} and backoff {backoff}; expected seconds "
                "more than 0, and nothing negative"
            )
        self.url = url
        self.timeout = timeout
        self.retries = retries
        self.backoff = backoff
        self.headers = {"Content-Type": "application/json", **(headers or {})}
        self.name = name
        self.range = range
        self._requests = itertools.count(1)
        self._jitter = random.Random(0)

    def score(self, texts: list[str]) -> Sequence[Answer]:
        """Ask the service, more than once where it has to be."""
        number = next(self._requests)
        body, limit = request(number, texts), largest_answer(len(texts))
        for attempt in itertools.count(1):
            try:
                said = message(self._post(body, limit))
                break
            except (OSError, http.client.HTTPException) as error:
                passing = not isinstance(error, urllib.error.HTTPError) or error.code in _PASSING
                if not passing or attempt > self.retries:
                    raise WorkerError(f"{self.url} failed {attempt} times: {error}") from error
                wait = self.wait(attempt)
                log.warning("%s: %s; trying again in %.1f s", self.url, error, wait)
                time.sleep(wait)
        if said is None or said.get("id") != number:
            raise ProtocolError(f'{self.url} answered with no object that has "id": {number}')
        return read_answer(said, texts)

    def wait(self, attempt: int) -> float:
        """Seconds to wait after an attempt, counted from 1."""
        longest = min(self.backoff * 2.0 ** (attempt - 1), _LONGEST_WAIT)
        return longest * self._jitter.uniform(0.5, 1.0)

    def _post(self, body: bytes, limit: int) -> bytes:
        asked = urllib.request.Request(self.url, body, self.headers)
        deadline = time.monotonic() + self.timeout
        with _OPENER.open(asked, timeout=self.timeout) as response:
            read = bytearray()
            while block := response.read1(_BLOCK):
                read += block
                if len(read) > limit:
                    raise ProtocolError(f"{self.url} answered with more than {limit:,} bytes")
                if time.monotonic() > deadline:  # it drips, and so escapes the socket's time-out
                    raise TimeoutError(f"no whole answer within {self.timeout:g} s")
        return bytes(read)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would lose its body, and headers meant for one host reach another."""

    def redirect_request(self, *_: object) -> None:
        """Follow none: the status becomes the error."""


_OPENER = urllib.request.build_opener(_NoRedirects)
