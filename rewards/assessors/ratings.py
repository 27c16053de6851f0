"""Ratings: what a person said of a sample or of a pair, wherever it is kept.

A rating is an answer in one of three forms. ``RatingsFile`` reads them from a file that grows, for
those who collect ratings in their own way; ``store.py`` keeps them in a database.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, Protocol, cast

Form = Literal["scale", "yes_no", "pair"]
Domain = Literal["molecules", "melodies", "text"]
Kind = Literal["random", "informed", "repeat", "gold"]

SKIP = "skip"
ANSWERS: dict[str, tuple[str, ...]] = {
    "scale": ("1", "2", "3", "4", "5"),
    "yes_no": ("yes", "no"),
    "pair": ("left", "right", "equal"),
}
DOMAINS = ("molecules", "melodies", "text")
KINDS = ("random", "informed", "repeat", "gold")


class RatingsError(ValueError):
    """A line of a file is no rating; the message has its number."""


@dataclass(frozen=True)
class Rating:
    """One answer: what a preference model learns from, and what files hold."""

    id: int
    """Grows from rating to rating; who reads asks for those after the last that was seen."""
    assessor: str
    """Who answered."""
    left: str
    """The sample as text; the only one of the forms ``"scale"`` and ``"yes_no"``."""
    right: str | None
    """The other sample of a pair."""
    answer: str
    """``"1"`` to ``"5"``; ``"yes"`` or ``"no"``; ``"left"``, ``"right"`` or ``"equal"``."""
    kind: Kind = "random"
    """Why it was asked: at random, for what it tells, once more, or with a known answer."""
    at: float = 0.0
    """When, in seconds since the epoch."""
    note: str = ""
    """What the assessor remarked."""
    gold: str | None = None
    """The answer that was expected, of the kind ``"gold"``."""


class RatingSource(Protocol):
    """Where ratings come from, in the order of their ids."""

    def ratings(self, after: int = 0) -> list[Rating]:
        """Those with a greater id; skips and withdrawn ones are left out."""
        ...


def check_answer(form: str, answer: str) -> None:
    """Refuse what is no answer in this form.

    Raises:
        ValueError: it is none.
    """
    known = (*ANSWERS[form], SKIP)
    if answer not in known:
        raise ValueError(
            f"the answer is {answer[:80]!r}; expected one of {', '.join(map(repr, known))}"
        )


class RatingsFile:
    """Ratings from a CSV or JSON-lines file that others write to, read anew at every call.

    The columns of the CSV file, and the keys of each line of JSON, are those of ``Rating``:
    ``assessor``, ``left``, ``answer``, for pairs ``right``; ``kind``, ``at``, ``note`` and ``gold``
    may be there, and what else there is is passed over. The id of a rating is the number of its
    line, the first being 1. A last line that has no end yet is left for later.

    Args:
        path: the file, ``.csv`` or ``.jsonl``; while it is missing there are no ratings.
        form: of the answers in it.

    Raises:
        ValueError: another ending of the path, or no such form.
    """

    def __init__(self, path: str | Path, *, form: Form) -> None:
        self.path, self.form = Path(path), form
        if self.path.suffix not in (".csv", ".jsonl"):
            raise ValueError(f"the ratings are in {str(path)!r}; expected a .csv or .jsonl file")
        if form not in ANSWERS:
            raise ValueError(f"the form is {form!r}; expected one of {', '.join(ANSWERS)}")

    def ratings(self, after: int = 0) -> list[Rating]:
        """Those whose line has a greater number, without skips.

        Raises:
            RatingsError: a line is no rating; then none is read.
            OSError: the file cannot be read.
        """
        read = _read_csv if self.path.suffix == ".csv" else _read_jsonl
        line = 0
        try:
            found = []
            for line, record in read(self._whole_lines()):
                found.append(_rating_of(line, record, self.form))
        except ValueError as error:
            problem = error.args[0]
            if isinstance(error, _BadLineError):
                line, problem = error.args
            raise RatingsError(f"line {line} of {self.path} is no rating: {problem}") from error
        return [rating for rating in found if rating.id > after and rating.answer != SKIP]

    def _whole_lines(self) -> str:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return ""
        data = data[: data.rfind(b"\n") + 1]
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise RatingsError(f"line {line} of {self.path} is not UTF-8; write it so") from error


def write_ratings(ratings: Iterable[Rating], format: str) -> str:
    """The ratings as ``"csv"`` or ``"jsonl"``, as ``RatingsFile`` reads them."""
    rows = map(asdict, ratings)
    if format == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows)
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, [field.name for field in fields(Rating)], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        if row["note"].startswith(("=", "+", "-", "@", "\t", "\r")):
            row["note"] = "'" + row["note"]  # else a spreadsheet runs it as a formula
        writer.writerow(row)
    return file.getvalue().encode("utf-8", "replace").decode()  # lone surrogates are no UTF-8


_Record = tuple[int, Mapping[str, object]]  # with the number of its line


class _BadLineError(ValueError):
    """The number of the line, and what is wrong with it."""


def _read_jsonl(text: str) -> Iterator[_Record]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise _BadLineError(number, f"it is not JSON ({error})") from error
            if not isinstance(record, dict):
                raise _BadLineError(number, f"it is {line[:80]!r}; expected an object in braces")
            yield number, record


def _read_csv(text: str) -> Iterator[_Record]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns: list[str] = []
    line = 1
    try:
        for row in reader:
            if not columns:
                columns = row
            elif len(row) == len(columns):
                yield line, dict(zip(columns, row, strict=True))
            elif row:
                raise _BadLineError(line, f"it has {len(row)} columns; expected {len(columns)}")
            line = reader.line_num + 1
    except csv.Error as error:
        if "unexpected end" not in str(error):  # that is a record with line breaks, half-written
            raise _BadLineError(line, str(error)) from error


def _rating_of(line: int, record: Mapping[str, object], form: Form) -> Rating:
    """A record as a rating.

    Raises:
        ValueError: it is none.
    """
    needed = ("assessor", "left", "answer", *(["right"] if form == "pair" else []))
    texts = {name: _text(record, name) for name in (*needed, "right", "kind", "note", "gold")}
    filled = [name for name in needed if texts[name]]
    empty = [name for name in ("left", "right") if record.get(name) == ""]  # as samples may be
    if missing := [name for name in needed if name not in (*filled, *empty)]:
        raise ValueError(f"it has no {' and no '.join(missing)}; expected {', '.join(needed)}")
    kind, gold = texts["kind"] or "random", texts["gold"] or None
    if kind not in KINDS:
        raise ValueError(f"the kind is {kind[:80]!r}; expected one of {', '.join(KINDS)}")
    if form != "pair" and texts["right"]:
        raise ValueError(f"it has a right sample; expected none, as the form is {form!r}")
    for answer in (texts["answer"], gold or SKIP):
        check_answer(form, answer)
    return Rating(
        id=line,
        assessor=texts["assessor"],
        left=texts["left"],
        right=texts["right"] if form == "pair" else None,
        answer=texts["answer"],
        kind=cast(Kind, kind),
        at=_time(record.get("at") or 0.0),
        note=texts["note"],
        gold=gold,
    )


def _text(record: Mapping[str, object], name: str) -> str:
    value = record.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # an answer on a scale
    if value is not None and not isinstance(value, str):
        raise ValueError(f"its {name} is {str(value)[:80]!r}; expected a text")
    return value or ""


def _time(value: object) -> float:
    try:
        seconds = float(str(value))
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ValueError(f"its time is {str(value)[:80]!r}; expected seconds since the epoch")
    return seconds
