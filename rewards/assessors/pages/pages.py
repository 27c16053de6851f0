"""The two pages and the files that they load, by a fixed list: no path comes from a request.

The pages are the same for everybody and hold nothing of the store: who may see what is decided
where their scripts ask for it. They load nothing from elsewhere and hold no script and no style of
their own, so the strictest content policy fits them.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..ratings import Form

_HERE = Path(__file__).parent
_HTML, _CSS, _JS = (f"text/{kind}; charset=utf-8" for kind in ("html", "css", "javascript"))
_STATIC = {
    "connection.js": _JS,
    "melody.js": _JS,
    "overview.js": _JS,
    "page.css": _CSS,
    "rate.js": _JS,
    "sample.js": _JS,
}


class Choice(NamedTuple):
    """A button: the answer it gives, what stands on it, and the keys that press it."""

    answer: str
    label: str
    keys: str
    hint: str = ""


CHOICES: dict[Form, list[Choice]] = {
    "scale": [
        Choice("1", "1", "1", "least"),
        *(Choice(n, n, n) for n in "234"),
        Choice("5", "5", "5", "most"),
    ],
    "yes_no": [Choice("yes", "Yes", "y 1"), Choice("no", "No", "n 2")],
    "pair": [
        Choice("left", "A", "ArrowLeft 1", "←"),
        Choice("equal", "Equal", "ArrowDown 2", "↓"),
        Choice("right", "B", "ArrowRight 3", "→"),
    ],
}


class Page(NamedTuple):
    """What is sent for a path."""

    media_type: str
    body: bytes


def load_pages() -> dict[str, Page]:
    """By their path, ``/``, ``/overview`` and ``/static/...``; read once, at the start."""
    templates = Environment(
        loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined
    )
    rating = templates.get_template("rate.html").render(choices=CHOICES)
    overview = templates.get_template("overview.html").render()
    pages = {"/": Page(_HTML, rating.encode()), "/overview": Page(_HTML, overview.encode())}
    for name, media_type in _STATIC.items():
        pages[f"/static/{name}"] = Page(media_type, (_HERE / "static" / name).read_bytes())
    return pages
