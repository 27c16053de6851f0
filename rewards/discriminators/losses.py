"""What discriminators minimise: pure functions of what they say of real and of generated sequences.

``real_B`` and ``generated_B`` are outputs of the network without a sigmoid; the two batches may
differ in size. Label smoothing is one-sided (Salimans et al., 2016, arXiv 1606.03498): the label of
what is real falls from 1 to ``label``, that of what is generated stays 0, so that the optimum,
label * p / (p + q), does not copy the generator where there is no data.

With p the density of real sequences and q that of generated ones, the optimum D is
  bce                   log(p / q)                  its sigmoid is p / (p + q)
  least_squares         p / (p + q)
  hinge                 sign(p - q)
  relativistic          log(p / q) + a constant     only differences count
  wasserstein           the steepest of the functions that rise by at most 1 over a distance of 1
"""

# Shapes: B sequences, T steps, E embedding
from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Literal[
    "bce", "least_squares", "hinge", "relativistic", "relativistic_average", "wasserstein"
]


def binary_cross_entropy(real_B: Tensor, generated_B: Tensor, label: float = 1.0) -> Tensor:
    """-(E_p[log s(D)] + E_q[log(1 - s(D))]) / 2, with s the sigmoid; in nats.

    Goodfellow et al. (2014), arXiv 1406.2661, eq. 1; half of it, so that not knowing costs log 2.
    """
    real = label * F.softplus(-real_B) + (1 - label) * F.softplus(real_B)
    return 0.5 * (real.mean() + F.softplus(generated_B).mean())


def least_squares(real_B: Tensor, generated_B: Tensor, label: float = 1.0) -> Tensor:
    """(E_p[(D - 1)^2] + E_q[D^2]) / 2: Mao et al. (2017), arXiv 1611.04076, eq. 9, a = 0, b = 1."""
    return 0.5 * ((real_B - label).square().mean() + generated_B.square().mean())


def hinge(real_B: Tensor, generated_B: Tensor) -> Tensor:
    """E_p[max(0, 1 - D)] + E_q[max(0, 1 + D)].

    Lim and Ye (2017), arXiv 1705.02894; Miyato et al. (2018), arXiv 1802.05957, eq. 16. Its least
    value is 2 sum min(p, q), twice one minus the total variation.
    """
    return F.relu(1 - real_B).mean() + F.relu(1 + generated_B).mean()


def relativistic(real_B: Tensor, generated_B: Tensor) -> Tensor:
    """-E[log s(D(x) - D(y))], x real and y generated, over all pairs of the two batches.

    Jolicoeur-Martineau (2018), arXiv 1807.00734, eq. 4, which takes one pair a sequence; all pairs
    have the same expectation and less variance.
    """
    return F.softplus(generated_B[None, :] - real_B[:, None]).mean()


def relativistic_average(real_B: Tensor, generated_B: Tensor) -> Tensor:
    """Each against the mean of the other kind: Jolicoeur-Martineau (2018), section 4.2; half of it.

    -(E_p[log s(D(x) - E_q D)] + E_q[log(1 - s(D(y) - E_p D))]) / 2
    """
    return binary_cross_entropy(real_B - generated_B.mean(), generated_B - real_B.mean())


def wasserstein(real_B: Tensor, generated_B: Tensor) -> Tensor:
    """E_q[D] - E_p[D]: Arjovsky et al. (2017), arXiv 1701.07875, eq. 2, to be minimised.

    The difference has a sign. The loss of OR(W)GAN's public code is its absolute value, which is as
    small for a critic that takes the generated sequences for real.
    """
    return generated_B.mean() - real_B.mean()


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real_BTE: Tensor, generated_BTE: Tensor, share_B: Tensor
) -> Tensor:
    """E[(|grad D(x)| - 1)^2] at x = share * real + (1 - share) * generated.

    Gulrajani et al. (2017), arXiv 1704.00028, eq. 3. Between two tokens there is none, so the
    points lie between embedded sequences; the gradient is by the embedding of a whole sequence.
    """
    share_B11 = share_B[:, None, None]
    between_BTE = share_B11 * real_BTE + (1 - share_B11) * generated_BTE
    between_BTE = between_BTE.detach().requires_grad_()
    (slope_BTE,) = torch.autograd.grad(critic(between_BTE).sum(), between_BTE, create_graph=True)
    steepness_B = torch.linalg.vector_norm(slope_BTE, dim=(1, 2))
    penalty: Tensor = (steepness_B - 1).square().mean()
    return penalty


LABELLED: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "bce": binary_cross_entropy,
    "least_squares": least_squares,
}
_UNLABELLED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "hinge": hinge,
    "relativistic": relativistic,
    "relativistic_average": relativistic_average,
    "wasserstein": wasserstein,
}


def adversarial_loss(
    loss: Loss, real_B: Tensor, generated_B: Tensor, smoothing: float = 0.0
) -> Tensor:
    """The loss of this name; ``smoothing`` is taken from the label of what is real, if any."""
    if loss in LABELLED:
        return LABELLED[loss](real_B, generated_B, 1 - smoothing)
    return _UNLABELLED[loss](real_B, generated_B)
