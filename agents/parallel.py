"""Several processes that learn as one: started by torchrun, joined by torch.distributed.

Every process holds the same agent, and they stay the same: what is random depends on seeds and on
the number of a sequence, not on who draws it. The work of a round is shared by sequences. Each
process writes, completes and reads (forward and backward) its own; what was found is gathered
before anything is computed of a batch as a whole, so baselines, ranks and losses are those of one
process, and the gradients of the shares add up to the gradient of the batch. They differ from one
process's by rounding: a product of fewer rows may be summed in another order.

Objectives score on the first process alone, which then tells the others: budgets, memos and rewards
of sets see every batch once and whole. An objective that takes long has workers of its own
(``executor``). Discriminators score the completions of each process there, and are updated by all
alike, on the same sequences.

Without torch.distributed there is one process, and all of this does nothing.
"""

# Shapes: B sequences, of which a process has S; T steps, A actions
from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..envs import Sequences
from ..rewards import Objective, Reward, Scores
from .counter_rng import fold_in
from .policies import Policy
from .rollouts import Rollouts, action_values
from .sampling import sample

_PATIENCE = timedelta(hours=1)  # for a process that is alive and does not answer
Made = TypeVar("Made")


class ProcessError(RuntimeError):
    """Another process of the run failed, and has said why, or cannot be reached any more."""


@contextmanager
def joined() -> Iterator[World]:
    """The processes that torchrun started, joined for as long as this lasts; else this one alone.

    Each process takes the GPU of its number, and GPUs talk over NCCL; where there are fewer than
    processes, which NCCL does not take, they share them and talk over gloo, as processors do.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield world()
        return
    backend, gpus = "gloo", torch.cuda.device_count()
    if gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % gpus)
        if gpus >= int(os.environ["LOCAL_WORLD_SIZE"]):
            backend = "cpu:gloo,cuda:nccl"
    with _said_plainly():
        dist.init_process_group(backend, timeout=_PATIENCE)
    yield world()
    dist.destroy_process_group()  # after an error the others may never come to it


def world() -> World:
    """This process among those that learn together."""
    if not dist.is_available() or not dist.is_initialized():
        return World(0, 1)
    return World(dist.get_rank(), dist.get_world_size())


@dataclass(frozen=True)
class World:
    """This process's number among ``size``. All methods but ``share`` are called by all of them."""

    rank: int
    size: int

    @property
    def is_first(self) -> bool:
        """Whether this process writes, prints and asks objectives."""
        return self.rank == 0

    def share(self, rows: int, rank: int | None = None) -> slice:
        """Which of a batch's rows are this process's (or another's), as equal as can be."""
        rank = self.rank if rank is None else rank
        return slice(rows * rank // self.size, rows * (rank + 1) // self.size)

    def gather(self, own: Tensor, rows: int) -> Tensor:
        """The shares of all, in their order, on each; no gradient flows."""
        if self.size == 1:
            return own
        shares = [self.share(rows, rank) for rank in range(self.size)]
        counts = [share.stop - share.start for share in shares]
        dtype = own.dtype
        own = own.detach().to(torch.uint8 if dtype == torch.bool else dtype)
        padded = own.new_zeros(max(counts), *own.shape[1:])
        padded[: len(own)] = own
        found = [torch.empty_like(padded) for _ in shares]
        with _said_plainly():
            dist.all_gather(found, padded)
        together = [part[:count] for part, count in zip(found, counts, strict=True)]
        return torch.cat(together).to(dtype)

    def first(self, make: Callable[[], Made]) -> Made:
        """What the first process makes, on all of them.

        Raises:
            ProcessError: on the others, where it failed; on the first, the error is its own.
        """
        if self.size == 1:
            return make()
        message: list[Any] = [None, None]
        failure: BaseException | None = None
        if self.is_first:
            try:
                message[0] = make()
            except BaseException as error:  # the others are waiting
                failure, message[1] = error, f"{type(error).__name__}: {error}"
        with _said_plainly():
            dist.broadcast_object_list(message, src=0)
        if failure is not None:
            raise failure
        if message[1] is not None:
            raise ProcessError(f"the first process failed: {message[1]}")
        made: Made = message[0]
        return made

    def all(self, flag: bool) -> bool:
        """Whether the flag is true on every process."""
        if self.size == 1:
            return flag
        votes = torch.tensor(int(flag))
        with _said_plainly():
            dist.all_reduce(votes, dist.ReduceOp.MIN)
        return bool(votes)

    def sum_gradients(self, parameters: Iterable[nn.Parameter], *, mean: bool) -> None:
        """Add up, or average, the gradients of all; what has none counts as zero."""
        parameters = [p for p in parameters if p.requires_grad]
        if self.size == 1 or not parameters:
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        with _said_plainly():
            dist.all_reduce(flat)
        flat = flat / self.size if mean else flat
        pieces = flat.split([p.numel() for p in parameters])
        for parameter, piece in zip(parameters, pieces, strict=True):
            parameter.grad = piece.view_as(parameter).clone()

    def align(self, network: nn.Module) -> None:
        """Give all the first process's weights: on GPUs equal work is equal but for rounding."""
        if self.size == 1:
            return
        with _said_plainly(), torch.no_grad():
            for tensor in network.state_dict().values():
                dist.broadcast(tensor, src=0)

    def own_seed(self, seed: int) -> int:
        """Another seed for each process; the first has the given one."""
        return seed if self.is_first else fold_in(seed, self.rank)


# --- the shared parts of a round ------------------------------------------------------------------


class _Gathered(torch.autograd.Function):
    """The shares of all; backward, each takes the gradient of its own.

    All compute the same loss of the whole, so the gradient that a share needs is at hand.
    """

    @staticmethod
    def forward(ctx: Any, own_STA: Tensor, rows: int) -> Tensor:
        """To the whole."""
        ctx.share = world().share(rows)
        return world().gather(own_STA, rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """To this process's share."""
        return gradients[0][ctx.share], None


def logits_together(policy: Policy, tokens_BT: Tensor, condition_B: Tensor | None = None) -> Tensor:
    """``policy(tokens_BT, condition_B)``, each process reading its share.

    The weights' gradients are those of the share: ``sum_gradients`` makes them whole.
    """
    if world().size == 1:
        logits_BTA: Tensor = policy(tokens_BT, condition_B)
        return logits_BTA
    B, T = tokens_BT.shape
    share = world().share(B)
    own_ST = tokens_BT[share]
    if len(own_ST):
        own_STA: Tensor = policy(own_ST, None if condition_B is None else condition_B[share])
    else:
        shape = (0, T, policy.vocabulary.num_actions)
        own_STA = torch.zeros(
            shape, dtype=policy.dtype, device=policy.device, requires_grad=torch.is_grad_enabled()
        )
    found: Tensor = _Gathered.apply(own_STA, B)  # type: ignore[no-untyped-call]
    return found


def sample_together(policy: Policy, batch: int, **options: Any) -> Sequences:
    """``sample``, each process writing its share; all have all of them."""
    share = world().share(batch)
    own = sample(policy, share.stop - share.start, first=share.start, **options)
    if world().size == 1:
        return own
    assert own.log_probs_BT is not None
    tokens_BT, log_probs_BT = (
        world().gather(table, batch) for table in (own.tokens_BT, own.log_probs_BT)
    )
    condition_B = None if own.condition_B is None else world().gather(own.condition_B, batch)
    found = Sequences.from_tokens(tokens_BT, policy.vocabulary)
    return Sequences(found.tokens_BT, found.lengths_B, policy.vocabulary, log_probs_BT, condition_B)


def action_values_together(
    policy: Policy, sequences: Sequences, reward: Reward, **options: Any
) -> Rollouts:
    """``action_values``, each process completing the prefixes of its share.

    Raises:
        ValueError: an objective with a budget scores completions, which no two processes count
            together.
    """
    here, B = world(), len(sequences)
    if here.size == 1:
        return action_values(policy, sequences, reward, **options)
    for each in reward.components():
        if isinstance(each, Objective) and each.budget is not None:
            raise ValueError(
                f"{each.name} has a budget and scores completions, on {here.size} processes; let "
                "it score finished sequences, credit='terminal', or learn in one process"
            )
    share = here.share(B)
    own = action_values(policy, sequences[share], reward, first=share.start, **options)
    written = here.gather(torch.tensor([own.tokens]), here.size)
    scores = Scores(
        here.gather(own.scores.values_B, B),
        here.gather(own.scores.ok_B, B),
        {name: here.gather(part_B, B) for name, part_B in own.scores.parts.items()},
    )
    q_BT, n_BT, variance_BT = (
        here.gather(table, B) for table in (own.q_BT, own.n_BT, own.variance_BT)
    )
    return Rollouts(q_BT, n_BT, variance_BT, scores, int(written.sum()))


def scores_of_first(score: Callable[[], Scores], device: torch.device | str) -> Scores:
    """The scores that the first process finds, on all."""
    if world().size == 1:
        return score()
    return _moved(world().first(lambda: _moved(score(), "cpu")), device)


def _moved(scores: Scores, device: torch.device | str) -> Scores:
    parts = {name: part_B.to(device) for name, part_B in scores.parts.items()}
    return Scores(scores.values_B.to(device), scores.ok_B.to(device), parts)


@contextmanager
def _said_plainly() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        first_line = str(error).strip().partition("\n")[0]
        raise ProcessError(
            f"another process of this run ended, or does not answer ({first_line}); its own "
            "message says why"
        ) from error
