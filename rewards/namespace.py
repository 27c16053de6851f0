"""What tells the scores of one objective from those of another in a memo that both may use.

An objective is told by its name, its class, the arguments it was made with, the code of its class
or function (bytecode, constants, defaults, what a closure holds, and the plain values and functions
of its module that it names), its canonical form, and its ``version``. Another value of any of these
is another namespace, so a score is never read back that a different parametrisation wrote. Where
a value cannot be told from another, such as a model, ``version`` stands for it, and for it alone:
arguments, closures and code around it are told as ever.

What the code reads elsewhere is not seen: a library's update, a table in a file, a function of
another module, an object that is no plain value. ``version`` is for that. Another version of
Python may compile to other bytecode, and a table of the module may change as the function runs;
then sequences are scored again, and nothing is wrong.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import inspect
import json
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Told:
    """What a value is told by.

    Args:
        digest: 32 hexadecimal digits that are the same in every process, for equal values; of what
            cannot be told from another only the type counts.
        unnamed: the first of that, as messages show it; empty where there is none.
        unfilled: a closure names what has no value yet, as a function further down.
    """

    digest: str
    unnamed: str = ""
    unfilled: bool = False


def tell(value: object) -> Told:
    """Tell a value: plain data, arrays, functions, classes, and the rest by its type."""
    teller = _Teller()
    try:
        text = json.dumps(teller.described(value))
    except RecursionError:
        teller = _Teller()
        text = json.dumps(teller.placeholder(value, f"a {type(value).__name__} nested too deeply"))
    return Told(_digest(text), next(iter(teller.unnamed), ""), teller.unfilled)


def fingerprint(value: object) -> str:
    """The digest of a value.

    Raises:
        Unnameable: for what is neither plain data, nor an array, nor a function or class.
    """
    told = tell(value)
    if told.unnamed:
        raise Unnameable(told.unnamed)
    return told.digest


def told_by(parts: Mapping[str, Told], version: str | int) -> str:
    """The digest of several by name; a version stands for what cannot be told from another.

    Raises:
        Unnameable: there is such a value, and the version is empty.
    """
    if version == "":
        for part in parts.values():
            if part.unnamed:
                raise Unnameable(part.unnamed)
    return _digest(json.dumps([version, sorted((k, part.digest) for k, part in parts.items())]))


def arguments_of(
    function: Callable[..., object], args: tuple[object, ...], kwargs: Mapping[str, object]
) -> dict[str, object]:
    """The arguments of a call by name, defaults among them.

    Raises:
        TypeError: they do not fit.
    """
    bound = inspect.signature(function).bind(None, *args, **kwargs)
    bound.apply_defaults()
    found: dict[str, object] = {}
    for name, value in list(bound.arguments.items())[1:]:
        kind = bound.signature.parameters[name].kind
        found |= value if kind is inspect.Parameter.VAR_KEYWORD else {name: value}
    return found


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class _Teller:
    """Describes one value as JSON that no other value has.

    Attributes:
        unnamed: what cannot be told from another, as messages show it.
        unfilled: a closure names what has no value yet.
    """

    def __init__(self) -> None:
        self.unnamed: list[str] = []
        self.unfilled = False
        self._within: list[int] = []  # the values that this one is a part of

    def described(self, value: object) -> object:
        """A value as JSON, in which what cannot be told is its type."""
        if value is None or isinstance(value, bool | int | str):
            return value
        if id(value) in self._within:
            if isinstance(value, types.FunctionType | type):  # it names itself
                return ["within", self._within.index(id(value))]
            return self.placeholder(value, f"a {type(value).__name__} that holds itself")
        self._within.append(id(value))
        try:
            return self._described(value)
        finally:
            self._within.pop()

    def placeholder(self, value: object, shown: str = "") -> object:
        """What stands for a value that cannot be told from another of its type."""
        self.unnamed.append(shown or _shown(value))
        return ["one of", *_whereabouts(type(value))]

    def _described(self, value: object) -> object:
        kind = type(value).__name__
        match value:
            case float() | complex() | range():
                return [kind, repr(value)]
            case bytes():
                return [kind, value.hex()]
            case list() | tuple():
                return [kind, *map(self.described, value)]
            case set() | frozenset():
                return [kind, *sorted(json.dumps(self.described(item)) for item in value)]
            case dict():
                described = self.described
                return [kind, *([described(k), described(v)] for k, v in value.items())]
            case PurePath() | re.Pattern():
                return [kind, repr(value)]
            case np.ndarray() | np.generic() if not value.dtype.hasobject:
                data = hashlib.blake2b(value.tobytes(), digest_size=16).hexdigest()
                return [kind, str(value.dtype), list(value.shape), data]
            case torch.Tensor() if (array := _as_bytes(value)) is not None:
                return [kind, str(value.dtype), list(value.shape), self.described(array)]
            case functools.partial():
                parts = (value.func, value.args, value.keywords)
                return [kind, *map(self.described, parts)]
            case types.CodeType():
                constants = [self.described(constant) for constant in value.co_consts]
                names = [list(value.co_names), list(value.co_freevars)]
                return [value.co_code.hex(), constants, *names]
            case types.FunctionType():
                return [*_whereabouts(value), *self._function(value), self._globals(value)]
            case types.MethodType():
                return [kind, self.described(value.__self__), self.described(value.__func__)]
            case types.BuiltinFunctionType() | types.MethodDescriptorType():
                return _whereabouts(value)
            case type():
                return [*_whereabouts(value), *self._class(value)]
        if hasattr(value, "__wrapped__"):  # functools.lru_cache, functools.wraps
            return [kind, self.described(value.__wrapped__)]
        return self.placeholder(value)

    def _function(self, function: types.FunctionType) -> list[object]:
        held = {}
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        for name, cell in cells:
            if name == "__class__":  # super()'s
                continue
            try:
                contents = cell.cell_contents
            except ValueError:
                self.unfilled = True
                shown = f"{function.__qualname__}, whose {name!r} has no value yet"
                held[name] = self.placeholder(cell, shown)
            else:
                held[name] = self.described(contents)
        defaults = (function.__defaults__, function.__kwdefaults__)
        return [self.described(function.__code__), held, *map(self.described, defaults)]

    def _globals(self, function: types.FunctionType) -> dict[str, object]:
        """What it names in its module, itself or by way of functions there: those, plain values.

        What is no plain value is left out; so is what comes from other modules.
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
                if (
                    isinstance(value, types.FunctionType)
                    and value.__module__ == function.__module__
                ):
                    found[name] = self._function(value)
                    waiting.append(value)
                elif isinstance(value, _PLAIN):
                    found[name] = self._unasked(value)
        return dict(sorted(found.items()))

    def _class(self, kind: type) -> list[object]:
        """What is written in a class."""
        found: list[object] = []
        for name, value in sorted(vars(kind).items()):
            value = getattr(value, "fget", getattr(value, "__func__", value))
            if isinstance(value, functools.cached_property):
                value = value.func
            if name.startswith("__") and not isinstance(value, types.FunctionType):
                continue  # what Python keeps there, such as __slotnames__ once it was pickled
            found.append([name, self._unasked(value)])
        return found

    def _unasked(self, value: object) -> object:
        """A value of which nobody is asked to tell by a version what cannot be told."""
        known = len(self.unnamed)
        try:
            return self.described(value)
        finally:
            del self.unnamed[known:]


def _shown(value: object) -> str:
    try:
        return repr(value)[:200]
    except Exception:  # of an object that is not finished yet, for one
        return f"a {type(value).__name__}"


def _as_bytes(tensor: torch.Tensor) -> np.ndarray | None:
    """The numbers of a tensor of any type; None where it has no memory that can be read."""
    try:
        plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
        return plain.reshape(-1).view(torch.uint8).numpy()
    except (RuntimeError, TypeError, ValueError):  # sparse, quantised, on no device
        return None


def _whereabouts(value: object) -> list[object]:
    return [getattr(value, name, None) for name in ("__module__", "__qualname__")]


def _global_names(code: types.CodeType) -> set[str]:
    """The globals that a function reads and does not write, those of functions within it too."""
    names: dict[str, set[str]] = {"LOAD_GLOBAL": set(), "STORE_GLOBAL": set()}
    for instruction in dis.get_instructions(code):
        if instruction.opname in names:
            names[instruction.opname].add(instruction.argval)
    inner = [_global_names(each) for each in code.co_consts if isinstance(each, types.CodeType)]
    read = names["LOAD_GLOBAL"] - names["STORE_GLOBAL"]
    return {name for name in read.union(*inner) if not name.startswith("__")}
