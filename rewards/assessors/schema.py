"""The tables of a store of ratings, their version, and the way from older versions to this one.

A question has items, each a sample or a pair; an assignment is an item that was handed to an
assessor, until it expires; a rating is its answer. A rating that was withdrawn stays as a row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)

VERSION = 2


class StoreError(OSError):
    """The database of a store cannot be used; the message names it."""


class Quoted(TypeDecorator[str]):
    """Text as JSON: NUL, control characters and lone surrogates survive in any database."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Text to its JSON."""
        return None if value is None else json.dumps(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """The inverse."""
        return None if value is None else str(json.loads(value))


metadata = MetaData()

version = Table("assessor_store", metadata, Column("version", Integer, nullable=False))

questions = Table(
    "assessor_questions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("text", Quoted, nullable=False),
    Column("form", String(16), nullable=False),
    Column("domain", String(16), nullable=False),
)

samples = Table(
    "assessor_samples",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),  # of its canonical form
    Column("text", Quoted, nullable=False),
)

items = Table(
    "assessor_items",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("question_id", ForeignKey(questions.c.id), nullable=False),
    Column("left_id", ForeignKey(samples.c.id), nullable=False),
    Column("right_id", ForeignKey(samples.c.id)),
    Column("repetition", Integer, nullable=False),  # 0, or which of the repeated askings it is
    Column("kind", String(16), nullable=False),
    Column("gold", String(16)),
    Column("wanted", Integer, nullable=False),
    Column("answered", Integer, nullable=False),
    Column("priority", Float, nullable=False),
)
Index(
    "assessor_items_once",
    items.c.question_id,
    items.c.left_id,
    func.coalesce(items.c.right_id, text("0")),
    items.c.repetition,
    unique=True,
)
_waiting = items.c.answered < items.c.wanted
_in_order = Index(  # the order in which they are asked
    "assessor_items_waiting",
    items.c.question_id,
    items.c.priority.desc(),
    items.c.id,
    sqlite_where=_waiting,
    postgresql_where=_waiting,
)

assessors = Table(
    "assessor_people",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("token_digest", String(64), unique=True),  # none: revoked
)

assignments = Table(
    "assessor_assignments",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("item_id", ForeignKey(items.c.id), nullable=False),
    Column("assessor_id", ForeignKey(assessors.c.id), nullable=False),
    Column("answered", Boolean, nullable=False),
    Column("expires", Float, nullable=False),
    UniqueConstraint("item_id", "assessor_id"),
)
Index("assessor_assignments_of", assignments.c.assessor_id, assignments.c.answered)

ratings = Table(
    "assessor_ratings",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("assignment_id", ForeignKey(assignments.c.id), nullable=False),
    Column("assessor_id", ForeignKey(assessors.c.id), nullable=False),
    Column("answer", String(16), nullable=False),
    Column("note", Quoted, nullable=False),
    Column("at", Float, nullable=False),
    Column("key", String(64)),
    Column("withdrawn", Boolean, nullable=False),
    UniqueConstraint("assessor_id", "key"),
)
_stands = ratings.c.withdrawn.is_(False)
Index(  # at most one answer of an assignment stands
    "assessor_ratings_once",
    ratings.c.assignment_id,
    unique=True,
    sqlite_where=_stands,
    postgresql_where=_stands,
)


def prepare(connection: Connection) -> None:
    """Make the tables where there are none, and bring older ones to this version.

    Raises:
        StoreError: they are of a newer version, or the file is another program's; nothing changes.
    """
    take_turns(connection)
    tables = inspect(connection).get_table_names()
    if version.name not in tables:
        if tables and connection.dialect.name == "sqlite":
            raise StoreError(
                f"the file {connection.engine.url.database} holds other tables ({tables[0]}, ...); "
                "name another file"
            )
        metadata.create_all(connection)
        connection.execute(insert(version).values(version=VERSION))
        return
    found = connection.scalar(select(version.c.version)) or 0
    if not 1 <= found <= VERSION:
        raise StoreError(
            f"the store has tables of version {found}, and this tokengym knows 1 to {VERSION}; use "
            "the tokengym that wrote it, or a newer one. Nothing in it was changed"
        )
    for older in range(found, VERSION):
        _MIGRATIONS[older](connection)
        connection.execute(update(version).values(version=older + 1))


def _order_waiting_items(connection: Connection) -> None:
    _in_order.drop(connection)
    _in_order.create(connection)


_MIGRATIONS = {1: _order_waiting_items}  # from this version to the next; what it says, stays
_LOCK = 0x746F6B67


def take_turns(connection: Connection) -> None:
    """Wait for other transactions that took turns; SQLite has one writer at a time anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))


def inserted(connection: Connection, table: Table, row: Mapping[str, object]) -> int:
    """Insert a row; the id that it gets."""
    return int(connection.execute(insert(table).values(**row).returning(table.c.id)).scalar_one())
