"""The queue of a question: what is put on it, who is handed what, and what comes back.

Every function works within a transaction in which the question is locked.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, insert, select, update

from ..melodies import read_melody, spell_event
from .ratings import KINDS, Kind, check_answer
from .schema import assessors, assignments, inserted, items, ratings, samples

_CHUNK = 500  # of an IN: below the variables that any SQLite allows
WAITING = items.c.answered < items.c.wanted
_left, _right = samples.alias("left_sample"), samples.alias("right_sample")


class Refused(ValueError):  # noqa: N818 - nothing is wrong with what was sent
    """What is asked for is not possible as things stand; the message says what to do."""


@dataclass(frozen=True)
class Item:
    """A sample, or a pair, to ask about."""

    left: str
    right: str | None = None
    kind: Kind = "random"
    gold: str | None = None
    """The answer that is expected, of the kind ``"gold"``."""
    wanted: int = 1
    """How many answers are wanted, each of another assessor."""
    priority: float = 0.0
    """The highest is asked first."""


@dataclass(frozen=True)
class Assignment:
    """An item in the hands of an assessor until it expires."""

    id: int
    left: str
    right: str | None
    expires: float
    """In seconds since the epoch."""


def check_item(item: Item, form: str) -> None:
    """Refuse what does not fit a question of this form.

    Raises:
        ValueError: it does not.
    """
    if (item.right is not None) != (form == "pair"):
        raise ValueError(
            f"an item has {'one sample' if item.right is None else 'two samples'}, and the form of "
            f"the question is {form!r}; expected two for 'pair', one for the others"
        )
    if item.kind not in KINDS or (item.gold is not None) != (item.kind == "gold"):
        raise ValueError(
            f"an item has the kind {item.kind!r} and the expected answer {item.gold!r}; expected "
            f"one of {', '.join(KINDS)}, and an answer for 'gold' alone"
        )
    if item.gold is not None:
        check_answer(form, item.gold)
    if item.wanted < 1 or not math.isfinite(item.priority):
        raise ValueError(
            f"an item is wanted {item.wanted} times with the priority {item.priority}; expected at "
            "least once, and a finite number"
        )


def put(connection: Connection, question: int, item: Item, left: int, right: int | None) -> bool:
    """Put an item with these samples on the queue; whether it was not there yet."""
    if left == right:
        return False
    same = (items.c.question_id == question, items.c.left_id == left, items.c.right_id == right)
    known = connection.execute(select(items).where(*same).order_by(items.c.repetition)).all()
    if known and item.kind != "repeat":
        wanted = max(known[0].wanted, item.wanted)
        row = update(items).where(items.c.id == known[0].id)
        connection.execute(row.values(wanted=wanted, priority=item.priority))
        return False
    connection.execute(
        insert(items).values(
            question_id=question,
            left_id=left,
            right_id=right,
            repetition=known[-1].repetition + 1 if known else 0,
            kind=item.kind,
            gold=item.gold,
            wanted=item.wanted,
            answered=0,
            priority=item.priority,
        )
    )
    return True


def hand_out(connection: Connection, question: int, assessor: int, until: float) -> int | None:
    """The assignment that this assessor is to answer next; None where nothing is left."""
    held = select(assignments.c.id).where(
        items.c.id == assignments.c.item_id,
        items.c.question_id == question,
        assignments.c.assessor_id == assessor,
        assignments.c.answered.is_(False),
        assignments.c.expires > time.time(),
    )
    if (known := connection.scalar(held.limit(1))) is not None:
        return _renewed(connection, known, until)
    free = [items.c.question_id == question, *open_to(assessor), _not_all_held(assessor)]
    best = select(items.c.id).where(*free).order_by(items.c.priority.desc(), items.c.id).limit(1)
    item = connection.scalar(best)
    if item is None:
        return None
    theirs = (assignments.c.item_id == item, assignments.c.assessor_id == assessor)
    if (known := connection.scalar(select(assignments.c.id).where(*theirs))) is not None:
        return _renewed(connection, known, until)
    row = {"item_id": item, "assessor_id": assessor, "answered": False, "expires": until}
    return inserted(connection, assignments, row)


def keep(
    connection: Connection, assignment: int, assessor: int, answer: str, note: str, key: str
) -> int:
    """Keep the answer of an assignment; the id of the rating, or of the one that has this key.

    Raises:
        Refused: not this assessor's, answered already, or expired and handed to others.
    """
    if key and (sent := _rating_of_key(connection, assessor, key)) is not None:
        if (sent.assignment_id, sent.answer) != (assignment, answer):
            raise Refused(f"the key {key!r} is that of another answer; send each with its own")
        return int(sent.id)
    here = (assignments.c.id == assignment, assignments.c.assessor_id == assessor)
    found = connection.execute(select(assignments).where(*here)).first()
    if found is None:
        raise Refused("this sample is not yours to answer; ask for the next one")
    if found.answered:
        raise Refused("this sample is answered already; ask for the next one, or undo")
    late = select(items.c.id).where(items.c.id == found.item_id, _not_all_held(assessor))
    if connection.scalar(late) is None:
        raise Refused("this sample took too long and went to someone else; ask for the next one")
    connection.execute(update(assignments).where(*here).values(answered=True))
    _count_answers(connection, found.item_id, 1)
    row = {"assignment_id": assignment, "assessor_id": assessor, "answer": answer, "note": note}
    row |= {"at": time.time(), "key": key or None, "withdrawn": False}
    return inserted(connection, ratings, row)


def _rating_of_key(connection: Connection, assessor: int, key: str) -> Row[Any] | None:
    query = select(ratings).where(ratings.c.assessor_id == assessor, ratings.c.key == key)
    return connection.execute(query).first()


def take_back(connection: Connection, question: int, assessor: int, until: float) -> int | None:
    """Withdraw the last rating of an assessor; its assignment, which is open again."""
    last = (
        select(ratings.c.id, ratings.c.assignment_id, assignments.c.item_id)
        .join(assignments, assignments.c.id == ratings.c.assignment_id)
        .join(items, items.c.id == assignments.c.item_id)
        .where(items.c.question_id == question, ratings.c.assessor_id == assessor)
        .where(ratings.c.withdrawn.is_(False))
        .order_by(ratings.c.id.desc())
    )
    found = connection.execute(last.limit(1)).first()
    if found is None:
        return None
    let_go(connection, assessor)
    connection.execute(update(ratings).where(ratings.c.id == found.id).values(withdrawn=True))
    row = update(assignments).where(assignments.c.id == found.assignment_id)
    connection.execute(row.values(answered=False))
    _count_answers(connection, found.item_id, -1)
    return _renewed(connection, found.assignment_id, until)


def let_go(connection: Connection, assessor: int) -> None:
    """Whatever an assessor holds may go to others."""
    held = (assignments.c.assessor_id == assessor, assignments.c.answered.is_(False))
    connection.execute(update(assignments).where(*held).values(expires=0.0))


def answered_by(assessor: int) -> tuple[ColumnElement[bool], ...]:
    """Assignments that an assessor answered, skipped ones among them."""
    return assignments.c.assessor_id == assessor, assignments.c.answered


def open_to(assessor: int) -> tuple[ColumnElement[bool], ...]:
    """Items that wait for answers, and have none of this assessor's."""
    theirs = select(assignments.c.item_id).where(*answered_by(assessor))
    return WAITING, items.c.id.not_in(theirs)


def assignment_of(connection: Connection, id: int) -> Assignment:
    """An assignment with the texts of its samples."""
    texts = (_left.c.text.label("left"), _right.c.text.label("right"))
    query = (
        select(assignments.c.id, *texts, assignments.c.expires)
        .join(items, items.c.id == assignments.c.item_id)
        .join(_left, _left.c.id == items.c.left_id)
        .outerjoin(_right, _right.c.id == items.c.right_id)
        .where(assignments.c.id == id)
    )
    return Assignment(**connection.execute(query).one()._mapping)


def standing_ratings(question: int) -> Select[Any]:
    """The answers that were not withdrawn, skips among them, with the fields of a ``Rating``."""
    fields = (ratings.c.answer, items.c.kind, ratings.c.at, ratings.c.note, items.c.gold)
    texts = (_left.c.text.label("left"), _right.c.text.label("right"))
    return (
        select(ratings.c.id, assessors.c.name.label("assessor"), *texts, *fields)
        .join(assessors, assessors.c.id == ratings.c.assessor_id)
        .join(assignments, assignments.c.id == ratings.c.assignment_id)
        .join(items, items.c.id == assignments.c.item_id)
        .join(_left, _left.c.id == items.c.left_id)
        .outerjoin(_right, _right.c.id == items.c.right_id)
        .where(items.c.question_id == question, ratings.c.withdrawn.is_(False))
        .order_by(ratings.c.id)
    )


def _not_all_held(assessor: int) -> ColumnElement[bool]:
    """Items of which not as many are in the hands of others as are wanted still."""
    held = (
        select(func.count())
        .select_from(assignments)
        .where(
            assignments.c.item_id == items.c.id,
            assignments.c.assessor_id != assessor,
            assignments.c.answered.is_(False),
            assignments.c.expires > time.time(),
        )
        .correlate(items)
        .scalar_subquery()
    )
    return items.c.answered + held < items.c.wanted


def _renewed(connection: Connection, assignment: int, until: float) -> int:
    row = update(assignments).where(assignments.c.id == assignment)
    connection.execute(row.values(expires=until))
    return assignment


def _count_answers(connection: Connection, item: int, more: int) -> None:
    row = update(items).where(items.c.id == item)
    connection.execute(row.values(answered=items.c.answered + more))


def _canonical(text: str, domain: str) -> str:
    """The form in which equal samples are equal; the text itself where there is none.

    Of a melody its events in their one spelling, not transposed: assessors hear the pitch.
    """
    if domain == "molecules":
        from ..molecules.base import canonical_smiles  # RDKit is an extra

        return canonical_smiles(text) or text
    if domain == "melodies":
        return " ".join(spell_event(*event) for event in read_melody(text)) or text
    return text


def sample_ids(connection: Connection, texts: Iterable[str], domain: str) -> dict[str, int]:
    """The ids of samples by their texts; one that is there under another spelling is the same."""
    digest_of = {text: _digest(text, domain) for text in texts}
    known = _known_samples(connection, list(digest_of.values()))
    rows: dict[str, dict[str, str]] = {}
    for text, digest in digest_of.items():
        if digest not in known:
            rows.setdefault(digest, {"digest": digest, "text": text})  # as it was spelt first
    if rows:
        connection.execute(insert(samples), list(rows.values()))
        known |= _known_samples(connection, list(rows))
    return {text: known[d] for text, d in digest_of.items()}


def _known_samples(connection: Connection, digests: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for start in range(0, len(digests), _CHUNK):
        some = samples.c.digest.in_(digests[start : start + _CHUNK])
        rows = connection.execute(select(samples.c.digest, samples.c.id).where(some))
        found.update((row.digest, row.id) for row in rows)
    return found


def _digest(text: str, domain: str) -> str:
    form = f"{domain}\n{_canonical(text, domain)}"
    return hashlib.sha256(form.encode("utf-8", "surrogatepass")).hexdigest()
