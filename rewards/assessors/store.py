"""The store of ratings: a database that a run, its assessors and whoever looks on share.

What ``rate`` has returned from is on disk. All that changes the queue of a question takes turns
(SQLite has one writer at a time; on PostgreSQL the question's row is locked), so an item is never
handed out more often than it is wanted, and ratings become visible in the order of their ids: who
asks for those after the last one seen misses none.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, insert, select, update

from .access import check_name, digest, is_token, new_token
from .database import WAIT, Database
from .queue import (
    WAITING,
    Assignment,
    Item,
    Refused,
    answered_by,
    assignment_of,
    check_item,
    hand_out,
    keep,
    let_go,
    open_to,
    put,
    sample_ids,
    standing_ratings,
    take_back,
)
from .ratings import ANSWERS, DOMAINS, SKIP, Domain, Form, Rating, RatingSource, check_answer
from .schema import (
    StoreError,
    assessors,
    assignments,
    inserted,
    items,
    prepare,
    questions,
    ratings,
    take_turns,
)

__all__ = [
    "Assessor",
    "Assignment",
    "Item",
    "Progress",
    "Question",
    "Refused",
    "Store",
    "StoreError",
]

_KEY = re.compile(r"[A-Za-z0-9_-]{0,64}")


@dataclass(frozen=True)
class Question:
    """What is asked of every item."""

    id: int
    text: str
    form: Form
    domain: Domain


@dataclass(frozen=True)
class Assessor:
    """Who answers."""

    id: int
    name: str


@dataclass(frozen=True)
class Progress:
    """How many items an assessor answered, and how many there still are to ask."""

    answered: int
    waiting: int


class Store:
    """Questions, their items, assessors and ratings in a database.

    Args:
        url: ``sqlite:///ratings.sqlite``, ``postgresql+psycopg://user@host/name``; tables are made
            where there are none, and brought to this version where they are older.
        wait: seconds for others to finish writing.

    Attributes:
        name: the URL without its password.

    Raises:
        StoreError: the database cannot be used; here and in every method.
    """

    def __init__(self, url: str, wait: float = WAIT) -> None:
        self.url, self.wait = url, wait
        self._database = Database(url, wait)
        self.name = self._database.name
        with self._database.writing() as connection:
            prepare(connection)

    def __reduce__(self) -> tuple[type[Store], tuple[str, float]]:
        return type(self), (self.url, self.wait)

    def close(self) -> None:
        """Close the connections; the next use opens its own."""
        self._database.close()

    def question(self, text: str, *, form: Form, domain: Domain) -> int:
        """The id of a question; the same text, form and domain is the same question.

        Raises:
            ValueError: an empty text, or no such form or domain.
        """
        if not text.strip():
            raise ValueError("the question is empty; expected what the assessors are to be asked")
        if form not in ANSWERS or domain not in DOMAINS:
            raise ValueError(
                f"the form is {form!r} and the domain {domain!r}; expected one of "
                f"{', '.join(ANSWERS)}, and one of {', '.join(DOMAINS)}"
            )
        row = {"text": text, "form": form, "domain": domain}
        with self._database.writing() as connection:
            take_turns(connection)
            same = [questions.c[name] == value for name, value in row.items()]
            known = connection.scalar(select(questions.c.id).where(*same))
            return known or inserted(connection, questions, row)

    def questions(self) -> list[Question]:
        """All of them, the oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(select(questions).order_by(questions.c.id))
            return [Question(**row._mapping) for row in rows]

    def question_of(self, id: int) -> Question:
        """The question of an id.

        Raises:
            ValueError: there is none.
        """
        with self._database.reading() as connection:
            return _question(connection, select(questions).where(questions.c.id == id), id)

    def ask(self, question: int, new: Sequence[Item]) -> int:
        """Put items on the queue of a question; how many of them were not there yet.

        An item that is there takes the priority given now, and the larger number wanted; one of the
        kind ``"repeat"`` is always a further one. A pair of a sample with itself is left out.

        Raises:
            ValueError: an item that does not fit the question; then none is put.
        """
        with self._locked(question) as (connection, asked):
            for item in new:
                check_item(item, asked.form)
            pairs = [(item.left, item.right) for item in new]
            texts = [text for pair in pairs for text in pair if text is not None]
            take_turns(connection)  # samples are shared by questions
            ids = sample_ids(connection, texts, asked.domain)
            return sum(
                put(connection, question, item, ids[left], None if right is None else ids[right])
                for item, (left, right) in zip(new, pairs, strict=True)
            )

    def waiting(self, question: int) -> int:
        """How many items have no answer yet.

        Those that want further answers are not among them: there may be nobody left to give these.
        """
        with self._database.reading() as connection:
            asked = (items.c.question_id == question, WAITING)  # which there is an index of
            return _count_items(connection, *asked, items.c.answered == 0)

    def add_assessor(self, name: str) -> str:
        """The token of an assessor, told this once; asked again, another one replaces it.

        Raises:
            ValueError: no name.
        """
        check_name(name)
        token = new_token()
        with self._database.writing() as connection:
            take_turns(connection)
            known = connection.scalar(select(assessors.c.id).where(assessors.c.name == name))
            row = {"name": name, "token_digest": digest(token)}
            if known is None:
                connection.execute(insert(assessors).values(row))
            else:
                connection.execute(update(assessors).where(assessors.c.id == known).values(row))
        return token

    def revoke(self, name: str) -> None:
        """Take the token from an assessor; what was answered stays.

        Raises:
            ValueError: no such assessor.
        """
        check_name(name)
        with self._database.writing() as connection:
            known = connection.scalar(select(assessors.c.id).where(assessors.c.name == name))
            if known is None:
                names = connection.scalars(select(assessors.c.name).order_by(assessors.c.name))
                raise ValueError(f"there is no assessor {name!r}; known: {', '.join(names)}")
            theirs = update(assessors).where(assessors.c.id == known)
            connection.execute(theirs.values(token_digest=None))
            let_go(connection, known)

    def assessor_of(self, token: str) -> Assessor | None:
        """Whose token it is; None for nobody's."""
        with self._database.reading() as connection:
            query = select(assessors).where(assessors.c.token_digest == digest(token))
            row = connection.execute(query).first()
        if row is None or not is_token(token, row.token_digest):
            return None
        return Assessor(row.id, row.name)

    def assessors(self) -> list[Assessor]:
        """All of them, revoked ones among them, in the order of their ids."""
        with self._database.reading() as connection:
            rows = connection.execute(select(assessors).order_by(assessors.c.id))
            return [Assessor(row.id, row.name) for row in rows]

    def lease(self, question: int, assessor: int, seconds: float = 300) -> Assignment | None:
        """What this assessor is to answer next; None where nothing is left to ask.

        The open assignment if there is one, else the item of the highest priority that this
        assessor has not answered and of which others do not hold as many as are wanted.

        Raises:
            ValueError: no such question.
        """
        until = time.time() + seconds
        with self._locked(question, durable=False) as (connection, _):
            found = hand_out(connection, question, assessor, until)
            return None if found is None else assignment_of(connection, found)

    def rate(
        self, assignment: int, assessor: int, answer: str, note: str = "", key: str = ""
    ) -> int:
        """Keep an answer; the id of the rating, which is on disk when this returns.

        Args:
            assignment: what was answered.
            assessor: who answered.
            answer: in the question's form, or ``"skip"``.
            note: a remark.
            key: up to 64 letters, digits, ``_`` and ``-`` that name this answer: who sends it
                again, for want of a reply, gets the same rating.

        Raises:
            ValueError: no answer of this form.
            Refused: not an assignment of this assessor, one that is answered already, or one that
                expired and went to others.
        """
        if not _KEY.fullmatch(key):
            raise ValueError(f"the key is {key[:80]!r}; expected up to 64 of A-Z a-z 0-9 _ -")
        query = select(items.c.question_id).join(assignments, assignments.c.item_id == items.c.id)
        with self._database.writing() as connection:
            question = connection.scalar(query.where(assignments.c.id == assignment))
            if question is None:
                raise Refused(f"there is no assignment {assignment}; ask for the next one")
            check_answer(_lock(connection, question).form, answer)
            return keep(connection, assignment, assessor, answer, note, key)

    def undo(self, question: int, assessor: int) -> Assignment | None:
        """Withdraw the last rating of this assessor; its assignment, open again, None if none is.

        Raises:
            ValueError: no such question.
        """
        until = time.time() + 300
        with self._locked(question) as (connection, _):
            found = take_back(connection, question, assessor, until)
            return None if found is None else assignment_of(connection, found)

    def progress(self, question: int, assessor: int) -> Progress:
        """How far this assessor is."""
        here = items.c.question_id == question
        done = select(func.count()).where(here, items.c.id == assignments.c.item_id)
        with self._database.reading() as connection:
            answered = connection.scalar(done.where(*answered_by(assessor))) or 0
            return Progress(answered, _count_items(connection, here, *open_to(assessor)))

    def ratings(self, question: int, after: int = 0, *, skips: bool = False) -> list[Rating]:
        """Those with a greater id, withdrawn ones left out, in the order of their ids."""
        query = standing_ratings(question).where(ratings.c.id > after)
        if not skips:
            query = query.where(ratings.c.answer != SKIP)
        with self._database.reading() as connection:
            rows = connection.execute(query)
            return [Rating(**row._mapping) for row in rows]

    def source(self, question: int) -> RatingSource:
        """The ratings of one question, for who learns from them."""
        return _Source(self, question)

    @contextlib.contextmanager
    def _locked(self, question: int, durable: bool = True) -> Iterator[tuple[Connection, Question]]:
        with self._database.writing(durable) as connection:
            yield connection, _lock(connection, question)


@dataclass(frozen=True)
class _Source:
    store: Store
    question: int

    def ratings(self, after: int = 0) -> list[Rating]:
        return self.store.ratings(self.question, after)


def _lock(connection: Connection, id: int) -> Question:
    locking = select(questions).where(questions.c.id == id).with_for_update()
    return _question(connection, locking, id)


def _question(connection: Connection, query: Select[Any], id: int) -> Question:
    row = connection.execute(query).first()
    if row is None:
        raise ValueError(f"there is no question {id}; expected an id that Store.question gave")
    return Question(**row._mapping)


def _count_items(connection: Connection, *conditions: ColumnElement[bool]) -> int:
    return connection.scalar(select(func.count()).select_from(items).where(*conditions)) or 0
