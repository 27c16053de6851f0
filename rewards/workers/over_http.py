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
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Unpack
from urllib.parse import urlsplit

from ..checks import check_name, check_seconds, check_whole, checked_range
from ..crew import Answer, WorkerError, WorkerStartError
from ..executing import Where
from ..objective import KeepingOptions, Objective
from .protocol import ProtocolError, is_answer, largest_answer, message, read_answer, request, shown

log = logging.getLogger(__name__)

_LONGEST_WAIT = 60.0  # seconds
_PASSING = {408, 429, 500, 502, 503, 504}
_BLOCK = 1 << 16  # bytes
_WHO_ASKS = {"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key"}


class HTTPObjective(Objective):
    """An objective that a service computes.

    Args:
        url: of the service, ``"http://127.0.0.1:8000/score"``.
        timeout: seconds that one attempt may take.
        retries: attempts after the first.
        backoff: seconds before the second attempt, at most; twice as many before each further one.
        headers: what the service wants to know, a token for instance. In a memo on disk they tell
            scores apart, since a service may choose a model by them; those that only say who asks
            (authorization, cookie, x-api-key, api-key) do not.
        name: in logs and errors.
        range: the lowest and the highest score, as far as they are known.
        executor: a ``ThreadPoolExecutor`` sends several requests at once.
        **options: as for ``Objective``.
    """

    changes_no_score = ("timeout", "retries", "backoff", "range")

    @classmethod
    def deciding(cls, arguments: Mapping[str, object]) -> dict[str, object]:
        """As for any objective; of the headers those that do not only say who asks."""
        decide = super().deciding(arguments)
        if isinstance(headers := decide.get("headers"), Mapping):
            told = {str(name).lower(): value for name, value in headers.items()}
            decide["headers"] = {
                k: v for k, v in sorted(told.items()) if k not in _WHO_ASKS
            } or None
        return decide

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
        check_seconds(timeout=timeout)
        check_whole(0, retries=retries)
        check_name(name)
        if backoff != 0:
            check_seconds(backoff=backoff)
        self.url = url
        self._shown = _checked_address(url)
        self.timeout = timeout
        self.retries = retries
        self.backoff = backoff
        self.headers = {"Content-Type": "application/json", **(headers or {})}
        self.name = name
        self.range = checked_range(range)
        self._requests = itertools.count(1)
        self._jitter = random.Random(0)

    def score(self, texts: list[str]) -> Sequence[Answer]:
        """Ask the service, more than once where it has to be."""
        number = next(self._requests)
        body, limit = request(number, texts), largest_answer(len(texts))
        for attempt in itertools.count(1):
            try:
                answer = self._post(body, limit)
                break
            except (OSError, http.client.HTTPException) as error:
                passing = not isinstance(error, urllib.error.HTTPError) or error.code in _PASSING
                if not passing or attempt > self.retries:
                    raise _last_of(attempt, self._shown, error) from error
                wait = self.wait(attempt)
                log.warning("%s: %s; trying again in %.1f s", self._shown, error, wait)
                time.sleep(wait)
        said = message(answer)
        if is_answer(said, number):
            return read_answer(said, texts)
        raise ProtocolError(
            f'{self._shown} answered with no object that has "id": {number}, but {shown(answer)}'
        )

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
                    raise ProtocolError(f"{self._shown} answered with more than {limit:,} bytes")
                if time.monotonic() > deadline:  # it drips, and so escapes the socket's time-out
                    raise TimeoutError(f"no whole answer within {self.timeout:g} s")
        return bytes(read)


def _checked_address(url: str) -> str:
    """Scheme, host and path, for messages: what follows them may be secret."""
    parts = urlsplit(url if isinstance(url, str) else "")
    if "@" in parts.netloc:
        raise ValueError(
            f"the url of {parts.hostname} holds a user name or a password, which is not sent; give "
            'headers={"Authorization": "Basic ..."}'
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"url is {url!r}; expected http:// or https:// and a host")
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _last_of(attempts: int, address: str, error: Exception) -> WorkerError:
    """What is said when no further attempt is made."""
    said = f"{address} failed {attempts} times: {error}"
    match error:
        case urllib.error.HTTPError(code=code) if 300 <= code < 400:
            where = error.headers.get("Location", "nowhere")
            return WorkerError(f"{said}; redirections are not followed, this one is to {where}")
        case urllib.error.URLError(reason=ConnectionRefusedError() | socket.gaierror()):
            return WorkerStartError(f"{said}; is the service running?")  # no sequence's fault
    return WorkerError(said)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would lose its body, and headers meant for one host reach another."""

    def redirect_request(self, *_: object) -> None:
        """Follow none: the status becomes the error."""


_OPENER = urllib.request.build_opener(_NoRedirects)
