"""What tells the scores of one objective from those of another in a memo that both may use.

An objective is told by its name, its class, the arguments it was made with, the code of its class
or function (bytecode, constants, defaults, what a closure holds, and the plain values and functions
of its module that it names), its canonical form, and its ``version``. Another value of any of these
is another namespace, so a score is never read back that a different parametrisation wrote.

What the code reads elsewhere is not seen: a library's update, a table in a file, a function of
another module, an object that is no plain value. ``version`` is for that. Another version of
Python may compile to other bytecode, and a table of the module may change as the function runs;
then sequences are scored again, and nothing is wrong.
"""

from __future__ import annotations

import contextlib
import dis
import functools
import hashlib
import inspect
import json
import re
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath

import numpy as np
import torch

_CACHED = type(functools.lru_cache(len))
_PLAIN = (
    *(bool, int, float, complex, str, bytes, tuple, list, set, frozenset, dict, range),
    *(PurePath, re.Pattern, np.ndarray, np.generic, torch.Tensor),
)


class Unnameable(TypeError):  # noqa: N818 - no error where no memo on disk is used
    """A value that cannot be told from another by what it is made of."""


def fingerprint(value: object) -> str:
    """32 hexadecimal digits that are the same in every process, for equal values.

    Raises:
        Unnameable: for what is neither plain data, nor an array, nor a function or class.
    """
    try:
        text = json.dumps(_described(value))
    except RecursionError as error:
        raise Unnameable(f"a {type(value).__name__} that holds itself") from error
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def told_by(values: Iterable[object], version: str | int) -> str:
    """The fingerprint of values; a version stands for those that cannot be told by themselves.

    Raises:
        Unnameable: for such a value, when the version is empty.
    """
    found = []
    for value in values:
        try:
            found.append(fingerprint(value))
        except Unnameable:
            if version == "":
                raise
    return fingerprint(found)


def arguments_of(
    function: Callable[..., object],
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    ignored: Iterable[str],
) -> dict[str, object]:
    """The arguments of a call by name, defaults among them, without those that are ``ignored``."""
    bound = inspect.signature(function).bind(None, *args, **kwargs)
    bound.apply_defaults()
    found: dict[str, object] = {}
    for name, value in list(bound.arguments.items())[1:]:
        kind = bound.signature.parameters[name].kind
        found |= value if kind is inspect.Parameter.VAR_KEYWORD else {name: value}
    return {name: value for name, value in found.items() if name not in ignored}


def _described(value: object) -> object:
    """A value as JSON that no other value has."""
    kind = type(value).__name__
    match value:
        case None | bool() | int() | str():
            return value
        case float() | complex() | range():
            return [kind, repr(value)]
        case bytes():
            return [kind, value.hex()]
        case list() | tuple():
            return [kind, *map(_described, value)]
        case set() | frozenset():
            return [kind, *sorted(json.dumps(_described(item)) for item in value)]
        case dict():
            return [kind, *([_described(k), _described(v)] for k, v in value.items())]
        case PurePath() | re.Pattern():
            return [kind, repr(value)]
        case np.ndarray() | np.generic() if not value.dtype.hasobject:
            data = hashlib.blake2b(np.ascontiguousarray(value).data, digest_size=16).hexdigest()
            return [kind, str(value.dtype), list(value.shape), data]
        case torch.Tensor():
            return [kind, _described(value.detach().cpu().numpy())]
        case functools.partial():
            return [kind, _described(value.func), _described((value.args, value.keywords))]
        case types.CodeType():
            constants = [_described(constant) for constant in value.co_consts]
            return [value.co_code.hex(), constants, list(value.co_names), list(value.co_freevars)]
        case types.FunctionType():
            return [*_whereabouts(value), *_described_function(value), _described_globals(value)]
        case types.MethodType():
            return [kind, _described(value.__self__), _described(value.__func__)]
        case types.BuiltinFunctionType() | types.MethodDescriptorType():
            return _whereabouts(value)
        case type():
            return [*_whereabouts(value), *_described_class(value)]
    if isinstance(value, Unnameable):
        raise value
    if hasattr(value, "__wrapped__"):  # functools.lru_cache, functools.wraps
        return [kind, _described(value.__wrapped__)]
    raise Unnameable(repr(value)[:200])


def _whereabouts(value: object) -> list[object]:
    return [getattr(value, name, None) for name in ("__module__", "__qualname__")]


def _described_function(function: types.FunctionType) -> list[object]:
    code = function.__code__
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    held = {name: cell.cell_contents for name, cell in cells if name != "__class__"}  # super()'s
    defaults = (function.__defaults__, function.__kwdefaults__)
    return [_described(code), _described(held), _described(defaults)]


def _described_globals(function: types.FunctionType) -> dict[str, object]:
    """What it names in its module, itself or by way of functions there: those, and plain values.

    What is no plain value cannot be told, and is left out; so is what comes from other modules.
    """
    found: dict[str, object] = {}
    waiting = [function]
    while waiting:
        here = waiting.pop()
        for name in _global_names(here.__code__):
            value = here.__globals__.get(name, types)  # what is none of these is left out
            if isinstance(value, _CACHED):
                value = value.__wrapped__
            if name in found:
                continue
            if isinstance(value, types.FunctionType) and value.__module__ == function.__module__:
                found[name] = _described_function(value)
                waiting.append(value)
            elif isinstance(value, _PLAIN):
                with contextlib.suppress(Unnameable, RecursionError):
                    found[name] = _described(value)
    return dict(sorted(found.items()))


def _global_names(code: types.CodeType) -> set[str]:
    """The globals that a function reads and does not write, those of functions within it too."""
    names: dict[str, set[str]] = {"LOAD_GLOBAL": set(), "STORE_GLOBAL": set()}
    for instruction in dis.get_instructions(code):
        if instruction.opname in names:
            names[instruction.opname].add(instruction.argval)
    inner = [_global_names(each) for each in code.co_consts if isinstance(each, types.CodeType)]
    read = names["LOAD_GLOBAL"] - names["STORE_GLOBAL"]
    return {name for name in read.union(*inner) if not name.startswith("__")}


def _described_class(kind: type) -> list[object]:
    """What is written in a class; what cannot be told is left out."""
    found: list[object] = []
    for name, value in sorted(vars(kind).items()):
        value = getattr(value, "fget", getattr(value, "__func__", value))
        if name.startswith("__") and not isinstance(value, types.FunctionType):
            continue  # what Python keeps there, such as __slotnames__ once an object was pickled
        try:
            found.append([name, _described(value)])
        except Unnameable:
            continue
    return found
