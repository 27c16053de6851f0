"""Comparing what environments give: nests of dicts, tuples and arrays, and Gymnasium's infos."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

TOLERANCE = 1e-5  # relative, of floating-point numbers: a batch may add in another order


def expect(fine: bool, message: str) -> None:
    """Raise an AssertionError unless all is well."""
    if not fine:
        raise AssertionError(message)


def compare(what: str, found: Any, expected: Any) -> None:
    """Raise an AssertionError with both values unless they are equal."""
    expect(
        equal(found, expected), f"{what} is {found!r}; the single environment gives {expected!r}"
    )


def equal(found: Any, expected: Any) -> bool:
    """Whether two values are equal; arrays in shape and dtype too, NaN to NaN."""
    if isinstance(expected, dict):
        same = isinstance(found, dict) and found.keys() == expected.keys()
        return same and all(equal(found[key], expected[key]) for key in expected)
    if isinstance(expected, tuple | list):
        same = isinstance(found, tuple | list) and len(found) == len(expected)
        return same and all(map(equal, found, expected))
    left, right = np.asarray(found), np.asarray(expected)
    if left.shape != right.shape:
        return False
    if object in (left.dtype, right.dtype):
        pairs = zip(left.ravel().tolist(), right.ravel().tolist(), strict=True)
        return all(a is b or _equal_objects(a, b) for a, b in pairs)
    if left.dtype.kind == "f" and right.dtype.kind == "f":
        return bool(np.allclose(left, right, rtol=TOLERANCE, atol=1e-8, equal_nan=True))
    if isinstance(expected, np.ndarray) and left.dtype != right.dtype:
        return False
    return bool(np.array_equal(left, right))


def _equal_objects(found: Any, expected: Any) -> bool:
    if isinstance(expected, np.ndarray | dict | tuple | list):
        return equal(found, expected)
    return bool(found == expected)


def info_of_row(infos: dict[str, Any], row: int, where: str) -> dict[str, Any]:
    """One row of Gymnasium's form: under ``_key`` stands which rows have the key."""
    found: dict[str, Any] = {}
    for key, value in infos.items():
        if key.startswith("_") and key[1:] in infos:
            continue
        mask = infos.get(f"_{key}")
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
            raise AssertionError(
                f"{where}: infos[{key!r}] has no bool array infos['_{key}'] beside it"
            )
        if mask[row]:
            nested = isinstance(value, dict)
            found[key] = info_of_row(value, row, where) if nested else value[row]
    return found


def compare_infos(where: str, found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Raise an AssertionError unless a row's info is the single environment's."""
    expected = {k: v for k, v in expected.items() if not (isinstance(v, dict) and not v)}
    more, less = sorted(set(found) - set(expected)), sorted(set(expected) - set(found))
    expect(not more, f"{where} has {more}, which the single environment's has not")
    expect(not less, f"{where} lacks {less}, which the single environment's has")
    for key, value in expected.items():
        if isinstance(value, dict):
            compare_infos(f"{where}[{key!r}]", found[key], value)
        else:
            compare(f"{where}[{key!r}]", found[key], value)


def arrays(what: str, value: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Every array in a nest of dicts, tuples and arrays of objects, with its place."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from arrays(f"{what}[{key!r}]", inner)
    elif isinstance(value, tuple | list):
        for index, inner in enumerate(value):
            yield from arrays(f"{what}[{index}]", inner)
    elif isinstance(value, np.ndarray):
        yield what, value
        if value.dtype == object:
            for index, inner in enumerate(value.ravel().tolist()):
                yield from arrays(f"{what}[{index}]", inner)
