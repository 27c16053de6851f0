"""How well a discriminator tells real from generated, and how true its probabilities are.

Pure functions of what it says of a batch of each kind. Of batches of the usual size (64 of each)
they are rough: the AUC has a standard error of about 0.05, and the calibration error, a mean of
absolute values, is about 0.09 even of the true probabilities. Follow their course, not one figure.
"""

# Shapes: R real and G generated sequences, B = R + G of both, M bins
from __future__ import annotations

import torch
from torch import Tensor


def accuracy(real_R: Tensor, generated_G: Tensor, threshold: float) -> float:
    """The share on the right side of the threshold; what lies on it is taken for generated."""
    return float(torch.cat([real_R > threshold, generated_G <= threshold]).double().mean())


def auc(real_R: Tensor, generated_G: Tensor) -> float:
    """The probability that a real sequence scores higher than a generated one, ties counted half.

    The area under the ROC curve, as the rank statistic of Mann and Whitney (1947).
    """
    return float(share_below(real_R, generated_G).mean())


def share_below(values_B: Tensor, others_G: Tensor) -> Tensor:
    """Of each value (B,), which share of the others is lower, ties counted half; float64."""
    ordered_G = others_G.sort().values
    below_B = torch.searchsorted(ordered_G, values_B, right=False)
    up_to_B = torch.searchsorted(ordered_G, values_B, right=True)
    return (below_B + up_to_B).double() / (2 * len(others_G))


def expected_calibration_error(real_R: Tensor, generated_G: Tensor, bins: int = 10) -> float:
    """sum_m |B_m| / B * |share of real sequences in bin m - mean probability in bin m|.

    Guo et al. (2017), arXiv 1706.04599, eq. 3, of the probability that a sequence is real. M bins
    of equal width, bin m from (m - 1) / M, not included, to m / M; 0 belongs to the first.
    """
    p_B = torch.cat([real_R, generated_G]).double()
    is_real_B = torch.cat([torch.ones_like(real_R), torch.zeros_like(generated_G)]).double()
    bin_B = ((p_B * bins).ceil().long() - 1).clamp(min=0)
    gap_M = torch.zeros(bins, dtype=p_B.dtype, device=p_B.device)
    return float(gap_M.index_add(0, bin_B, is_real_B - p_B).abs().sum() / len(p_B))
