"""Files that texts are read from: compressed ones and Parquet."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest
import tokengym
from tokengym.envs import DataError, make_task, read_lines

TEXTS = ["CCO", "c1ccccc1"]


def texts_of(path: Path, column: str | None = None) -> list[str]:
    return [line.text for line in read_lines(path, column)]


@pytest.mark.parametrize(
    ("name", "content", "column"),
    [
        ("a.smi.gz", "CCO first\nc1ccccc1\tsecond\n", None),
        ("a.csv.gz", "id,smiles\n1,CCO\n2,c1ccccc1\n", None),
        ("a.csv.gz", "id,mol\n1,CCO\n2,c1ccccc1\n", "mol"),
        ("a.txt.gz", "CCO\nc1ccccc1\n", None),
    ],
)
def test_gzip_of_every_form_is_read(
    tmp_path: Path, name: str, content: str, column: str | None
) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(content.encode()))
    assert texts_of(path, column) == TEXTS


@pytest.mark.parametrize(
    "broken",
    [
        gzip.compress(b"CCO\n" * 100)[:20],
        gzip.compress(b"CCO\n" * 100)[5:],
        gzip.compress(b"CCO\n" * 100)[:10] + b"\xff" * 20,
    ],
    ids=["cut short", "no header", "no deflate"],
)
def test_broken_gzip_is_an_error(tmp_path: Path, broken: bytes) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(broken)
    with pytest.raises(DataError, match="cannot read"):
        read_lines(path)


def write_parquet(path: Path, columns: dict[str, list[object]]) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path)


@pytest.mark.parametrize(
    ("columns", "column"),
    [
        ({"n": [1, 2, 3], "SMILES": [*TEXTS, None]}, None),
        ({"name": ["x", "y"], "Mol": TEXTS}, "mol"),
        ({"only": [" CCO ", "c1ccccc1"], "n": [1, 2]}, None),
    ],
)
def test_a_column_of_parquet_is_read(
    tmp_path: Path, columns: dict[str, list[object]], column: str | None
) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, columns)
    assert texts_of(path, column) == TEXTS


@pytest.mark.parametrize(
    ("columns", "column", "message"),
    [
        ({"a": ["x"], "b": ["y"]}, None, "has no column .* its columns of texts are a, b"),
        ({"a": ["x"]}, "z", "has no column 'z'"),
        ({"a": [1]}, "a", "its columns of texts are none"),
        ({"a": ["", " "]}, None, "is empty"),
    ],
)
def test_parquet_without_the_texts_is_an_error_that_names_what_there_is(
    tmp_path: Path, columns: dict[str, list[object]], column: str | None, message: str
) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, columns)
    with pytest.raises(DataError, match=message):
        read_lines(path, column)


def test_what_is_no_parquet_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "a.parquet"
    with pytest.raises(DataError, match="there is no file"):
        read_lines(path)
    path.write_bytes(b"PAR1 nonsense PAR1")
    with pytest.raises(DataError, match="cannot read"):
        read_lines(path)


def test_a_parquet_of_molecules_is_a_task(tmp_path: Path) -> None:
    pytest.importorskip("rdkit")
    path = tmp_path / "mine.parquet"
    write_parquet(path, {"smiles": [*TEXTS, "CCN", "C1CC"]})
    with pytest.raises(DataError, match="line 4: RDKit accepts no molecule 'C1CC'"):
        make_task("tokengym/Molecules-v0", data=str(path))


@pytest.mark.parametrize(
    ("module", "use", "extra"),
    [
        ("pyarrow", "tokengym.envs.read_lines('a.parquet')", "parquet"),
        ("music21", "tokengym.make_task('tokengym/Melodies-v0')", "music"),
        ("selfies", "import tokengym.envs.selfies_notation", "molecules"),
    ],
)
def test_what_is_not_installed_is_named_with_its_extra(module: str, use: str, extra: str) -> None:
    hide = (
        "import importlib.util as u, sys; find = u.find_spec\n"
        f"u.find_spec = lambda name, *a: None if name == {module!r} else find(name, *a)\n"
        f"sys.modules[{module!r}] = None\nimport tokengym\n{use}"
    )
    done = subprocess.run(
        [sys.executable, "-c", hide],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(tokengym.__path__[0]).parent,
    )
    assert f"pip install 'tokengym[{extra}]'" in done.stderr
