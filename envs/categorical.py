"""Drawing from a categorical distribution with one uniform a row: the inverse of its CDF.

``torch.multinomial`` draws an exponential a logit; one uniform a row and a running sum is ten times
faster at 5,000 tokens, and what is drawn is a function of the logits and the uniform alone.
Large vocabularies go two ways down: sums of blocks, then one block; running sums are what costs.
"""

# Shapes: R rows, A actions, K actions a block, S = ceil(A / K) blocks, U distributions
from __future__ import annotations

import torch
from torch import Tensor

TWO_LEVELS = 512  # actions; below, the running sum over all of them is faster (measured)
_BLOCK = 64


def sample_categorical(logits_RA: Tensor, uniforms_R: Tensor) -> Tensor:
    """The token in which each uniform falls: the first with CDF > u, int64 (R,).

    A where a row is no distribution: it holds a NaN, or -inf alone.

    Args:
        logits_RA: unnormalised log-probabilities; -inf is never drawn.
        uniforms_R: in [0, 1), in the logits' dtype.
    """
    if logits_RA.shape[1] < TWO_LEVELS:
        cdf_RA = cumulative(logits_RA)
        return find_in(cdf_RA, uniforms_R * cdf_RA[:, -1])
    return find_by_blocks(logits_RA.softmax(dim=1), uniforms_R)


def find_by_blocks(weights_UA: Tensor, uniforms_R: Tensor, of_R: Tensor | None = None) -> Tensor:
    """The same from the softmax, by the sums of blocks, then within one block.

    Args:
        weights_UA: softmaxes.
        uniforms_R: in [0, 1).
        of_R: from which of them a row draws, int64; None where each has its own.
    """
    sums_RS = _block_sums(weights_UA)
    cdf_RS = sums_RS.cumsum(dim=1)
    if of_R is not None:
        sums_RS, cdf_RS = sums_RS[of_R], cdf_RS[of_R]
    target_R = uniforms_R * cdf_RS[:, -1]
    block_R1 = find_in(cdf_RS, target_R).clamp_(max=cdf_RS.shape[1] - 1)[:, None]
    before_R = (cdf_RS.gather(1, block_R1) - sums_RS.gather(1, block_R1))[:, 0]
    A = weights_UA.shape[1]
    tokens_RK = block_R1 * _BLOCK + torch.arange(_BLOCK, device=block_R1.device)
    places_RK = tokens_RK.clamp(max=A - 1)
    if of_R is None:
        within_RK = weights_UA.gather(1, places_RK)
    else:
        within_RK = weights_UA[of_R[:, None], places_RK]
    within_RK = within_RK.masked_fill_(tokens_RK >= A, 0.0)
    rest_R = (target_R - before_R).clamp_(min=0.0)
    token_R = block_R1[:, 0] * _BLOCK + find_in(within_RK.cumsum(dim=1), rest_R)
    return token_R.clamp_(max=A)


def cumulative(logits_RA: Tensor) -> Tensor:
    """The CDF, (R, A); its last entry is 1 but for rounding.

    ``softmax`` is one pass, and takes half the time of the exponential by itself (measured).
    """
    return logits_RA.softmax(dim=1).cumsum(dim=1)


def find_in(cdf_RA: Tensor, targets_R: Tensor) -> Tensor:
    """The first token whose entry exceeds the target, int64 (R,); never one without weight.

    Rounding may carry a target up to the total itself, past the last token that can be drawn.
    """
    total_R = cdf_RA[:, -1]
    targets_R = torch.minimum(targets_R, torch.nextafter(total_R, total_R.new_zeros(())))
    return torch.searchsorted(cdf_RA, targets_R[:, None], right=True)[:, 0]


def _block_sums(weights_RA: Tensor) -> Tensor:
    whole = weights_RA.shape[1] // _BLOCK * _BLOCK
    sums_RS: Tensor = weights_RA[:, :whole].unflatten(1, (-1, _BLOCK)).sum(dim=2)
    if whole == weights_RA.shape[1]:
        return sums_RS
    return torch.cat([sums_RS, weights_RA[:, whole:].sum(dim=1, keepdim=True)], dim=1)
