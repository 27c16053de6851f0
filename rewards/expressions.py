"""Expressions of names: what ``"0.5 * qed + my_module:mine"`` is read with.

Rewards and constraints are given by such expressions, in Python, in configurations and on the
command line. They are parsed, never evaluated: each grammar says which nodes of the tree it knows.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import re

# A text in quotes, which stays as it is, or "module:attribute", which Python has no syntax for.
_REFERENCE = re.compile(r"""'[^']*'|"[^"]*"|([A-Za-z_][\w.]*:[A-Za-z_][\w.]*)""")


class UnknownTargetError(ValueError):
    """There is no such module or attribute; the message has the nearest names."""


def parse_expression(text: str) -> ast.expr:
    """The tree of an expression, in which ``module:attribute`` is a name like any other.

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

    try:
        tree = ast.parse(_REFERENCE.sub(stand_in, text.strip()), mode="eval")
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"{error or 'too deep'}") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = references.get(node.id, node.id)
    return tree.body


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
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, dir(found), n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise UnknownTargetError(f"{module_name} has no {part!r}, wanted for {target!r}{hint}")
        found = getattr(found, part)
    return found
