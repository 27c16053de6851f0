"""A PostgreSQL server for the tests, in a folder of its own, reached by a socket file alone."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_schemas = itertools.count()


def running_server() -> Iterator[str]:
    """Start a server, give its URL, stop it; skips the test where none can be started."""
    initdb = shutil.which("initdb") or next(
        map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), None
    )
    if initdb is None:
        pytest.skip("no PostgreSQL here: initdb is not found")
    programs = Path(initdb).resolve().parent
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # short: a socket's path has 107 characters
    user = _unprivileged(folder)
    try:
        arguments = ["-D", f"{folder}/data", "-U", "tokengym", "-A", "trust", "--no-sync"]
        made = subprocess.run(
            [f"{programs}/initdb", *arguments, "-E", "UTF8", "--locale=C"],
            cwd=folder,
            capture_output=True,
            text=True,
            **user,
        )
        if made.returncode:
            pytest.skip(f"initdb cannot make a PostgreSQL cluster: {made.stderr[-300:]}")
        # Processes are killed here, not the machine, and then the system writes what it was given.
        options = ["-c", "listen_addresses=", "-c", "fsync=off", "-k", str(folder)]
        with (folder / "log").open("wb") as log:
            server: subprocess.Popen[bytes] = subprocess.Popen(
                [f"{programs}/postgres", "-D", f"{folder}/data", *options],
                cwd=folder,
                stdout=log,
                stderr=log,
                **user,
            )
        try:
            url = f"postgresql+psycopg://tokengym@/postgres?host={folder}"
            _wait_for(server, url, folder / "log")
            yield url
        finally:
            server.send_signal(signal.SIGINT)  # ends the connections that are open
            server.wait(timeout=30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def in_new_schema(url: str) -> str:
    """The URL of an empty place on this server."""
    name = f"test{next(_schemas)}"
    _execute(url, f"CREATE SCHEMA {name}")
    return f"{url}&options=-csearch_path%3D{name}"


def _execute(url: str, command: str) -> None:
    import psycopg

    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(command.encode())


def _unprivileged(folder: Path) -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid():
        return {}
    entry = pwd.getpwnam("nobody")
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _wait_for(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    import psycopg

    deadline = time.monotonic() + 60
    while server.poll() is None and time.monotonic() < deadline:
        try:
            return _execute(url, "SELECT 1")
        except psycopg.OperationalError:
            time.sleep(0.1)
    pytest.skip(f"PostgreSQL does not start: {log.read_text(errors='replace')[-300:]}")
