"""Ratings from a file that others write to, while it grows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokengym.rewards.assessors.ratings import (
    Form,
    Rating,
    RatingsError,
    RatingsFile,
    write_ratings,
)

RATINGS = [
    Rating(id=2, assessor="anna", left="CCO", right="C", answer="left", at=1.5, note='a "b", c'),
    Rating(id=3, assessor="ben", left="C", right="CC", answer="equal", kind="informed"),
    Rating(id=4, assessor="ben", left="C", right="N", answer="right", kind="gold", gold="left"),
]


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_what_is_written_is_read(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"r.{format}"
    path.write_text(write_ratings(RATINGS, format), encoding="utf-8")
    found = RatingsFile(path, form="pair").ratings()
    first = 2 if format == "csv" else 1  # below the names of the columns
    assert [r.id for r in found] == [first, first + 1, first + 2]
    for read, written in zip(found, RATINGS, strict=True):
        assert (read.left, read.right, read.answer) == (written.left, written.right, written.answer)
        assert (read.kind, read.gold, read.at) == (written.kind, written.gold, written.at)
        assert (read.assessor, read.note) == (written.assessor, written.note)
    assert RatingsFile(path, form="pair").ratings(after=first + 1) == found[2:]


def test_a_note_is_no_formula_in_a_spreadsheet() -> None:
    note = '=HYPERLINK("http://evil.example")'
    row = write_ratings([Rating(1, "anna", "C", None, "yes", note=note)], "csv").split("\n")[1]
    assert ""","'=HYPERLINK(""" in row


@pytest.mark.parametrize(
    ("name", "head", "line"),
    [
        ("r.csv", "assessor,left,answer\n", "anna,C,{}\n"),
        ("r.jsonl", "", '{{"assessor": "anna", "left": "C", "answer": {}}}\n'),
    ],
)
def test_a_file_that_grows(tmp_path: Path, name: str, head: str, line: str) -> None:
    path = tmp_path / name
    file = RatingsFile(path, form="scale")
    assert file.ratings() == []  # not there yet
    whole = (head + "".join(line.format(n) for n in (1, 5, 3))).encode()
    counts = []
    for end in range(len(whole) + 1):  # every moment of a slow writer
        path.write_bytes(whole[:end])
        counts.append(len(file.ratings()))
    assert counts == sorted(counts)
    assert [counts.count(n) for n in (1, 2)] == [len(line.format(1))] * 2
    assert [r.answer for r in file.ratings()] == ["1", "5", "3"]
    last = file.ratings()[-1].id
    with path.open("a") as more:
        more.write(line.format(2))
    assert [(r.id > last, r.answer) for r in file.ratings(after=last)] == [(True, "2")]


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_an_empty_sample_is_one(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"r.{format}"
    ratings = [Rating(1, "anna", "", "b", "left"), Rating(2, "anna", "a", "", "right")]
    path.write_text(write_ratings(ratings, format))
    found = RatingsFile(path, form="pair").ratings()
    assert [(r.left, r.right) for r in found] == [("", "b"), ("a", "")]
    path.write_text(write_ratings([Rating(1, "anna", "", None, "yes")], format))
    (one,) = RatingsFile(path, form="yes_no").ratings()
    assert (one.left, one.right) == ("", None)


def test_a_record_over_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text(
        'assessor,left,answer,note\nanna,C,yes,"so\nand so"\nben,C,no,\nx,y,yes,"half\n'
    )
    found = RatingsFile(path, form="yes_no").ratings()
    assert [(r.id, r.note) for r in found] == [(2, "so\nand so"), (4, "")]


def test_skips_and_columns_of_ones_own_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("\ufeffleft,right,answer,assessor,mood\na,b,skip,anna,good\na,b,left,anna,\n\n")
    (found,) = RatingsFile(path, form="pair").ratings()
    assert found == Rating(id=3, assessor="anna", left="a", right="b", answer="left")


@pytest.mark.parametrize(
    ("text", "form", "problem"),
    [
        (
            "assessor,left,answer\nanna,C,1\nanna,C,6\n",
            "scale",
            "line 3 .*'6'; expected one of '1'",
        ),
        ("assessor,left,answer\nanna,C\n", "scale", "line 2 .*has 2 columns; expected 3"),
        ("assessor,left,answer\n,,1\n", "scale", "line 2 .*no assessor;"),
        ("assessor,left,answer\nanna,,\n", "scale", "line 2 .*no answer;"),
        ("who,left,answer\nanna,C,1\n", "scale", "line 2 .*no assessor"),
        ("assessor,left,answer\nanna,C,left\n", "pair", "line 2 .*no right"),
        ("assessor,left,right,answer\nanna,C,D,1\n", "scale", "line 2 .*right sample"),
        ("assessor,left,answer,kind\nanna,C,1,mine\n", "scale", "line 2 .*kind is 'mine'"),
        ("assessor,left,answer,at\nanna,C,1,noon\n", "scale", "line 2 .*time is 'noon'"),
        ("assessor,left,answer,at\nanna,C,1,inf\n", "scale", "line 2 .*time is 'inf'"),
        ('assessor,left,answer\n"a"x,C,1\n', "scale", "line 2 "),
        ("assessor,left,answer\nanna," + "x" * 200_000 + ",1\n", "scale", "line 2 .*limit"),
    ],
)
def test_a_bad_line_is_told_by_its_number(
    tmp_path: Path, text: str, form: Form, problem: str
) -> None:
    path = tmp_path / "r.csv"
    path.write_text(text)
    with pytest.raises(RatingsError, match=problem):
        RatingsFile(path, form=form).ratings()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "not JSON"),
        ("[1]", "expected an object"),
        ("[" * 100_000, "not JSON"),
        ("1" * 5000, "not JSON"),
        ('{"assessor": "anna", "left": "C"}', "no answer"),
        ('{"assessor": "anna", "left": ["C"], "answer": 1}', "left is"),
        ('{"assessor": "anna", "left": "C", "answer": true}', "answer is 'True'; expected a text"),
        ('{"assessor": "anna", "left": "C", "answer": 1, "at": [0]}', "time is"),
        ('{"assessor": "anna", "left": "C", "answer": 1, "at": 1' + "0" * 400 + "}", "time is"),
        ('{"assessor": "anna", "left": "C", "answer": 1, "gold": "best"}', "'best'"),
    ],
)
def test_a_bad_line_of_json(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "r.jsonl"
    good = json.dumps({"assessor": "anna", "left": "C", "answer": 1})
    path.write_text(f"{good}\n\n{line}\n{good}\n")
    with pytest.raises(RatingsError, match=f"line 3 of .*{problem}"):
        RatingsFile(path, form="scale").ratings()


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(b"assessor,left,answer\nanna,C,1\nb\xff,C,1\n")
    with pytest.raises(RatingsError, match=r"line 3 .*UTF-8"):
        RatingsFile(path, form="scale").ratings()


def test_another_file_or_form_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a \.csv or \.jsonl file"):
        RatingsFile("ratings.xlsx", form="pair")
    with pytest.raises(ValueError, match="expected one of scale, yes_no, pair"):
        RatingsFile("ratings.csv", form="best")  # type: ignore[arg-type]
