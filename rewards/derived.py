"""A value computed from weights, computed again when, and only when, the weights change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from torch import nn

Value = TypeVar("Value")


class Derived(Generic[Value]):
    """Caches ``compute()`` until a parameter of ``module`` is written to, moved or replaced.

    Torch counts the writes to a tensor (``_version``), an optimiser's and ``load_state_dict``'s
    among them. Meant for use without gradients: the value is not part of any graph.
    """

    def __init__(self, module: nn.Module, compute: Callable[[], Value]) -> None:
        self._module = module
        self._compute = compute
        self._stamp: list[tuple[int, int]] | None = None
        self._value: Value | None = None

    def get(self) -> Value:
        """The value for the weights as they are now."""
        stamp = [(p.data_ptr(), p._version) for p in self._module.parameters()]
        if self._value is None or stamp != self._stamp:
            self._value, self._stamp = self._compute(), stamp
        return self._value
