"""Samples as the page shows them: what they are, and that hostile ones do no harm."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from tokengym.rewards.assessors.pages.drawing import drawn
from tokengym.rewards.assessors.pages.pages import CHOICES, load_pages
from tokengym.rewards.assessors.ratings import ANSWERS, SKIP, Domain

HOSTILE = [
    "<script>alert(1)</script>",
    "CCO <script>alert(1)</script>",  # a SMILES may have a name
    "CCO |$<script>alert(1)</script>;;$|",  # and labels
    "</pre><img src=x onerror=alert(1)>",
    "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><script>alert(1)</script></svg>",
    "{{ 7 * 7 }} {% raw %} ${7 * 7}",
    "\x00\x07\x1b[31m\x7f\x85",
    "safe\u202etxt.exe\u2066\u200b\ufeff",
    "half of a pair \ud800",
    "x" * 1_000_000,
    "C" * 1_000_000,
    "(" * 1_000_000,
    "C4:1/4 " * 100_000,
    "C4:99999/1 r:1/99999 " * 900,
    "",
    " \n\t ",
]
DOMAINS: list[Domain] = ["molecules", "melodies", "text"]


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_samples_are_small_and_hold_no_markup(text: str, domain: Domain) -> None:
    if domain == "molecules":
        pytest.importorskip("rdkit")
    sample = drawn(text, domain)
    assert len(json.dumps(sample)) < 300_000
    json.dumps(sample).encode()
    sample["text"].encode()  # no half of a pair
    assert all(c.isprintable() or c in "\n\t" for c in sample["text"])
    assert len(sample["text"]) < 10_100 or "⟨U+" in sample["text"]
    if sample["svg"]:
        tags = {
            element.tag.split("}")[1] for element in ElementTree.fromstring(sample["svg"]).iter()
        }
        assert tags <= {"svg", "path", "rect", "ellipse"}  # letters are paths too


def test_what_was_cut_is_said() -> None:
    sample = drawn("word " * 200_000, "text")
    assert sample["caption"] == "the first 10,000 of 1,000,000 characters"
    assert len(sample["text"]) == 10_000
    assert drawn("short", "text") == {"text": "short", "svg": None, "notes": None, "caption": ""}
    long = drawn("C4:1/4 " * 2_001, "melodies")
    assert long["notes"] is None
    assert long["caption"].startswith("too long to be drawn: more than 2,000 events; the first")


def test_what_cannot_be_seen_is_spelt_out() -> None:
    assert drawn("a\x00b\r\nc\td\u202ee", "text")["text"] == "a⟨U+0000⟩b\nc\td⟨U+202E⟩e"


def test_a_molecule_has_a_drawing_and_its_formula() -> None:
    pytest.importorskip("rdkit")
    sample = drawn("CC(=O)Oc1ccccc1C(=O)O", "molecules")
    assert sample["svg"]
    assert sample["caption"] == "molecule C9H8O4"
    assert sample["text"] == "CC(=O)Oc1ccccc1C(=O)O"
    assert drawn("C1CC", "molecules")["caption"] == "no valid molecule"


def test_large_molecules_are_not_drawn() -> None:
    pytest.importorskip("rdkit")
    assert drawn("C" * 200, "molecules")["svg"]
    sample = drawn("C" * 201, "molecules")
    assert sample["svg"] is None
    expected = "molecule C201H404, too large to be drawn: 201 atoms, 200 at most"
    assert sample["caption"] == expected
    longer = drawn("C" * 1_001, "molecules")["caption"]
    assert longer == "too long to be drawn: 1,001 characters, 1,000 at most"


def test_a_melody_is_its_notes() -> None:
    sample = drawn("C4:1/4 r:1/8 F#5:1", "melodies")
    assert sample["notes"] == [
        {"pitch": 60, "start": 0.0, "duration": 0.25},
        {"pitch": 78, "start": 0.375, "duration": 1.0},
    ]
    assert sample["caption"] == "2 notes from C4 to F#5, 1.375 whole notes long"
    for none in ("r:1", "C4", "H4:1/4", "C4:1/4 <b>"):
        assert drawn(none, "melodies")["notes"] is None
        assert drawn(none, "melodies")["caption"] == "no valid melody"


class _Reader(HTMLParser):
    """What a page loads, and what a content policy would stop."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.inline: list[str] = []
        self.answers: dict[str, list[str]] = {}
        self._form = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.inline += [name for name in given if name.startswith("on") or name == "style"]
        self.inline += [tag] * (tag == "style" or (tag == "script" and "src" not in given))
        self.loaded += [given[name] for name in ("src", "href") if name in given]
        if "data-form" in given:
            self._form = given["data-form"]
        if "data-answer" in given:
            self.answers.setdefault(self._form, []).append(given["data-answer"])


def test_pages_load_what_is_served_and_hold_no_script_or_style() -> None:
    pytest.importorskip("jinja2")
    pages = load_pages()
    for path in ("/", "/overview"):
        reader = _Reader()
        reader.feed(pages[path].body.decode())
        assert reader.inline == []
        assert set(reader.loaded) - {"data:,"} <= set(pages)
        assert len(reader.loaded) == 3  # a style, a script, an icon that is none
    for path, page in pages.items():
        for elsewhere in (b"http://", b"https://", b"innerHTML", b"eval(", b"document.write"):
            assert elsewhere not in page.body.replace(b"http://www.w3.org/2000/svg", b"").replace(
                b"http://host/#token", b""
            ), path


def test_every_answer_has_a_button() -> None:
    pytest.importorskip("jinja2")
    reader = _Reader()
    reader.feed(load_pages()["/"].body.decode())
    for form, answers in ANSWERS.items():
        assert sorted(set(reader.answers[form]) - {SKIP}) == sorted(answers)
    assert sum(SKIP in answers for answers in reader.answers.values()) == 1
    for buttons in CHOICES.values():
        keys = " ".join(button.keys for button in buttons).split()
        assert len({*keys, "s", "u"}) == len(keys) + 2
