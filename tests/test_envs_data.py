"""Data files: what is read, and errors that name the file, the line, the character."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from tokengym.envs import DataError, Vocabulary, make_task, read_lines
from tokengym.envs.molecules import load_molecules
from tokengym.train.evaluation import read_texts
from tokengym.train.run_folder import write_csv


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def texts(path: Path, column: str | None = None) -> list[str]:
    return [line.text for line in read_lines(path, column)]


def test_formats(tmp_path: Path) -> None:
    assert texts(write(tmp_path / "a.smi", "CCO ethanol\n\nCC\tethane\n")) == ["CCO", "CC"]
    assert texts(write(tmp_path / "a.txt", "one two\nthree\n")) == ["one two", "three"]
    assert texts(write(tmp_path / "a.csv", '"CCO",1\n"CC",2\n')) == ["CCO", "CC"]
    assert texts(write(tmp_path / "b.csv", "id,SMILES\n1,CCO\n2,\n3,CC\n")) == ["CCO", "CC"]
    assert texts(write(tmp_path / "c.csv", "id,what\n1,CCO\n"), "what") == ["CCO"]
    assert texts(write(tmp_path / "a.smi.gz", gzip.compress(b"CCO x\n"))) == ["CCO"]
    assert texts(write(tmp_path / "bom.txt", b"\xef\xbb\xbfone\n")) == ["one"]


def test_empty_samples_are_kept_when_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'smiles\nCC\n""\nCCO\n')
    assert [line.text for line in read_lines(path, keep_empty=True)] == ["CC", "", "CCO"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.smi", "", "is empty"),
        ("blank.smi", "\n \n", "is empty"),
        (
            "latin.smi",
            "CC\nC\xe9\n".encode("latin-1"),
            r"latin\.smi, line 2: byte 0xe9 is not UTF-8",
        ),
        ("no.csv", "id,name\n1,CC\n", "no column 'smiles_'"),
        ("broken.smi.gz", "not gzip", "cannot read"),
        ("open.csv", 'text\na sea\n"a frog\nold pond\n', r"open\.csv, the row from line 3: "),
    ],
)
def test_files_that_cannot_be_read(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(DataError, match=message):
        read_lines(path, "smiles_" if name == "no.csv" else None)


def test_a_missing_file_and_a_column_of_what_has_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        read_lines(tmp_path / "none.smi")
    with pytest.raises(DataError, match=r"is no \.csv"):
        read_lines(write(tmp_path / "a.smi", "CC\n"), "smiles")


def test_molecule_lines_are_named_with_their_fault(tmp_path: Path) -> None:
    path = write(tmp_path / "a.smi", "CCO\nCC\u00e9\nc1cc\n\nCCC\n")
    with pytest.raises(DataError, match=r"a\.smi, line 2: character 3, 'é', is no symbol"):
        load_molecules(str(path))
    path = write(tmp_path / "b.smi", "CCO\nc1cc\n")
    with pytest.raises(DataError, match=r"line 2: RDKit accepts no molecule 'c1cc'.*skip"):
        load_molecules(str(path))


def test_skipped_lines_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.smi", "CCO\nCC\u00e9\nc1cc\nCCC\n")
    assert load_molecules(str(path), skip_invalid=True) == (["CCO", "CCC"], 2)
    with pytest.warns(UserWarning, match="left out 2 lines"):
        task = make_task("tokengym/Molecules-v0", data=str(path), skip_invalid=True)
    assert task.data is not None
    assert task.data.texts == ["CCO", "CCC"]
    with pytest.raises(DataError, match="none of its 1 lines"):
        load_molecules(str(write(tmp_path / "b.smi", "c1cc\n")), skip_invalid=True)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "a.smi", "CCO\n")
    assert make_task("tokengym/Molecules-v0", data=str(path)).data.texts == ["CCO"]  # type: ignore[union-attr]
    write(path, "CCO\nCCCC\n")
    assert len(make_task("tokengym/Molecules-v0", data=str(path)).data) == 2  # type: ignore[arg-type]


def test_molecules_longer_than_the_limit(tmp_path: Path) -> None:
    path = write(tmp_path / "a.smi", "CCO\nCCCCCCCC\n")
    with pytest.raises(DataError, match=r"'CCCCCCCC' has 9 tokens.*max_length is 6"):
        make_task("tokengym/Molecules-v0", data=str(path), max_length=6)
    with pytest.warns(UserWarning, match="left out 1 texts that have more than 6"):
        task = make_task("tokengym/Molecules-v0", data=str(path), max_length=6, skip_invalid=True)
    assert task.data is not None
    assert task.data.tokens_BT.shape == (1, 6)


def test_the_built_in_set_holds_molecules_only() -> None:
    from tokengym.rewards.molecules import canonical_smiles

    molecules, skipped = load_molecules("wehi")
    assert (len(molecules), skipped) == (10_000, 0)
    assert all(canonical_smiles(smiles) is not None for smiles in molecules[::10])


HARD = ["a\u2028b", "a\x85b", "a\x0cb", "a\x1cb", "a\rb", "a\nb", " a", "a ", " ", "", 'a"b,c', "a"]


def test_any_text_comes_back_from_a_table_of_samples(tmp_path: Path) -> None:
    write_csv(tmp_path / "samples.csv", ["text", "qed"], [[text, 0.5] for text in HARD])
    lines = read_lines(tmp_path / "samples.csv", keep_empty=True)
    assert [line.text for line in lines] == HARD
    assert read_texts(tmp_path / "samples.csv") == (HARD, "text")
    stripped = [text.strip() for text in HARD if text.strip()]
    assert texts(tmp_path / "samples.csv") == stripped


def test_a_line_ends_where_lines_end_and_nowhere_else(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "a\u2028b\x85c\x0cd\x1ce\r\n f \rg\nh")
    lines = read_lines(path)
    assert [line.text for line in lines] == ["a\u2028b\x85c\x0cd\x1ce", " f ", "g", "h"]
    assert [line.number for line in lines] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("name", "content", "domain"),
    [
        ("a.csv", b"id,SMILES \n1,CC\n", "molecules"),
        ("b.csv", b"smiles are nice,1\nand frowns are not,2\n", "text"),  # no header
        ("c.csv", b"text,smiles_valid\nhello,1\n", "text"),
        ("d.csv.gz", gzip.compress(b"smiles\nCC\n", mtime=0), "molecules"),
        ("e.SMI", b"CC ethane\n", "molecules"),
        ("F.CSV", b"smiles\nCC\n", "molecules"),
        ("g.smi.gz", gzip.compress(b"CC\n", mtime=0), "molecules"),
        ("smiles.txt", b"smiles\n", "text"),
    ],
)
def test_the_domain_of_samples_is_that_of_their_column(
    tmp_path: Path, name: str, content: bytes, domain: str
) -> None:
    assert read_texts(write(tmp_path / name, content))[1] == domain


def test_a_word_that_is_a_special_token_is_named_with_its_line(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.txt", "one two\nthree <pad> four\n"))
    with pytest.raises(DataError, match=r"a\.txt, line 2: the word '<pad>'.*skip_invalid=True"):
        make_task("tokengym/Text-v0", data=path, tokenization="words")
    with pytest.warns(UserWarning, match="left out 1 lines with a special token"):
        task = make_task("tokengym/Text-v0", data=path, tokenization="words", skip_invalid=True)
    assert task.data is not None
    assert task.data.texts == ["one two"]
    assert make_task("tokengym/Text-v0", data=path).vocabulary.tokenization == "characters"
    with pytest.raises(ValueError, match="'<eos>' is added by itself"):
        Vocabulary.from_tokens(["<eos>"])


def test_one_long_line_takes_no_room_where_it_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "ab\n" * 9 + "a" * 100_000 + "\n")
    limited = {"data": str(path), "max_length": 5}
    with pytest.raises(DataError, match="has 100001 tokens with its end and max_length is 5"):
        make_task("tokengym/Text-v0", **limited)
    with pytest.warns(UserWarning, match="left out 1 texts that have more than 5 tokens"):
        data = make_task("tokengym/Text-v0", **limited, skip_invalid=True).data
    assert data is not None
    assert (len(data), data.tokens_BT.untyped_storage().nbytes()) == (9, 9 * 5 * 8)
