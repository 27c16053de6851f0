"""The worker protocol, version 1: what a message may hold. Standard output and HTTP share it.

The worker speaks first: ``{"protocol": 1, "name": "rings", "range": [0, 1]}``. Every request
``{"id": 7, "sequences": ["CCO", "C("]}`` has one answer
``{"id": 7, "scores": [0.3, null], "errors": {"1": "no molecule"}}``: a number a sequence, in their
order, or null where there is none, with the reason under the sequence's place where that is an
error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

from ..checks import check_name
from ..crew import Answer, Failure, WorkerError

VERSION = 1


class ProtocolError(WorkerError):
    """A message that the protocol does not know."""


@dataclass(frozen=True)
class Handshake:
    """What a worker says of itself; infinite where it does not know its range."""

    name: str
    range: tuple[float, float]


def message(line: bytes | bytearray) -> Mapping[str, object] | None:
    """The JSON object of a line; None for anything else."""
    if not line.lstrip().startswith(b"{"):  # said at once, where a program writes a lot
        return None
    try:
        found = json.loads(line, parse_int=_integer)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def request(number: int, texts: list[str]) -> bytes:
    """The line that asks for the scores of texts."""
    return json.dumps({"id": number, "sequences": texts}).encode("ascii") + b"\n"


def is_answer(said: Mapping[str, object] | None, number: int) -> TypeGuard[Mapping[str, object]]:
    """Whether a message answers the request of this number; ``true`` is no number."""
    return said is not None and type(said.get("id")) is int and said["id"] == number


def shown(line: bytes | bytearray) -> str:
    """The beginning of a line as an error message shows it."""
    return _short(bytes(line[:200]).decode(errors="replace"))


def largest_answer(count: int) -> int:
    """Bytes of the longest answer to so many sequences that is read: 1 MiB and 4 KiB for each."""
    return (1 << 20) + count * (1 << 12)


def read_handshake(said: Mapping[str, object]) -> Handshake:
    """Check a handshake.

    Raises:
        ProtocolError: another version, or no name or range.
    """
    if said["protocol"] is True or said["protocol"] != VERSION:
        raise ProtocolError(f"speaks protocol {said['protocol']!r}; expected {VERSION}")
    name, ends = said.get("name"), said.get("range", [None, None])
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= 100:
        raise ProtocolError(f"says its name is {_short(name)}; expected 1 to 100 characters")
    try:
        check_name(name)
    except ValueError as error:
        raise ProtocolError(f"says its {error}") from error
    match ends:
        case [int() | float() | None as low, int() | float() | None as high]:
            range = (-float("inf") if low is None else low, float("inf") if high is None else high)
            if range[0] <= range[1]:
                return Handshake(name, range)
    raise ProtocolError(
        f"says its range is {_short(ends)}; expected [lowest, highest], null for what is not known"
    )


def read_answer(said: Mapping[str, object], texts: list[str]) -> list[Answer]:
    """The answers to texts.

    Raises:
        ProtocolError: not one score a text, or the error of a text that was not asked for.
    """
    scores, errors = said.get("scores"), said.get("errors") or {}
    if not isinstance(scores, list):
        raise ProtocolError(f"answered with the scores {_short(scores)}; expected a list")
    if len(scores) != len(texts):
        raise ProtocolError(f"returned {len(scores)} scores for {len(texts)} sequences")
    if not isinstance(errors, dict) or not set(errors) <= set(map(str, range(len(texts)))):
        raise ProtocolError(
            f"answered with the errors {_short(errors)}; expected an object of the places "
            f'"0" to "{len(texts) - 1}"'
        )
    answers: list[Answer] = list(scores)
    for place, why in errors.items():
        answers[int(place)] = Failure(f"reported {_short(why)}")
    return answers


def _integer(digits: str) -> float:
    """An integer of a thousand digits is a score like another: infinite."""
    return int(digits) if len(digits) < 20 else float(digits)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."
