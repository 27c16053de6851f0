"""The lists of the command line: tasks, constraints and rewards, by name."""

from __future__ import annotations

import inspect
from typing import get_args

from jsonargparse import Namespace
from rich.console import Console
from rich.table import Column, Table

from ..envs import options_of, registered_tasks, task_factory
from ..envs.constraints import CONSTRAINTS
from ..rewards import Reward, make_reward, reward_targets
from ..rewards.base import Kind
from ..rewards.expressions import load_target

_MISSING = "not available"


def list_tasks(options: Namespace, console: Console) -> None:
    """List the registered tasks with their options, and the constraints that each can be given."""
    table = Table("task", "what is written", "options")
    for id in registered_tasks():
        factory = task_factory(id)
        summary = (factory.__doc__ or "").strip().splitlines()[0]
        taken = "\n".join(f"{k}={v!r}" for k, v in options_of(factory).items())
        table.add_row(id, summary.partition(": ")[2] or summary, taken)
    console.print(table)
    console.print("One of your own is 'module:mine/Haiku-v0', after the module that registers it.")
    table = Table("constraint", "what it asks")
    for name, kind in CONSTRAINTS.items():
        parameters = inspect.signature(kind).parameters.values()
        taken = ", ".join(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)
        what = (kind.__doc__ or "").strip().splitlines()[0]
        table.add_row(f"{name}({taken})" if taken else name, what)
    console.print(table)
    console.print(
        "Combine them: 'minimum_length(8) & no_repetition(3)'. One of your own is "
        "'module:attribute'.",
    )


def list_rewards(options: Namespace, console: Console) -> None:
    """List the named rewards, kind by kind: what they are, their range, their cost."""
    rows: dict[str, list[tuple[str, str]]] = {kind: [] for kind in (*get_args(Kind), _MISSING)}
    for name, target in reward_targets().items():
        try:
            kind, what = _about_reward(name, target)
        except (ImportError, ValueError, TypeError) as error:
            kind, what = _MISSING, str(error)
        rows[kind].append((name, what))
    for kind, found in rows.items():
        if found:
            table = Table(Column(kind, no_wrap=True), "what it is")
            for name, what in found:
                table.add_row(name, what)
            console.print(table)
    console.print(
        "They score finished sequences, but for what scores every completion. Combine them: "
        "'0.5 * conv_discriminator + 0.5 * sigmoid(qed, low=0.2, high=0.8)'. "
        "One of your own is 'module:attribute'.",
    )


def _about_reward(name: str, target: str) -> tuple[str, str]:
    """Its kind, and what to know of it; how it is called, where it is made of others."""
    found = load_target(target)
    if not (isinstance(found, type) and issubclass(found, Reward)):
        found = make_reward(name)
    first_line = (found.__doc__ or "").strip().partition("\n")[0]
    if found.kind != "component":
        assert isinstance(found, type)
        parameters = inspect.signature(found).parameters.values()
        bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters]
        return found.kind, f"{name}{inspect.Signature(bare)}\n{first_line}"
    low, high = found.range
    cost = "" if found.microseconds is None else f", about {found.microseconds:,.0f} µs each"
    credit = ", scores every completion" if found.credit == "rollouts" else ""
    facts = f"{low:g} .. {high:g}{cost}{credit}"
    return found.kind, f"{first_line}{_options_needed(found)}\n{facts}"


def _options_needed(found: object) -> str:
    """What a reward cannot be made without, as in 'Needs target='; empty for most."""
    if not isinstance(found, type):
        return ""
    parameters = inspect.signature(found).parameters.values()
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = [f"{p.name}=" for p in parameters if p.default is p.empty and p.kind in plain]
    return f" Needs {', '.join(needed)}." if needed else ""
