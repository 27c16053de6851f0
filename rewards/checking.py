"""What a run would meet in an objective: its range, its failures, its cost, its reliability.

An objective is asked about examples, as a batch, again, backwards and one by one, without its memo;
then about texts that no scorer expects but any policy may write. Nothing here decides for the
user: a finding is a sentence, and whether it is a problem.
"""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from .failures import short
from .objective import Objective, ObjectiveError

# What policies write before they have learnt, and what files contain.
HOSTILE = (
    "",
    " ",
    "\n",
    "\x00",
    "\u202e",
    "(((((",
    "-1",
    "nan",
    "'; DROP TABLE scores; --",
    "<script>alert(1)</script>",
    "$(reboot)",
    "é\u0301\U0001f9ea",
    "\ud800",
    "C" * 10_000,
)

Level = Literal["good", "note", "problem"]
Asked = Sequence[float | ObjectiveError | None]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        what: in a word or two.
        level: ``"good"``, ``"note"`` for what one should know, ``"problem"`` for what would go
            wrong in a run.
        detail: a sentence with the figures.
    """

    what: str
    level: Level
    detail: str


def check_objective(
    objective: Objective, examples: Sequence[str], tell: Callable[[str], None] = lambda asked: None
) -> list[Finding]:
    """Look at an objective as a run would use it; its memo and its budget are left alone.

    Args:
        objective: what to look at; it is asked about each example four times, and about 14 texts.
        examples: texts of the kind that it will score; a few dozen tell most.
        tell: hears what the objective is about to be asked, for whoever waits.

    Raises:
        ValueError: there are no examples.
    """
    texts = list(dict.fromkeys(examples))
    if not texts:
        raise ValueError("there are no examples to score; give a task or a file that has some")

    def ask(texts: list[str]) -> Asked:
        tell(short(texts[0]) if len(texts) == 1 else f"a batch of {len(texts)} texts")
        try:
            return objective.score_anew(texts)
        except ObjectiveError as error:
            return [error] * len(texts)

    start = time.perf_counter()
    batch = ask(texts)
    seconds = time.perf_counter() - start
    if isinstance(batch[0], ObjectiveError):
        return [Finding("examples", "problem", str(batch[0]))]
    findings = [_failures(objective, texts, batch), _range(objective, batch)]
    start = time.perf_counter()
    single = [ask([text])[0] for text in texts]
    findings.append(_cost(seconds / len(texts), (time.perf_counter() - start) / len(texts)))
    findings.append(_same("the same twice", texts, batch, ask(texts)))
    if findings[-1].level == "good":  # else nothing follows from scores that differ
        findings.append(_same("batch equals single", texts, batch, single))
        findings.append(_same("order does not matter", texts, batch, ask(texts[::-1])[::-1]))
    return [*findings, _hostile(ask), _travels(objective)]


def _failures(objective: Objective, texts: list[str], values: Asked) -> Finding:
    failed = [text for text, value in zip(texts, values, strict=True) if value is None]
    if not failed:
        return Finding("examples", "good", f"all {len(texts)} were scored")
    level: Level = "problem" if len(failed) == len(texts) else "note"
    return Finding(
        "examples",
        level,
        f"{len(failed)} of {len(texts)} could not be scored, first "
        f"{objective.first_failure or short(failed[0])}; they are left out of the gradient",
    )


def _range(objective: Objective, values: Asked) -> Finding:
    found = [value for value in values if isinstance(value, float)]
    if not found:
        return Finding("range", "problem", "no score to tell it from")
    low, high = min(found), max(found)
    said = f"scores from {low:g} to {high:g}"
    if low < objective.range[0] or high > objective.range[1]:
        said += f", outside the stated {objective.range[0]:g} to {objective.range[1]:g}"
        return Finding("range", "problem", said)
    if low == high:
        said = f"every example scores {low:g}; where all that is written does, nothing is learnt"
        return Finding("range", "note", said)
    if not all(map(math.isfinite, objective.range)):
        return Finding("range", "note", f"{said}; state range=(low, high) where it is known")
    return Finding("range", "good", said)


def _cost(seconds: float, single_seconds: float) -> Finding:
    said = f"{1e6 * seconds:,.0f} µs a sequence in a batch, {1e6 * single_seconds:,.0f} µs alone"
    if seconds > 0.1:
        said += "; score in several processes with executor=, keep scores with memo='scores.sqlite'"
        return Finding("cost", "note", said)
    return Finding("cost", "good", said)


def _same(what: str, texts: list[str], first: Asked, second: Asked) -> Finding:
    for text, a, b in zip(texts, first, second, strict=True):
        if isinstance(a, float) and isinstance(b, float):
            equal = math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-8)
        else:
            equal = a is b
        if not equal:
            remedy = {
                "the same twice": "make it with memo=False if that is meant",
                "batch equals single": "a memo asks for what it does not know alone: mend it, or "
                "make it with memo=False",
                "order does not matter": "scores are given to the wrong sequences",
            }[what]
            return Finding(what, "problem", f"{short(text)} scored {a}, then {b}; {remedy}")
    return Finding(what, "good", f"{len(texts)} of {len(texts)}")


def _hostile(ask: Callable[[list[str]], Asked]) -> Finding:
    answers = [ask([text])[0] for text in HOSTILE]
    stopped = [answer for answer in answers if isinstance(answer, ObjectiveError)]
    if not stopped:
        return Finding("hostile texts", "good", f"{len(HOSTILE)} of {len(HOSTILE)} were answered")
    return Finding(
        "hostile texts",
        "problem",
        f"{len(stopped)} of {len(HOSTILE)} would stop a run; first: {stopped[0]}; return None "
        "for what cannot be scored, or make it with on_error='skip'",
    )


def _travels(objective: Objective) -> Finding:
    try:
        pickle.dumps(objective)
    except Exception as error:  # whatever a user's object raises
        return Finding(
            "other processes",
            "note",
            f"it cannot be sent to them ({type(error).__name__}: {error}), so executor= and "
            "timeout= will not work; define it at the top of a module",
        )
    return Finding("other processes", "good", "it can be sent to them: executor=, timeout=")
