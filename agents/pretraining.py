"""Teacher forcing: the supervised beginning of every agent.

L = -sum_t log p(x_t | x_<t), the end token counted, divided by the number of tokens of the batch.
Every step is a function of (seed, step): the order of the data, the dropout, the learning rate. So
a fit that was stopped goes on as if it had not been.
"""

# Shapes: B sequences, T steps
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor

from ..envs import Sequences
from .counter_rng import fold_in
from .divergence import finite_norm
from .losses import token_log_probs
from .parallel import logits_together, world
from .policies import Policy

_POOL = 32  # batches sorted by length together, so that a batch has little padding


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block with torch's generators seeded, and leave them as they were."""
    with torch.random.fork_rng():
        if torch.cuda.is_available():
            torch.manual_seed(seed)
        else:  # which would keep a formatted stack for each device type, at a millisecond a call
            torch.default_generator.manual_seed(seed)
        yield


@lru_cache(maxsize=1)
def _batches_of_epoch(sequences: Sequences, batch_size: int, seed: int) -> list[Tensor]:
    """The rows of each batch of one epoch: shuffled, sorted by length within pools, shuffled."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(sequences), generator=generator)
    lengths_B = sequences.lengths_B.cpu()
    batches: list[Tensor] = []
    for pool in order.split(_POOL * batch_size):
        by_length = pool[lengths_B[pool].argsort(stable=True)]
        batches += by_length.split(batch_size)
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def steps_per_epoch(sequences: Sequences, batch_size: int) -> int:
    """How many batches one pass over the sequences has."""
    full, rest = divmod(len(sequences), _POOL * batch_size)
    return full * _POOL + -(-rest // batch_size)


def training_batch(sequences: Sequences, step: int, batch_size: int, seed: int) -> Sequences:
    """The batch of a step, its padding cut to the longest of it."""
    epoch, index = divmod(step, steps_per_epoch(sequences, batch_size))
    rows = _batches_of_epoch(sequences, batch_size, fold_in(seed, epoch))[index]
    batch = sequences[rows]
    return batch.padded(int(batch.lengths_B.max()))


def teacher_forcing_loss(policy: Policy, batch: Sequences) -> Tensor:
    """Maximum likelihood: the mean of -log p(x_t | x_<t) over the batch's tokens, in nats."""
    logits_BTA = logits_together(policy, batch.tokens_BT, batch.condition_B)
    return -token_log_probs(logits_BTA, batch.tokens_BT, batch.mask_BT).sum() / batch.num_tokens


def teacher_forcing_step(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    batch: Sequences,
    *,
    max_grad_norm: float = 1.0,
) -> float:
    """One step of maximum likelihood; returns the loss before it, in nats a token.

    Raises:
        FloatingPointError: the gradient is not finite; the policy is as it was.
    """
    batch = batch.to(policy.device)
    policy.train()
    nll = teacher_forcing_loss(policy, batch)
    optimizer.zero_grad(set_to_none=True)
    nll.backward()
    world().sum_gradients(policy.parameters(), mean=False)
    where = f"in teacher forcing (loss {float(nll.detach())}); take a smaller learning_rate"
    finite_norm(policy.parameters(), max_grad_norm, where)
    optimizer.step()
    policy.eval()
    return float(nll.detach())


@torch.no_grad()
def log_likelihoods(policy: Policy, sequences: Sequences, batch_size: int = 512) -> Tensor:
    """Log-probabilities of given tokens, (B, T) on the CPU, 0 in the padding, in nats."""
    policy.eval()
    found: list[Tensor] = []
    for first in range(0, len(sequences), batch_size):
        batch = sequences[first : first + batch_size].to(policy.device)
        logits_BTA = policy(batch.tokens_BT, batch.condition_B)
        found.append(token_log_probs(logits_BTA, batch.tokens_BT, batch.mask_BT).cpu())
    return torch.cat(found)
