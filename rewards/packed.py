"""Products with one matrix, many times over: packed once, in the order that oneDNN reads it.

On a CPU, torch hands products to a library that packs the weights anew for every call. Packed
beforehand they are a fifth faster at 512 rows of 512 x 2,048 in float32, and two fifths at 64
(measured on AVX-512). ``torch.compile`` packs by the same operators when it freezes a model; they
are not public, so where they are missing, or say no, products are those of ``F.linear``.
"""

# Shapes: B rows, I inputs, O outputs
from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

_WORTH_PACKING = 2**16  # weights; below, a call costs more than it saves


@torch.no_grad()
def pack(weight_OI: Tensor) -> Tensor | None:
    """The weights for ``linear`` and ``add_product``, to be packed again when they change.

    None where packing does not pay or cannot be had.
    """
    if weight_OI.device.type != "cpu" or weight_OI.numel() < _WORTH_PACKING:
        return None
    if not _can_pack(weight_OI.dtype):
        return None
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight_OI.detach())
    return packed


def linear(x_BI: Tensor, weight_OI: Tensor, bias_O: Tensor | None, packed: Tensor | None) -> Tensor:
    """``F.linear``, (B, O), by the packed weights where there are some; then without gradients."""
    if packed is None:
        return F.linear(x_BI, weight_OI, bias_O)
    product_BO: Tensor = torch.ops.mkldnn._linear_pointwise(x_BI, packed, bias_O, "none", [], "")
    return product_BO


def add_product(total_BO: Tensor, x_BI: Tensor, weight_OI: Tensor, packed: Tensor | None) -> Tensor:
    """``total + x @ weight.T``; ``total`` may be written over."""
    if packed is None:
        return total_BO.addmm_(x_BI, weight_OI.T)  # one pass less than a sum
    operator = torch.ops.mkldnn._linear_pointwise.binary
    sum_BO: Tensor = operator(x_BI, total_BO, packed, None, "add")
    return sum_BO


@lru_cache
def _can_pack(dtype: torch.dtype) -> bool:
    """Whether the operators are there, and take this type on this machine."""
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return False
    ones = torch.ones(16, 16, dtype=dtype)
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(ones)
        twice = add_product(linear(ones, ones, None, packed), ones, ones, packed)
    except (AttributeError, RuntimeError, TypeError):
        return False
    return bool((twice == 32).all())
