"""Replies of the server: JSON that can hold any text, and refusals that say what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.responses import Response


class JSON(Response):
    """JSON in ASCII: any text has a form in it, lone surrogates too."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        """The bytes of the body."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def refusal(status: int, error: str, headers: Mapping[str, str] | None = None) -> JSON:
    """A reply of 4xx or 5xx: what is wrong, what was expected, what to do."""
    closing = {"connection": "close"} if status in (408, 413) else {}  # the rest is not read
    return JSON({"error": error}, status, headers={**closing, **(headers or {})})
