"""What a checkpoint keeps of a reward, a policy or an optimiser: named tensors, and JSON.

An optimiser's state becomes flat here, and is put back; loading it runs no code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# Tensors by name, and what is none as values that JSON has words for.
State = tuple[dict[str, Tensor], dict[str, Any]]


def flatten_optimizer(
    prefix: str, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Tensor], Any]:
    """An optimiser's state as named tensors, and the rest of it as a JSON value."""
    state = optimizer.state_dict()
    tensors = {
        f"{prefix}.{index}.{name}": value
        for index, values in state["state"].items()
        for name, value in values.items()
    }
    return tensors, state["param_groups"]


def restore_optimizer(
    prefix: str, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], groups: Any
) -> None:
    """The inverse of ``flatten_optimizer``, into an optimiser of the same parameters.

    Raises:
        ValueError: the state is of other parameters.
    """
    _check_groups(prefix, optimizer, groups)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in with_prefix(prefix, tensors).items():
        index, _, key = name.partition(".")
        shape = parameters[int(index)].shape
        if tensor.shape not in (shape, torch.Size([])):  # moments, and the number of steps
            raise ValueError(
                f"{prefix}.{name} has the shape {tuple(tensor.shape)}; expected {tuple(shape)}"
            )
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _check_groups(prefix: str, optimizer: torch.optim.Optimizer, groups: Any) -> None:
    """Learning rates and the like, which the next step would only fall over."""
    for here, saved in zip(optimizer.param_groups, groups, strict=True):
        for name in here.keys() - {"params"}:
            value = saved[name]
            if isinstance(value, str | dict) or (value is None) != (here[name] is None):
                raise ValueError(f"{prefix} has {name} = {value!r}; expected as {here[name]!r}")


def check_shapes(whose: str, expected: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    """Check that saved weights have the names and shapes that are expected.

    Raises:
        ValueError: they have not; the message names the first that differs.
    """
    for name in [*expected, *(name for name in saved if name not in expected)]:
        here, there = (
            tuple(weights[name].shape) if name in weights else None for weights in (expected, saved)
        )
        if here != there:
            raise ValueError(f"{whose} weight {name} has the shape {there}; expected {here}")


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose name begins with ``prefix.``, under the rest of their name."""
    start = prefix + "."
    return {
        name.removeprefix(start): tensor
        for name, tensor in tensors.items()
        if name.startswith(start)
    }
