"""Reading texts from a user's file, with errors that name the file and the line."""

from __future__ import annotations

import csv
import difflib
import gzip
import os
import zlib
from collections.abc import Callable, Iterator
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
    """Read the texts of a ``.smi``, ``.csv``, ``.parquet`` or text file, ``.gz`` of these too.

    In ``.smi`` a text ends at the first white space. In ``.csv`` it is the column named ``column``;
    without a name the column ``smiles`` or ``text`` where the first row has one, else the first
    column of a file without a header. In ``.parquet`` it is that column too, and without a name
    the only one of texts. In anything else a text is a line. Empty texts are skipped; with
    ``keep_empty`` those in the rows of a ``.csv`` are not (an empty text may be a sample).

    Raises:
        DataError: no such file, not UTF-8, no such column, or nothing in it.
        ImportError: a ``.parquet``, and pyarrow is not installed.
    """
    path = Path(path)
    if path.suffix.lower() == ".parquet":
        return [Line(row, text) for row, text in _parquet_rows(path, column)]
    text = read_text(path)
    suffix = next((s for s in reversed(path.suffixes) if s != ".gz"), "").lower()
    if suffix == ".csv":
        lines = list(_csv_lines(path, text, column, keep_empty))
    elif column is not None:
        raise DataError(f"{path} is no .csv and has no column {column!r}; leave the column out")
    else:
        rows = enumerate(text.splitlines(), start=1)
        lines = [
            Line(n, row.split()[0] if suffix == ".smi" else row) for n, row in rows if row.strip()
        ]
    if not lines:
        raise DataError(f"{path} is empty; expected one sequence a line")
    return lines


def read_text(path: Path) -> str:
    """A text file, ``.gz`` too.

    Raises:
        DataError: no such file, or not UTF-8.
    """
    if not path.exists():
        raise DataError(f"there is no file {path}; is the path right?")
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


def _csv_lines(path: Path, text: str, column: str | None, keep_empty: bool) -> Iterator[Line]:
    reader = csv.reader(text.splitlines(keepends=True))
    try:
        first = next(reader, None)
        if first is None:
            return
        names = [name.strip().lower() for name in first]
        wanted = [column.lower()] if column else ["smiles", "text"]
        found = [names.index(name) for name in wanted if name in names]
        if column and not found:
            near = difflib.get_close_matches(column, first, n=3) or first[:8]
            raise DataError(f"{path} has no column {column!r}; did you mean {', '.join(near)}?")
        index = found[0] if found else 0
        if not found and first and first[0].strip():
            yield Line(1, first[0].strip())
        for row in reader:
            if len(row) > index and (keep_empty or row[index].strip()):
                yield Line(reader.line_num, row[index].strip())
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from error


def _parquet_rows(path: Path, column: str | None) -> list[tuple[int, str]]:
    """The texts of a column and their rows, from 1."""
    try:
        from pyarrow import lib, parquet  # an extra
    except ImportError as error:
        raise ImportError(
            f"{path} needs pyarrow, which is not installed; install it with "
            "pip install 'tokengym[parquet]'"
        ) from error
    if not path.exists():
        raise DataError(f"there is no file {path}; is the path right?")
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
    rows = [(row, str(text).strip()) for row, text in enumerate(values, start=1) if text]
    if not any(text for _, text in rows):
        raise DataError(f"{path} is empty; expected one sequence a row")
    return [(row, text) for row, text in rows if text]
