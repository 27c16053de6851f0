"""Time as benchmarks mean it: CPU time, or what CUDA events say; and the roof of GEMM."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

_SIDE = 1024  # of the matrices whose product is the roof


def seconds(run: Callable[[], object], device: str = "cpu") -> float:
    """What a call takes."""
    if device == "cpu":
        start = time.process_time()
        run()
        return time.process_time() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


def gemm_roof(device: str, dtype: torch.dtype, repeats: int = 10) -> float:
    """Floating-point operations a second of a large product of matrices."""
    side = _SIDE if device == "cpu" else 8 * _SIDE
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = torch.mm(a, b)

    def products() -> None:
        for _ in range(repeats):
            torch.mm(a, b, out=product)

    products()
    return 2 * side**3 * repeats / seconds(products, device)
