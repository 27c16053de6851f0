"""Connections to a store's database, which behave alike on SQLite and on PostgreSQL.

A transaction that writes takes SQLite's write lock at its start, not in the middle, where it could
fail; every commit is synced to the disk before it returns.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from ..memo import become_write_ahead
from .schema import StoreError

WAIT = 30.0  # seconds for others to finish writing


class Database:
    """Transactions of one database; any thread may begin them.

    Args:
        url: SQLAlchemy's; ``sqlite:///path`` or ``postgresql+psycopg://user@host/name``.
        wait: seconds for others to finish writing, and for a server to accept a connection.

    Raises:
        StoreError: no such kind of database; and in every transaction, when it cannot be used.
    """

    def __init__(self, url: str, wait: float = WAIT) -> None:
        try:
            parsed = make_url(url)
            self.name = parsed.render_as_string(hide_password=True)
            self._engine = _engine(url, wait)
        except (ArgumentError, ImportError) as error:
            raise StoreError(
                f"the store cannot be opened ({error}); expected a URL like "
                "sqlite:///ratings.sqlite or postgresql+psycopg://user@host/name"
            ) from error
        sqlite = parsed.get_backend_name() == "sqlite"
        self._file = Path(parsed.database or "") if sqlite else None
        self._inode: tuple[int, int] | None = None
        self._turn = threading.Lock()  # fairer among this process's writers than SQLite's polling

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database."""
        with self._named_errors(), self._engine.connect() as connection:
            yield connection.execution_options(reads=True)

    @contextlib.contextmanager
    def writing(self, durable: bool = True) -> Iterator[Connection]:
        """A transaction that has changed nothing when it fails, and is on disk when it ends.

        One that is not durable may be lost from SQLite when the machine goes down, not when a
        process does; it is on disk with the next durable one.
        """
        with self._named_errors(), self._turn, self._engine.connect() as connection:
            connection.execution_options(durable=durable)
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Close the connections; the next transaction opens its own."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        self._check_file()
        try:
            yield
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise StoreError(
                f"the store {self.name} cannot be used ({cause}); does the database run, may it be "
                "written to, and is there room on its disk?"
            ) from error
        if self._inode is None and self._file is not None:
            self._inode = _inode_of(self._file)

    def _check_file(self) -> None:
        """Refuse a file that is not the one which is open: what is written there is lost."""
        if self._inode is not None and self._file and _inode_of(self._file) != self._inode:
            raise StoreError(
                f"the store {self.name} was removed, or replaced by another, while it was in use; "
                "put it back, or open it again"
            )


def _inode_of(file: Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        found = file.stat()
        return found.st_dev, found.st_ino
    return None


def _engine(url: str, wait: float) -> Engine:
    sqlite = make_url(url).get_backend_name() == "sqlite"
    if sqlite and make_url(url).database in (None, "", ":memory:"):
        raise ArgumentError("SQLite in memory is seen by no other process")
    engine = create_engine(
        url,
        pool_size=10,
        max_overflow=40,  # as many as there are threads of a server, and more
        pool_pre_ping=not sqlite,  # a server that was started again
        hide_parameters=True,  # no sample or note in an error
        connect_args=_waiting(make_url(url), wait),
    )
    if sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _waiting(url: URL, wait: float) -> dict[str, float]:
    """How the driver is told how long to wait."""
    if url.get_backend_name() == "sqlite":
        return {"timeout": wait}
    return {"connect_timeout": round(wait)} if "psycopg" in url.get_driver_name() else {}


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions begin where _begin_sqlite says
    if connection.execute("PRAGMA page_count").fetchone()[0] == 0:  # no one's yet
        become_write_ahead(connection)
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("reads"):
        connection.exec_driver_sql("BEGIN")
        return
    synchronous = "FULL" if options.get("durable") else "NORMAL"
    connection.exec_driver_sql(f"PRAGMA synchronous = {synchronous}")
    connection.exec_driver_sql("BEGIN IMMEDIATE")
