"""The worker's side of the protocol: three lines make a worker of a Python function.

    from tokengym_worker import serve
    def score(sequence): return sequence.count("c")
    serve(score, per_sequence=True)

One JSON object a line. First, on standard output, the handshake
``{"protocol": 1, "name": "score", "range": [null, null]}``; then to every request on standard input
``{"id": 7, "sequences": ["CCO", "C("]}`` an answer
``{"id": 7, "scores": [0.3, null], "errors": {"1": "ValueError: no molecule"}}``.

This file needs Python 3.8 and its standard library alone. ``tokengym_worker`` is the same file
under a name of its own, because ``import tokengym`` takes seconds; where tokengym is not installed,
copy this file as ``tokengym_worker.py`` beside the worker.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

Score = Callable[[Any], Any]  # a list of texts -> their scores, or a text -> its score


def serve(
    score: Score,
    *,
    name: str | None = None,
    range: tuple[float | None, float | None] = (None, None),
    per_sequence: bool = False,
) -> None:
    """Answer requests until standard input ends.

    What the function prints goes to standard error, so that it cannot disturb the protocol. An
    exception, or a score that is no finite number, is reported as the error of its sequence.

    Args:
        score: list of texts -> list of scores; None for what it cannot score.
        name: the objective's name; the function's own by default.
        range: the lowest and the highest score, None where it is not known.
        per_sequence: the function takes one text, not a list.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)

    def say(message: dict[str, object]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    say({"protocol": 1, "name": name or score.__name__, "range": list(range)})
    for line in sys.stdin.buffer:
        request = json.loads(line)
        say({"id": request["id"], **answer(score, request["sequences"], per_sequence)})


def answer(score: Score, sequences: list[str], per_sequence: bool) -> dict[str, object]:
    """The scores of sequences, and the error of each that has none."""
    if not per_sequence:
        try:
            scores = [_number(value) for value in _as_many(score(sequences), sequences)]
            return {"scores": scores, "errors": {}}
        except Exception:  # which of them was it?
            batch = score
            score = lambda text: _as_many(batch([text]), [text])[0]  # noqa: E731
    scores, errors = [], {}
    for place, sequence in enumerate(sequences):
        try:
            scores.append(_number(score(sequence)))
        except Exception as error:
            scores.append(None)
            errors[str(place)] = f"{type(error).__name__}: {error}"
    return {"scores": scores, "errors": errors}


def _as_many(scores: Sequence[Any], sequences: list[str]) -> Sequence[Any]:
    if isinstance(scores, (str, bytes, Mapping, Set)):
        raise TypeError(f"returned {scores!r}; expected a list with one score for each")
    if len(scores) != len(sequences):
        raise ValueError(f"returned {len(scores)} scores for {len(sequences)} sequences")
    return scores


def _number(value: Any) -> float | None:
    if value is None:
        return None
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"returned {value!r}; expected a finite number or None")
    return number
