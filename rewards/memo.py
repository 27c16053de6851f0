"""Memos: scores by key, so that what was scored once is not scored again.

``Memo`` keeps them in memory, ``SQLiteMemo`` in a file that survives the process and that several
processes use at once. Failures are not kept by either, so what failed is tried again.

The file is SQLite's, in write-ahead mode: readers do not wait, writers wait for each other, and
what ``put_many`` has returned from is there after the process was killed (not after a power cut,
which may take the last transactions, never the file). That needs a local disk, not a network's.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from .returned import LARGEST

_WAIT = 60.0  # seconds for another process to finish writing
_CHUNK = 500  # keys a SELECT: below the variables that any SQLite allows
_APPLICATION = 0x746F6B67  # "tokg", in the file's header
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS namespaces (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL)",
    "CREATE TABLE IF NOT EXISTS scores (namespace INTEGER NOT NULL, key TEXT NOT NULL, "
    "value REAL NOT NULL, PRIMARY KEY (namespace, key)) WITHOUT ROWID",
    f"PRAGMA application_id = {_APPLICATION}",
)
_FORKED: list[sqlite3.Connection] = []  # never to be touched by a child, not even closed


class MemoError(OSError):
    """The file of a memo cannot be used; the message names it."""


class Memo:
    """Scores in memory."""

    def __init__(self) -> None:
        self._values: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._values)

    def get_many(self, keys: Sequence[str]) -> list[float | None]:
        """The score of each key, None where it is not known."""
        return list(map(self._values.get, keys))

    def put_many(self, scores: Mapping[str, float]) -> None:
        """Keep scores."""
        self._values.update(scores)

    def state(self) -> dict[str, Tensor]:
        """All of it as tensors, for a checkpoint."""
        keys = json.dumps(list(self._values)).encode()
        values = list(self._values.values())
        return {
            "keys": torch.frombuffer(bytearray(keys), dtype=torch.uint8),
            "values": torch.tensor(values, dtype=torch.float64),
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of ``state``."""
        keys = json.loads(tensors["keys"].numpy().tobytes())
        self._values = dict(zip(keys, tensors["values"].tolist(), strict=True))


class SQLiteMemo(Memo):
    """Scores in a file, under a namespace of their own.

    Args:
        path: the file; made when it is missing.
        namespace: of these scores; another one's are never seen.

    Raises:
        MemoError: the file cannot be used, or is something else; here and in every method.
    """

    def __init__(self, path: str | Path, namespace: str) -> None:
        self.path, self.namespace = Path(path), namespace
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._process = os.getpid()
        with self._connected():
            pass  # a file that cannot be used should say so before it is needed

    def __reduce__(self) -> tuple[type[SQLiteMemo], tuple[Path, str]]:
        return type(self), (self.path, self.namespace)

    def __len__(self) -> int:
        with self._connected() as connection:
            query = "SELECT COUNT(*) FROM scores WHERE namespace = ?"
            return int(connection.execute(query, (self._id,)).fetchone()[0])

    def get_many(self, keys: Sequence[str]) -> list[float | None]:
        """The score of each key, None where it is not known; one SELECT for 500 of them."""
        stored = [_stored(key) for key in keys]
        found: dict[str | bytes, float] = {}
        with self._connected() as connection:
            for start in range(0, len(keys), _CHUNK):
                chunk = stored[start : start + _CHUNK]
                marks = ",".join("?" * len(chunk))
                query = f"SELECT key, value FROM scores WHERE namespace = ? AND key IN ({marks})"
                found.update(connection.execute(query, (self._id, *chunk)))
        for key, value in found.items():
            if type(value) is not float or not abs(value) <= LARGEST:
                raise MemoError(
                    f"the memo {self.path} holds {value!r} as the score of {key!r}, which is no "
                    "finite number; was it written by another program? Delete that row, or name "
                    "another file"
                )
        return list(map(found.get, stored))

    def put_many(self, scores: Mapping[str, float]) -> None:
        """Keep scores, in one transaction; a score that is there already stays."""
        rows = [(self._id, _stored(key), value) for key, value in scores.items()]
        with self._connected() as connection, _transaction(connection):
            connection.executemany("INSERT OR IGNORE INTO scores VALUES (?, ?, ?)", rows)

    def state(self) -> dict[str, Tensor]:
        """Nothing: it is in the file."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Nothing: it is in the file."""

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        if self._connection is not None and self._process == os.getpid():
            self._connection.close()
        self._connection = None

    def __del__(self) -> None:
        if hasattr(self, "_connection"):
            self.close()

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """The connection of this process, for one thread at a time."""
        with self._lock:
            if self._connection is not None and self._process != os.getpid():
                _FORKED.append(self._connection)
                self._connection = None
            try:
                if self._connection is None:
                    self._connection, self._process = self._open(), os.getpid()
                yield self._connection
            except sqlite3.Error as error:
                raise MemoError(
                    f"the memo {self.path} cannot be used ({error}); is it a file of scores in a "
                    "folder that can be written to, on a disk with room? Or name another file"
                ) from error

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=_WAIT, isolation_level=None, check_same_thread=False
        )
        try:
            become_write_ahead(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            with _transaction(connection):
                _refuse_other_files(connection)
                for statement in _SCHEMA:
                    connection.execute(statement)
                row = (self.namespace,)
                connection.execute("INSERT OR IGNORE INTO namespaces (name) VALUES (?)", row)
                found = connection.execute("SELECT id FROM namespaces WHERE name = ?", row)
                self._id = int(found.fetchone()[0])
        except BaseException:
            connection.close()
            raise
        return connection


def _stored(key: str) -> str | bytes:
    """A key as it stands in the file: text, or a blob where half a pair of UTF-16 is in it."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return key.encode("utf-8", "surrogatepass")
    return key


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")  # waits for its turn here, not in the middle
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def become_write_ahead(connection: sqlite3.Connection) -> None:
    """Switch the mode; SQLite does not wait for others who open the file in the same moment."""
    deadline = time.monotonic() + _WAIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _refuse_other_files(connection: sqlite3.Connection) -> None:
    used = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
    if used and connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
        raise sqlite3.DatabaseError("it is another program's database")
