"""Limits on what a request may cost: the size of its body, the time it takes to come, how often.

A bucket holds ``burst`` requests and fills at a steady rate (token bucket); each assessor has one,
and each address from which requests come without a token that is known.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Hashable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .replies import refusal

BODY_BYTES = 16 * 1024
BODY_SECONDS = 10.0
_MOST_BUCKETS = 10_000


class Buckets:
    """How often each of many may ask.

    Args:
        per_second: how fast a bucket fills.
        burst: how many requests it holds.
    """

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second, self._burst = per_second, burst
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, key: Hashable) -> int:
        """Take one from the bucket of ``key``; the seconds to wait for one, or 0."""
        with self._lock:
            now = time.monotonic()
            left, at = self._left.pop(key, (self._burst, now))
            left = min(self._burst, left + (now - at) * self._per_second)
            allowed = left >= 1
            self._left[key] = (left - allowed, now)
            if len(self._left) > _MOST_BUCKETS:
                self._left.popitem(last=False)  # asked longest ago, so likely full again
            return 0 if allowed else math.ceil((1 - left) / self._per_second)


class BodyLimit:
    """Reads a request's body before the application sees it, up to a size and for a time."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its whole body, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _body(receive)
        except TimeoutError:
            reply = refusal(408, f"the body took more than {BODY_SECONDS:g} seconds; send it again")
            await reply(scope, receive, send)
            return
        except _TooLargeError:
            reply = refusal(413, f"the body has more than {BODY_BYTES} bytes; send less")
            await reply(scope, receive, send)
            return
        if body is not None:
            await self.app(scope, _replayed(body, receive), send)


class _TooLargeError(Exception):
    pass


async def _body(receive: Receive) -> bytes | None:
    """The whole body; None when the client went away."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if sum(map(len, parts)) > BODY_BYTES:
            raise _TooLargeError
        if not message.get("more_body", False):
            return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay
