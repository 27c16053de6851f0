"""Expressions of names: what ``"0.5 * qed + my_module:mine"`` is read with.

Rewards and constraints are given by such expressions, in Python, in configurations and on the
command line. They are parsed, never evaluated: each grammar says which nodes of the tree it knows.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import re

# A text in quotes, which stays as it is, or what Python has no syntax for: "module:attribute", and
# "qed#2", the second component of that name.
_QUOTED = "|".join(rf"{quote}(?:\\.|[^\\])*?{quote}" for quote in ("'{3}", '"{3}', "'", '"'))
_REFERENCE = re.compile(
    rf"{_QUOTED}|([A-Za-z_][\w.]*:[A-Za-z_][\w.]*|[A-Za-z_]\w*#[0-9]+)", re.DOTALL
)

_LISTED = 12  # names of a module that an error message lists


class UnknownTargetError(ValueError):
    """There is no such module or attribute; the message has the nearest names."""


def parse_expression(text: str) -> ast.expr:
    """The tree of an expression, in which ``module:attribute`` is a name like any other.

    It may go over several lines, as in a YAML file.

    Raises:
        ValueError: it is no expression.
    """
    references: dict[str, str] = {}

    def stand_in(match: re.Match[str]) -> str:
        if match.group(1) is None:
            return match.group()
        name = f"_reference_{len(references)}"
        references[name] = match.group(1)
        return name

    known = _REFERENCE.sub(stand_in, text)
    try:  # in brackets a line may end anywhere
        tree = ast.parse(f"[{known}\n]", mode="eval").body
    except SyntaxError as error:
        raise ValueError(_fault(known) or error.msg) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{error}" or "too deep") from error
    if not isinstance(tree, ast.List) or len(tree.elts) != 1:
        raise ValueError("expected one expression" if text.strip() else "it is empty")
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = references.get(node.id, node.id)
    return tree.elts[0]


def _fault(text: str) -> str | None:
    """What is wrong with it in its own words, without our brackets."""
    try:
        ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        return error.msg
    return None


def literal(node: ast.expr) -> object:
    """The value of a number, a text, or a list of these.

    Raises:
        ValueError: it is something else.
    """
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{ast.unparse(node)!r} is no literal; expected a number written out, a text in "
            "quotes, True, False, None, or a list or dictionary of these"
        ) from error


def load_target(target: str) -> object:
    """Import ``"module:attribute"``.

    Raises:
        UnknownTargetError: there is no such module or attribute.
    """
    module_name, _, attribute = target.partition(":")
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise  # the module is there, what it imports is not
        raise UnknownTargetError(
            f"no module {module_name!r} for {target!r}; is it spelt right, and in the current "
            "folder or installed?"
        ) from error
    where = module_name
    for part in attribute.split("."):
        if not hasattr(found, part):
            names = [name for name in dir(found) if _is_own(found, name)]
            near = difflib.get_close_matches(part, names, n=3, cutoff=0.5)
            hint = f"; did you mean {' or '.join(near)}?" if near else _listed(names)
            raise UnknownTargetError(f"{where} has no {part!r}, wanted for {target!r}{hint}")
        found = getattr(found, part)
        where += f"{'.' if ':' in where else ':'}{part}"
    return found


def _is_own(found: object, name: str) -> bool:
    """Whether a public name of a module or class is to be called, and from no other module."""
    if not name[0].isalpha():
        return False
    value = getattr(found, name, None)
    home = found.__name__ if inspect.ismodule(found) else getattr(found, "__module__", "")
    elsewhere = hasattr(value, "__qualname__") and getattr(value, "__module__", None) != home
    return callable(value) and not elsewhere


def _listed(names: list[str]) -> str:
    more = ", ..." if len(names) > _LISTED else ""
    return f"; it has {', '.join(names[:_LISTED])}{more}" if names else ""
