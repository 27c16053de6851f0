"""A value computed from weights, computed again when, and only when, the weights change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Value = TypeVar("Value")


class Derived(Generic[Value]):
    """Caches ``compute()`` until a tensor of ``modules`` has another value, type or device.

    They are compared number by number: torch counts an optimiser's writes to a tensor, but not
    those through ``.data``, and none to the tensors of ``inference_mode``. Meant for use without
    gradients: the value is not part of any graph.
    """

    def __init__(self, modules: Sequence[nn.Module], compute: Callable[[], Value]) -> None:
        self._modules = modules
        self._compute = compute
        self._weights: list[Tensor] = []  # that the value was computed from
        self._value: Value | None = None

    def get(self, unchanged: bool = False) -> Value:
        """The value for the weights as they are now.

        Args:
            unchanged: they are what they were at the last call; comparing them is left out.
        """
        if unchanged and self._value is not None:
            return self._value
        weights = [
            tensor.detach()
            for module in self._modules
            for tensor in (*module.parameters(), *module.buffers())
        ]
        if self._value is None or not all(map(_same, weights, self._weights)):
            self._value, self._weights = self._compute(), [weight.clone() for weight in weights]
        return self._value


def _same(a: Tensor, b: Tensor) -> bool:
    return (a.dtype, a.device) == (b.dtype, b.device) and torch.equal(a, b)
