"""Reading texts from a user's file, with errors that name the file and the line.

Tasks read their data by it and rewards their references, so a file is the same texts to both.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


class DataError(ValueError):
    """A data file cannot be used as it is; the message names the file and, if any, the line."""


@dataclass(frozen=True)
class Line:
    """A text and the line of the file that it stands in, from 1."""

    number: int
    text: str


def read_lines(
    path: str | Path, column: str | None = None, *, keep_empty: bool = False
) -> list[Line]:
    """The texts of a file; see ``read_column``."""
    return read_column(path, column, keep_empty=keep_empty)[0]


def read_column(
    path: str | Path, column: str | None = None, *, keep_empty: bool = False
) -> tuple[list[Line], str | None]:
    """Read the texts of a ``.smi``, ``.csv``, ``.parquet`` or text file, ``.gz`` of these too.

    In ``.smi`` a text ends at the first white space. In ``.csv`` it is the column named ``column``;
    without a name the column ``smiles`` or ``text`` where the first row has one, else the first
    column of a file without a header. In ``.parquet`` it is that column too, and without a name
    the only one of texts. In anything else a text is a line. Empty texts are skipped, and in
    ``.csv`` and ``.parquet`` white space around a text; with ``keep_empty`` a ``.csv`` is read as
    it stands (an empty text may be a sample).

    Returns:
        The texts, and the name of their column in lower case: ``smiles`` for a ``.smi``, None where
        there is none.

    Raises:
        DataError: no such file, not UTF-8, no such column, or nothing in it.
        ImportError: a ``.parquet``, and pyarrow is not installed.
    """
    path = Path(path)
    if path.suffix.lower() == ".parquet":
        return _parquet_lines(path, column)
    text, name = read_text(path), None
    suffix = next((s for s in reversed(path.suffixes) if s != ".gz"), "").lower()
    if suffix == ".csv":
        lines, name = _csv_lines(path, text, column, keep_empty)
    elif column is not None:
        raise DataError(f"{path} is no .csv and has no column {column!r}; leave the column out")
    else:
        rows = enumerate(io.StringIO(text, newline=None), start=1)  # by \n, \r\n and \r alone
        lines = [Line(n, row.removesuffix("\n")) for n, row in rows if row.strip()]
    if suffix == ".smi":
        lines, name = [Line(line.number, line.text.split()[0]) for line in lines], "smiles"
    if not lines:
        raise DataError(f"{path} is empty; expected one sequence a line")
    return lines, name


def read_text(path: Path) -> str:
    """A text file, ``.gz`` too.

    Raises:
        DataError: no such file, or not UTF-8.
    """
    ensure_exists(path)
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {number}: byte 0x{data[error.start]:02x} is not UTF-8; save the file "
            "as UTF-8"
        ) from error


def ensure_exists(path: Path, built_in: Iterable[str] = ()) -> None:
    """Check that there is such a file, where built-in sets might have been meant, too.

    Raises:
        DataError: there is none.
    """
    if not path.exists():
        sets = f", and the built-in sets are {', '.join(built_in)}" if built_in else ""
        raise DataError(f"there is no file {path}{sets}; is the path right?")


def file_stamp(path: str | Path) -> tuple[int, int]:
    """When a file changed and how large it is; zeros for what is no file."""
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return 0, 0
    return stat.st_mtime_ns, stat.st_size


def keep_valid(
    lines: list[Line], path: str | Path, fault: Callable[[str], str | None], *, skip: bool
) -> tuple[list[str], int]:
    """The texts without a fault, and how many lines were left out.

    Args:
        lines: what ``read_lines`` gave.
        path: for the error.
        fault: text -> what is wrong with it, None if nothing.
        skip: leave faulty lines out instead of raising.

    Raises:
        DataError: a line has a fault and ``skip`` is False, or none is left.
    """
    kept: list[str] = []
    for line in lines:
        what = fault(line.text)
        if what is None:
            kept.append(line.text)
        elif not skip:
            raise DataError(
                f"{path}, line {line.number}: {what}; mend the line, or leave such lines out with "
                "--skip-invalid (skip_invalid=True)"
            )
    if not kept:
        raise DataError(f"{path}: none of its {len(lines)} lines can be used")
    return kept, len(lines) - len(kept)


def _csv_lines(
    path: Path, text: str, column: str | None, keep_empty: bool
) -> tuple[list[Line], str | None]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        rows.extend((reader.line_num, row) for row in reader)
    except csv.Error as error:
        begin = rows[-1][0] + 1 if rows else 1
        raise DataError(
            f"{path}, the row from line {begin}: {error}; a text with quotes or line breaks in it "
            'stands in quotes, and each of its own quotes twice: "like ""this"""'
        ) from error
    if not rows:
        return [], None
    first = rows[0][1]
    names = [name.strip().lower() for name in first]
    wanted = [column.lower()] if column else ["smiles", "text"]
    found = [names.index(name) for name in wanted if name in names]
    if column and not found:
        near = difflib.get_close_matches(column, first, n=3) or first[:8]
        raise DataError(f"{path} has no column {column!r}; did you mean {', '.join(near)}?")
    index = found[0] if found else 0
    lines = [Line(number, row[index]) for number, row in rows[len(found[:1]) :] if len(row) > index]
    if not keep_empty:
        lines = [Line(line.number, text) for line in lines if (text := line.text.strip())]
    return lines, names[index] if found else None


def _parquet_lines(path: Path, column: str | None) -> tuple[list[Line], str]:
    """The texts of a column and their rows, from 1; and its name."""
    try:
        from pyarrow import lib, parquet  # an extra
    except ImportError as error:
        raise ImportError(
            f"{path} needs pyarrow, which is not installed; install it with "
            "pip install 'tokengym[parquet]'"
        ) from error
    ensure_exists(path)
    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            texts = [f.name for f in schema if str(f.type) in ("string", "large_string")]
            wanted = [column] if column else ["smiles", "text", *(texts if len(texts) == 1 else ())]
            found = [name for want in wanted for name in texts if name.lower() == want.lower()]
            if not found:
                raise DataError(
                    f"{path} has no column {column or wanted!r} of texts; its columns of texts are "
                    f"{', '.join(texts) or 'none'}"
                )
            values = file.read(columns=[found[0]]).column(0).to_pylist()
    except (lib.ArrowException, OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"cannot read {path}: {error}") from error
    rows = ((row, str(text).strip()) for row, text in enumerate(values, start=1) if text)
    lines = [Line(row, text) for row, text in rows if text]
    if not lines:
        raise DataError(f"{path} is empty; expected one sequence a row")
    return lines, found[0].lower()
