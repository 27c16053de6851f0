"""The files of the page, by a fixed list of paths: no path comes from a request."""

from __future__ import annotations

from typing import NamedTuple


class Page(NamedTuple):
    """What is sent for a path."""

    media_type: str
    body: bytes


def load_pages() -> dict[str, Page]:
    """By their path, ``/``, ``/overview`` and ``/static/...``; read once, at the start."""
    return {"/": Page("text/html; charset=utf-8", b"<!doctype html><title>tokengym</title>")}
