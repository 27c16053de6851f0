"""What options of agents have to be; the messages carry the value and what was expected."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping

import torch

from .assembled import POLICIES
from .policies import Policy


def check_least(least: float, **options: float) -> None:
    """Check that options are numbers of at least ``least``.

    Raises:
        ValueError: one of them is not.
    """
    for name, value in options.items():
        if not isinstance(value, int | float) or not least <= value < float("inf"):
            raise ValueError(f"{name} is {value!r}; expected at least {least}")


def check_positive(**options: float) -> None:
    """Check that options are positive finite numbers.

    Raises:
        ValueError: one of them is not.
    """
    for name, value in options.items():
        if not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise ValueError(f"{name} is {value!r}; expected more than 0")


def check_device(device: torch.device | str) -> None:
    """Check that torch knows such a device.

    Raises:
        ValueError: it does not.
    """
    try:
        torch.device("cpu" if device == "auto" else device)
    except RuntimeError as error:
        raise ValueError(
            f"device is {device!r}; expected 'auto', 'cpu', 'cuda' or 'cuda:1'"
        ) from error


def check_policy_options(policy: str | Policy, options: Mapping[str, object] | None) -> None:
    """Check that a policy made by name takes options of these names.

    Raises:
        ValueError: it does not; the message has the nearest names.
    """
    if not isinstance(policy, str) or policy not in POLICIES:
        return  # made already, or to be refused by its name
    known = [
        name for name in inspect.signature(POLICIES[policy]).parameters if name != "vocabulary"
    ]
    for name in options or {}:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
            raise ValueError(f"the policy {policy} has no option {name!r}; {hint}")
