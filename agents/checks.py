"""What options of agents have to be, beside what rewards/checks.py has; errors carry the value."""

from __future__ import annotations

import torch


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
    """Check that torch knows such a device and has it; for CUDA's it may take the CPU.

    Raises:
        ValueError: it does not.
    """
    try:
        wanted = torch.device("cpu" if device == "auto" else device)
        if wanted.type != "cuda":
            torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device is {device!r}; expected one that is here: 'auto', 'cpu', 'cuda' or 'cuda:1'"
        ) from error
