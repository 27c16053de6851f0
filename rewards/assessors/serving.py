"""Serving an application of ours with uvicorn: a socket first, so that its links can be told."""

from __future__ import annotations

import asyncio
import socket

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0
_CONNECTIONS = 1000


def listen(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A socket on loopback, where nothing else is said; port 0 takes a free one.

    Raises:
        OSError: the address cannot be had.
    """
    try:
        if not 0 <= port < 2**16:
            raise OSError("ports are 0 to 65535")  # beyond, they would be taken modulo 65536
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise OSError(
            f"cannot serve on {host!r}, port {port} ({error}); is it an address of this machine, "
            "and the port free? Port 0 takes a free one"
        ) from error


def serve(app: FastAPI, listening: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM; requests under way are finished."""
    make_server(app).run(sockets=[listening])


def make_server(app: FastAPI) -> uvicorn.Server:
    """The server as it is configured here: it logs errors alone, and no request."""
    config = uvicorn.Config(
        app,
        http=_Impatient,
        ws="none",
        lifespan="off",
        access_log=False,  # what stands in an address is no log's business
        log_config=None,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=5,
    )
    return uvicorn.Server(config)


class _Impatient(H11Protocol):
    """Closes connections that do not come to the end of a request's head within HEAD_SECONDS."""

    _closing: asyncio.TimerHandle | None = None

    def connection_made(  # type: ignore[override] # uvicorn's own narrows it to Transport too
        self, transport: asyncio.Transport
    ) -> None:
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self.access_log = False  # even where someone gave uvicorn's logger a handler
        self._closing = self.loop.call_later(HEAD_SECONDS, transport.close)

    def data_received(self, data: bytes) -> None:
        """Stop waiting when a head is whole; wait again for the next one."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self._closing is None:
            self._closing = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing to wait for."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _stop_waiting(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
