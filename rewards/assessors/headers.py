"""What guards every request and reply: whose page it comes from, and what a browser may do with it.

The page runs its own scripts alone, loads nothing from elsewhere, and stands in no frame. A write
has to come from the page itself: a browser says where a request comes from in ``Origin`` or
``Sec-Fetch-Site``, which no other page can change. ``Host`` has to be the address that is served,
so that no other name that leads here (DNS rebinding) counts as the page's own.
"""

from __future__ import annotations

import ipaddress
import logging

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .replies import refusal

_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
_READS = ("GET", "HEAD")
_log = logging.getLogger(__name__)


class Guard:
    """Refuses what does not come from the page, and sets the headers of every reply.

    Args:
        app: what is guarded.
        host: the address that is served.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self.app, self.hosts = app, _names_of(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        problem = self._problem(scope["method"], Headers(scope=scope))
        if problem is not None:
            await refusal(*problem)(scope, receive, send_with_headers)
            return
        try:
            await self.app(scope, receive, send_with_headers)
        except Exception:
            _log.exception("a request failed")
            if begun:
                raise
            reply = refusal(500, "the server failed at this; it is in its log. Try again")
            await reply(scope, receive, send_with_headers)

    def _problem(self, method: str, headers: Headers) -> tuple[int, str] | None:
        """The status and the words of a refusal."""
        host = headers.get("host", "")
        if self.hosts and _name(host) not in self.hosts:
            return 403, (
                f"the request is for the host {host[:80]!r}; expected "
                f"{' or '.join(sorted(self.hosts))}. Open the link as it was printed"
            )
        if method in _READS:
            return None
        if not _is_own(headers, host):
            return 403, (
                "the request comes from another page; expected this server's own. Open the link "
                f"that was printed (a program sends the header Origin: http://{host[:80]})"
            )
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return 415, "the body is not said to be JSON; send Content-Type: application/json"
        return None


def _is_own(headers: Headers, host: str) -> bool:
    origin, site = headers.get("origin", "null"), headers.get("sec-fetch-site")
    if site not in (None, "same-origin"):
        return False
    if origin != "null":
        scheme, _, rest = origin.partition("://")
        return scheme in ("http", "https") and rest.lower() == host.lower()
    return site is not None  # of the browsers, those that send no origin say this


def _names_of(host: str) -> frozenset[str]:
    """The names under which an address is reached; none where they cannot be known."""
    loopback = frozenset({"localhost", "127.0.0.1", "[::1]"})
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return loopback if host == "localhost" else frozenset({host.lower()})
    if address.is_unspecified:
        return frozenset()
    return loopback if address.is_loopback else frozenset({_name(_bracketed(host))})


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _name(host: str) -> str:
    """The name of a ``Host`` header, without its port."""
    name, _, port = host.lower().rpartition(":")
    return name if name and port.isdigit() else host.lower()
