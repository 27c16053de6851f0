"""Tokens: what an assessor's link holds, and what is kept of it.

A token is 256 random bits. The store keeps its SHA-256 alone, so that who reads the database cannot
rate; there is nothing to guess in a random token that a slow hash would protect.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

_NAME = re.compile(r"\w[\w .@+-]{0,62}\w|\w")


def new_token() -> str:
    """256 random bits as 43 characters that may stand in a link."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """What is kept of a token: 64 hexadecimal digits."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def is_token(token: str, known_digest: str) -> bool:
    """Whether this is the token, in a time that does not tell how much of it is right."""
    return hmac.compare_digest(digest(token), known_digest)


def check_name(name: str) -> None:
    """Refuse what is no name of an assessor.

    Raises:
        ValueError: it is none.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"the assessor's name is {name[:80]!r}; expected 1 to 64 letters, digits, spaces or "
            "one of _.@+-"
        )
