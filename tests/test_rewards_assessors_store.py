"""The store of ratings, on SQLite and on PostgreSQL: nothing lost, doubled or handed out twice."""

from __future__ import annotations

import pickle
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra 'assessors'")

from tokengym.rewards.assessors.store import Assignment, Item, Refused, Store, StoreError

HOSTILE = [
    "<script>alert(1)</script>",
    "<svg onload=alert(1)>",
    "\x00\x01\x1b[2J\u202e\ufeff",
    "\ud800 alone",
    "'; DROP TABLE assessor_ratings; --",
    "x" * 1_000_000,
]
VERSION_1 = Path(__file__).parent / "assessors_version_1.sql"


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    made = Store(database)
    yield made
    made.close()


def asking(store: Store, *items: Item, people: int = 1) -> tuple[int, list[int]]:
    """A question about texts with these items, and its assessors."""
    question = store.question("Which?", form="pair", domain="text")
    store.ask(question, items)
    found = [store.assessor_of(store.add_assessor(f"person {i}")) for i in range(people)]
    return question, [one.id for one in found if one is not None]


def leased(store: Store, question: int, assessor: int, seconds: float = 300) -> Assignment:
    found = store.lease(question, assessor, seconds)
    assert found is not None
    return found


def test_same_question_is_asked_once(store: Store) -> None:
    first = store.question("Which?", form="pair", domain="text")
    assert store.question("Which?", form="pair", domain="text") == first
    assert store.question("Which?", form="scale", domain="text") != first
    assert [q.text for q in store.questions()] == ["Which?", "Which?"]
    assert store.question_of(first).form == "pair"


@pytest.mark.parametrize(
    ("domain", "one", "same"),
    [
        ("molecules", "CCO", "OCC"),
        ("melodies", "C4:2/8 r:1/4", "C4:1/4  r:2/8"),
        ("text", "no molecule", "no molecule"),
    ],
)
def test_samples_are_told_apart_by_their_canonical_form(
    store: Store, domain: str, one: str, same: str
) -> None:
    if domain == "molecules":
        pytest.importorskip("rdkit")
    question = store.question("How good?", form="scale", domain=domain)  # type: ignore[arg-type]
    assert store.ask(question, [Item(one), Item(same)]) == 1
    assert store.ask(question, [Item(same)]) == 0
    assert store.waiting(question) == 1
    person = store.assessor_of(store.add_assessor("anna"))
    assert person is not None
    assert leased(store, question, person.id).left == one  # as it was spelt first


def test_melodies_are_not_transposed(store: Store) -> None:
    question = store.question("How good?", form="scale", domain="melodies")
    assert store.ask(question, [Item("C4:1/4 D4:1/4"), Item("D4:1/4 E4:1/4")]) == 2


def test_an_item_once_but_for_repeats(store: Store) -> None:
    question, _ = asking(store, Item("a", "b"))
    again = [Item("a", "b", kind="informed"), Item("b", "a"), Item("c", "c"), Item("", "a")]
    assert store.ask(question, again) == 2  # the other way round is another; with itself none
    assert store.ask(question, [Item("a", "b", kind="repeat")] * 2) == 2
    assert store.waiting(question) == 5


def test_what_wants_further_answers_waits_no_more_but_is_handed_out(store: Store) -> None:
    question, (anna, ben) = asking(store, Item("a", "b", wanted=2), people=2)
    assert store.waiting(question) == 1
    store.rate(leased(store, question, anna).id, anna, "left")
    assert store.waiting(question) == 0
    assert leased(store, question, ben).left == "a"


def test_what_does_not_fit_the_question_is_refused_whole(store: Store) -> None:
    question, _ = asking(store)
    for wrong in (
        Item("a"),
        Item("a", "b", wanted=0),
        Item("a", "b", priority=float("nan")),
        Item("a", "b", kind="gold"),
        Item("a", "b", gold="left"),
        Item("a", "b", kind="gold", gold="yes"),
        Item("a", "b", kind="mine"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match="expected"):
            store.ask(question, [Item("a", "c"), wrong])
    assert store.waiting(question) == 0
    with pytest.raises(ValueError, match="no question 99"):
        store.ask(99, [])
    with pytest.raises(ValueError, match="empty"):
        store.question(" ", form="pair", domain="text")
    with pytest.raises(ValueError, match="expected one of"):
        store.question("Which?", form="best", domain="text")  # type: ignore[arg-type]


def test_the_highest_priority_first_and_the_open_lease_again(store: Store) -> None:
    question, (anna,) = asking(store, Item("a", "b"), Item("c", "d", priority=2.0), Item("e", "f"))
    first = leased(store, question, anna)
    assert (first.left, first.right) == ("c", "d")
    assert leased(store, question, anna).id == first.id
    store.ask(question, [Item("e", "f", priority=1.0)])  # what is there takes the priority
    store.rate(first.id, anna, "left")
    order = []
    for _ in range(2):
        found = leased(store, question, anna)
        order.append(found.left)
        store.rate(found.id, anna, "equal")
    assert order == ["e", "a"]
    assert store.lease(question, anna) is None


def test_leases_expire(store: Store) -> None:
    question, (anna, ben) = asking(store, Item("a", "b"), people=2)
    held = leased(store, question, anna)
    assert store.lease(question, ben) is None
    assert leased(store, question, anna, seconds=-1).id == held.id  # expired at once
    taken = leased(store, question, ben)
    with pytest.raises(Refused, match="went to someone else"):
        store.rate(held.id, anna, "left")
    store.rate(taken.id, ben, "right")
    assert [(r.assessor, r.answer) for r in store.ratings(question)] == [("person 1", "right")]


def test_a_late_answer_counts_where_nobody_took_its_place(store: Store) -> None:
    question, (anna,) = asking(store, Item("a", "b"))
    late = leased(store, question, anna, seconds=-1)
    assert store.rate(late.id, anna, "left") > 0


def test_no_more_leases_than_wanted_whoever_asks_at_once(database: str) -> None:
    stores = [Store(database) for _ in range(3)]  # as three processes would be
    wanted, pairs, people = 2, 6, 12
    items = [Item(f"left {i}", f"right {i}", wanted=wanted) for i in range(pairs)]
    question, everyone = asking(stores[0], *items, people=people)
    together = threading.Barrier(people)

    def take(place: int) -> Assignment | None:
        together.wait()
        return stores[place % 3].lease(question, everyone[place])

    with ThreadPoolExecutor(people) as pool:
        found = [one for one in pool.map(take, range(people)) if one is not None]
    assert Counter(one.left for one in found) == {f"left {i}": wanted for i in range(pairs)}
    for one in stores:
        one.close()


def test_the_same_key_is_the_same_rating(store: Store) -> None:
    question, (anna, ben) = asking(store, Item("a", "b", wanted=2), Item("c", "d"), people=2)
    first = leased(store, question, anna)
    with ThreadPoolExecutor(4) as pool:
        sent = [pool.submit(store.rate, first.id, anna, "left", "hm", "k1") for _ in range(4)]
        assert len({one.result() for one in sent}) == 1
    second = leased(store, question, anna)
    with pytest.raises(Refused, match="another answer"):
        store.rate(second.id, anna, "left", key="k1")
    with pytest.raises(Refused, match="answered already"):
        store.rate(first.id, anna, "left", key="k2")
    other = leased(store, question, ben)
    store.rate(other.id, ben, "right", key="k1")  # keys are an assessor's own
    assert [(r.answer, r.note) for r in store.ratings(question)] == [("left", "hm"), ("right", "")]


def test_answers_without_a_key_are_told_apart(store: Store) -> None:
    question, (anna,) = asking(store, Item("a", "b"), Item("c", "d"))
    ids = [store.rate(leased(store, question, anna).id, anna, "left") for _ in range(2)]
    assert ids == sorted(set(ids))


def test_undo_opens_the_last_one_again(store: Store) -> None:
    question, (anna, ben) = asking(store, Item("a", "b", priority=1.0), Item("c", "d"), people=2)
    assert store.undo(question, anna) is None
    first = leased(store, question, anna)
    before = store.rate(first.id, anna, "left", key="k1")
    second = leased(store, question, anna)
    assert store.lease(question, ben) is None
    again = store.undo(question, anna)
    assert again is not None
    assert (again.id, again.left) == (first.id, "a")
    assert leased(store, question, anna).id == first.id
    assert leased(store, question, ben).left == second.left  # was let go
    assert store.ratings(question) == []
    assert store.undo(question, anna) is None
    assert store.rate(first.id, anna, "left", key="k1") == before  # a reply that was lost: no more
    assert store.ratings(question) == []
    after = store.rate(first.id, anna, "right", key="k2")
    assert [(r.id, r.answer) for r in store.ratings(question)] == [(after, "right")]
    assert after > before


def test_skips_are_answers_that_are_not_learnt_from(store: Store) -> None:
    question, (anna,) = asking(store, Item("a", "b"), Item("c", "d"))
    store.rate(leased(store, question, anna).id, anna, "skip")
    progress = store.progress(question, anna)
    assert (progress.answered, progress.waiting) == (1, 1)
    last = store.rate(leased(store, question, anna).id, anna, "equal")
    assert [r.id for r in store.ratings(question)] == [last]
    assert store.ratings(question, after=last) == []
    assert store.waiting(question) == 0
    assert [r.answer for r in store.source(question).ratings()] == ["equal"]


def test_gold_comes_back_with_its_rating(store: Store) -> None:
    question, (anna,) = asking(store, Item("a", "b", kind="gold", gold="left"))
    store.rate(leased(store, question, anna).id, anna, "right")
    (found,) = store.ratings(question)
    assert (found.kind, found.gold, found.answer) == ("gold", "left", "right")


def test_what_is_refused(store: Store) -> None:
    question, (anna, ben) = asking(store, Item("a", "b"), people=2)
    mine = leased(store, question, anna)
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: store.rate(99, anna, "left"), "no assignment 99"),
        (lambda: store.rate(mine.id, ben, "left"), "not yours"),
        (lambda: store.rate(mine.id, anna, "yes"), "expected one of 'left', 'right'"),
        (lambda: store.rate(mine.id, anna, "left", key="\x00"), "the key is"),
        (lambda: store.rate(mine.id, anna, "left", key="k" * 65), "the key is"),
        (lambda: store.lease(99, anna), "no question 99"),
        (lambda: store.revoke("nobody"), "no assessor 'nobody'; known: person 0, person 1"),
        (lambda: store.add_assessor("a\nb"), "name"),
        (lambda: store.add_assessor(""), "name"),
    ]
    for call, problem in calls:
        with pytest.raises(ValueError, match=problem):
            call()
    assert store.ratings(question) == []


def test_hostile_texts_come_back_as_they_were(store: Store) -> None:
    items = [Item(text, f"{text}!", priority=-i) for i, text in enumerate(HOSTILE)]
    question, (anna,) = asking(store, *items)
    for text in HOSTILE:
        found = leased(store, question, anna)
        assert (found.left, found.right) == (text, f"{text}!")
        store.rate(found.id, anna, "left", note=text)
    assert [(r.left, r.note) for r in store.ratings(question)] == [(t, t) for t in HOSTILE]


def test_who_asks_for_what_came_after_misses_none(database: str) -> None:
    store, people, each = Store(database), 6, 5
    items = [Item(f"l{i}", f"r{i}", wanted=people) for i in range(each)]
    question, everyone = asking(store, *items, people=people)
    reader, done = Store(database), threading.Event()
    seen: list[int] = []

    def read() -> None:
        last = 0
        while True:
            ended = done.is_set()
            new = reader.ratings(question, after=last)
            seen.extend(r.id for r in new)
            last = max([last, *(r.id for r in new)])
            if ended:
                return

    def answer(assessor: int) -> list[int]:
        own = Store(database)
        ids = [own.rate(leased(own, question, assessor).id, assessor, "left") for _ in range(each)]
        own.close()
        return ids

    watching = threading.Thread(target=read)
    watching.start()
    with ThreadPoolExecutor(people) as pool:
        given = [id for ids in pool.map(answer, everyone) for id in ids]
    done.set()
    watching.join()
    assert seen == sorted(given)
    assert len(given) == people * each
    for one in (store, reader):
        one.close()


def test_tokens(store: Store) -> None:
    tokens = [store.add_assessor(name) for name in ("anna", "ben", "anna")]
    assert len(set(tokens)) == 3
    assert all(len(token) >= 43 for token in tokens)  # 256 bits
    assert store.assessor_of(tokens[0]) is None  # replaced
    found = store.assessor_of(tokens[2])
    assert found is not None
    assert found.name == "anna"
    for wrong in ("", "x", tokens[2] + "=", tokens[2][:-1], "\x00", "\ud800"):
        assert store.assessor_of(wrong) is None
    store.revoke("anna")
    store.revoke("anna")  # once more does no harm
    assert store.assessor_of(tokens[2]) is None
    assert store.assessor_of(tokens[1]) is not None
    assert [one.name for one in store.assessors()] == ["anna", "ben"]


def test_revoking_lets_go_of_what_was_held(store: Store) -> None:
    question, (anna, ben) = asking(store, Item("a", "b"), people=2)
    held = leased(store, question, anna)
    store.revoke("person 0")
    assert leased(store, question, ben).left == "a"
    with pytest.raises(Refused):
        store.rate(held.id, anna, "left")


def test_no_token_in_the_database(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/r.sqlite")
    token = store.add_assessor("anna")
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"anna" in written
    assert token.encode() not in written
    store.close()


def test_a_fresh_database_may_be_opened_by_many_at_once(database: str) -> None:
    together = threading.Barrier(6)

    def begin(_: int) -> int:
        together.wait()
        store = Store(database)
        question = store.question("Which?", form="pair", domain="text")
        store.close()
        return question

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(begin, range(6))) == {1}


def schema_of(path: Path) -> list[tuple[str, ...]]:
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    connection.close()
    return [(name, " ".join((sql or "").split())) for name, sql in rows]


def test_an_older_version_is_migrated(tmp_path: Path) -> None:
    old, fresh = tmp_path / "old.sqlite", tmp_path / "fresh.sqlite"
    connection = sqlite3.connect(old)
    connection.executescript(VERSION_1.read_text(encoding="utf-8"))
    connection.close()
    Store(f"sqlite:///{fresh}").close()
    assert schema_of(old) != schema_of(fresh)
    for _ in range(2):  # and stays as it is
        store = Store(f"sqlite:///{old}")
        assert [(r.id, r.assessor, r.left, r.right, r.answer) for r in store.ratings(1)] == [
            (2, "anna", "a", "b\x00", "right")
        ]
        store.close()
        assert schema_of(old) == schema_of(fresh)
    assert leased(store, 1, 1).left == "c"
    store.close()


def test_an_older_version_is_migrated_on_postgresql(postgresql: str) -> None:
    from sqlalchemy import create_engine, inspect, text
    from tokengym.rewards.assessors import schema

    from .postgresql import in_new_schema

    url = in_new_schema(postgresql)
    store = Store(url)
    question = store.question("Which?", form="pair", domain="text")
    store.close()
    engine = create_engine(url)
    with engine.begin() as connection:  # back to version 1, as the script of SQLite has it
        connection.execute(text("DROP INDEX assessor_items_waiting"))
        statements = VERSION_1.read_text(encoding="utf-8").split(";")
        (index,) = (s for s in statements if "assessor_items_waiting" in s)
        connection.execute(text(index))
        connection.execute(text("UPDATE assessor_store SET version = 1"))
    store = Store(url)
    assert [one.id for one in store.questions()] == [question]
    store.close()
    (found,) = (
        one
        for one in inspect(engine).get_indexes("assessor_items")
        if one["name"] == "assessor_items_waiting"
    )
    assert found["column_names"] == ["question_id", "priority", "id"]
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT version FROM assessor_store")) == schema.VERSION
    engine.dispose()


@pytest.mark.parametrize("version", [3, 0, -1])
def test_another_version_is_refused_untouched(tmp_path: Path, version: int) -> None:
    path = tmp_path / "r.sqlite"
    Store(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE assessor_store SET version = ?", (version,))
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=f"version {version}.*knows 1 to 2.*newer one"):
        Store(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_another_programs_file_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE scores (value REAL)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="other tables"):
        Store(f"sqlite:///{path}")
    assert path.read_bytes() == before
    path.write_text("no database, but long enough to be read as the header of one" * 20)
    with pytest.raises(StoreError, match="not a database"):
        Store(f"sqlite:///{path}")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ratings.sqlite", "expected a URL like sqlite:///"),
        ("sqlite://", "seen by no other"),
        ("nosuch://x", "expected a URL like sqlite:///"),
        ("sqlite:////nonexistent/folder/r.sqlite", "unable to open"),
        ("postgresql+psycopg://me:secret@127.0.0.1:1/x", "refused"),
    ],
)
def test_a_database_that_cannot_be_used_is_named(url: str, problem: str) -> None:
    with pytest.raises(StoreError, match=problem) as caught:
        Store(url)
    assert "secret" not in str(caught.value)


def test_a_store_can_be_pickled(store: Store) -> None:
    question, _ = asking(store, Item("a", "b"))
    copy = pickle.loads(pickle.dumps(store))
    assert copy.waiting(question) == 1
    copy.close()


def test_a_closed_store_opens_again(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/r.sqlite")
    store.close()
    assert store.questions() == []
    store.close()
