"""Constraints by name: ``"smiles_syntax"``, ``"minimum_length(8) & no_repetition(3)"``.

An expression holds names, calls with literal arguments, and ``&``; one of your own is written
``my_module:MyConstraint``. It is parsed, never evaluated.

The other form is for files: JSON, a name and options for each part. From it only the constraints of
this project are made, as reading a file must not import what the file names.
"""

from __future__ import annotations

import ast
import difflib
import operator
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, SupportsIndex, cast

from ...rewards.expressions import UnknownTargetError, literal, load_target, parse_expression
from .base import All, Constraint
from .brackets import BalancedBrackets
from .length import MinimumLength
from .repetition import NoRepetition
from .selfies import SELFIES
from .smiles import SMILESSyntax
from .template import Template
from .tokens import AllowedTokens, ForbiddenTokens

CONSTRAINTS: dict[str, type[Constraint]] = {
    "allowed_tokens": AllowedTokens,
    "balanced_brackets": BalancedBrackets,
    "forbidden_tokens": ForbiddenTokens,
    "minimum_length": MinimumLength,
    "no_repetition": NoRepetition,
    "selfies": SELFIES,
    "smiles_syntax": SMILESSyntax,
    "template": Template,
}
_SAVED: dict[str, type[Constraint]] = {**CONSTRAINTS, "all": All}
# A constraint, or its name or expression.
ConstraintSpec = Constraint | str


class UnknownConstraintError(ValueError):
    """No constraint has this name; the message has the nearest names."""


def make_constraint(spec: ConstraintSpec) -> Constraint:
    """The constraint that is meant: itself, or by name or expression.

    Raises:
        UnknownConstraintError: no such name.
        UnknownTargetError: no such module, or it has no such attribute.
        ValueError: an expression that is none.
        TypeError: something else.
    """
    if isinstance(spec, Constraint):
        return spec
    if not isinstance(spec, str):
        raise TypeError(
            f"the constraint is {spec!r}; expected a name such as 'smiles_syntax', an expression "
            "of names, or a tokengym.Constraint, of which a class of your own defines "
            "mask(tokens_BT, lengths_B)"
        )
    try:
        return _build(parse_expression(spec))
    except (UnknownConstraintError, UnknownTargetError):
        raise
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"cannot read the constraint {spec!r} ({error}); expected a name such as "
            "'smiles_syntax', 'module:attribute', or several such as 'minimum_length(8) & "
            "no_repetition(3)'"
        ) from error


def constraint_to_json(constraint: Constraint) -> dict[str, Any]:
    """A constraint as a JSON value: its name and options; of one that is not ours, the name."""
    kind = type(constraint)
    for name, known in _SAVED.items():
        if kind is known:
            options = {f.name: _plain(getattr(constraint, f.name)) for f in fields(known)}
            return {"name": name, "options": options}
    return {"name": f"{kind.__module__}:{kind.__qualname__}"}


def constraint_from_json(value: Mapping[str, Any]) -> Constraint:
    """The inverse of ``constraint_to_json``; imports nothing.

    Raises:
        UnknownConstraintError: one that is not this project's.
        KeyError, TypeError: no value of ``constraint_to_json``.
    """
    name = value["name"]
    if name not in _SAVED:
        raise UnknownConstraintError(f"{name!r} is none of {', '.join(CONSTRAINTS)}")
    options = dict(value["options"])
    if name == "all":
        options["parts"] = [constraint_from_json(part) for part in options["parts"]]
    return _SAVED[name](**options)


def _plain(value: object) -> object:
    """What JSON has a word for."""
    if isinstance(value, Constraint):
        return constraint_to_json(value)
    if isinstance(value, str | int):
        return value
    if isinstance(value, Iterable):
        return [_plain(item) for item in value]
    return operator.index(cast(SupportsIndex, value))  # NumPy's integers


def _build(node: ast.expr) -> Constraint:
    match node:
        case ast.Name(id=name):
            return _named(name, [], {})
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
            options = {str(k.arg): literal(k.value) for k in keywords}
            return _named(name, [literal(argument) for argument in args], options)
        case ast.BinOp(left=left, op=ast.BitAnd(), right=right):
            return _build(left) & _build(right)
    raise ValueError(f"{ast.unparse(node)!r} is no constraint")


def _named(name: str, arguments: list[Any], options: dict[str, Any]) -> Constraint:
    found = load_target(name) if ":" in name else CONSTRAINTS.get(name)
    if found is None:
        near = difflib.get_close_matches(name, CONSTRAINTS, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(CONSTRAINTS)}"
        raise UnknownConstraintError(
            f"unknown constraint {name!r}; {hint} One of your own is written 'module:attribute'."
        )
    if isinstance(found, type) and issubclass(found, Constraint):
        try:
            return found(*arguments, **options)
        except TypeError as error:
            raise ValueError(f"constraint {name!r}: {error}") from error
    if not isinstance(found, Constraint) or arguments or options:
        raise ValueError(f"{name!r} is {found!r}; expected a class of constraints, or one itself")
    return found
