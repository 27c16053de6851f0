"""All completions of all prefixes at once: the staircase, and its CUDA graph.

Row r = (t B + b) N + n is completion n of the first t + 1 tokens of sequence b. At step s the rows
of t < s are under way, and they are the first s B N rows: one slice, a stair longer at every step.
Nothing depends on what is drawn, so on a GPU the whole staircase is recorded once as a CUDA graph
and replayed: the host starts one thing instead of thousands, and asks nothing in between.

A replay reads its inputs and its weights from buffers that both are copied into before it, so it
follows every update of the weights, and serves a policy in another precision just as well.

Rows that have ended go on as padding, as do those that are not wanted. A chunk of sequences at a
time bounds the memory.
"""

# Shapes: B sequences, T steps, N completions of a prefix, R rows under way, A actions
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from copy import deepcopy
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from ..envs import Constraint, Vocabulary
from .completing import Masks
from .counter_rng import seed_words
from .draws import Draws, completion_draws
from .plans import Plan, Scheme
from .policies import Policy
from .precision import at_least_float32

MOST_ROWS = 2**16  # of a chunk, so long as these have no more than so many logits;
MOST_LOGITS = 2**29  # a single sequence may have more of both
_KEPT = 2  # graphs; each keeps its memory


@dataclass(frozen=True, eq=False)
class Stairs:
    """What is completed, the tensors of it where a graph can be fed with others.

    Args:
        tokens_BT: the sequences, int64.
        condition_B: what they are conditioned on, if anything.
        b_B: their numbers, int64.
        wanted_BT: how many completions of a prefix there are to be, int64 (B, T - 1).
        seed: the two words of the seed, int64 (2,).
        scheme: of the draws.
        completions: N.
        bound: the constraint.
    """

    tokens_BT: Tensor
    condition_B: Tensor | None
    b_B: Tensor
    wanted_BT: Tensor
    seed: Tensor
    scheme: Scheme
    completions: int
    bound: Constraint | None


Climb = Callable[[Policy, Stairs], Tensor]


def completions_of(plan: Plan, climb: Climb) -> Tensor:
    """Every completion of a plan: int64 (T - 1, B, N, T), ``pad`` in those that were not wanted.

    Args:
        plan: what is to be completed; with ``reuse`` all of it, as if nothing were reused.
        climb: writes a chunk.
    """
    stairs = stairs_of(plan)
    recorded = plan.policy.device.type == "cuda" and plan.bound is None  # masks ask the host
    B, T = stairs.tokens_BT.shape
    rows = min(MOST_ROWS, MOST_LOGITS // plan.policy.vocabulary.num_actions)
    most = max(1, rows // ((T - 1) * plan.completions))
    size = -(-B // -(-B // most))  # chunks of one size, so that one graph does for them
    parts = []
    for first in range(0, B, size):
        at_B = torch.arange(first, first + size, device=stairs.b_B.device).clamp(max=B - 1)
        tokens_BT, b_B, wanted_BT = (
            table[at_B] for table in (stairs.tokens_BT, stairs.b_B, stairs.wanted_BT)
        )
        condition_B = None if stairs.condition_B is None else stairs.condition_B[at_B]
        chunk = replace(
            stairs, tokens_BT=tokens_BT, condition_B=condition_B, b_B=b_B, wanted_BT=wanted_BT
        )
        run = _recording(climb, plan.policy, chunk) if recorded else climb
        parts.append(run(plan.policy, chunk))
    return torch.cat(parts, dim=1)[:, :B]


def stairs_of(plan: Plan) -> Stairs:
    """The whole staircase of a plan."""
    tokens_BT = plan.sequences.tokens_BT
    return Stairs(
        tokens_BT,
        plan.sequences.condition_B,
        plan.first + torch.arange(len(tokens_BT), device=tokens_BT.device),
        plan.wanted_BT,
        seed_words(plan.seed, tokens_BT.device),
        plan.scheme,
        plan.completions,
        plan.bound,
    )


@torch.no_grad()
def climb_by_steps(policy: Policy, stairs: Stairs) -> Tensor:
    """Write all completions, a step of all rows at a time; int64 (T - 1, B, N, T).

    The B prefixes themselves are the first rows of every batch: new rows go on from their states.
    """
    tokens_BT, N = stairs.tokens_BT, stairs.completions
    (B, T), vocabulary = tokens_BT.shape, policy.vocabulary
    written_RT = unwritten(stairs, vocabulary.pad).flatten(0, 2)
    rows: _Rows | None = None
    masks_B = None if stairs.bound is None else Masks.after(stairs.bound, tokens_BT[:, :0])
    with policy.fixed_weights():
        bos_B = torch.full_like(stairs.b_B, vocabulary.bos)
        _, state = policy.step(bos_B, policy.initial_state(B, stairs.condition_B))
        for step in range(1, T):
            last_B = tokens_BT[:, step - 1]
            masks_B = None if masks_B is None else masks_B.read(last_B)
            new = _Rows.beginning(stairs, step, masks_B)
            rows = new if rows is None else rows.join(new)
            state = tuple(torch.cat([x, x[:B].repeat_interleave(N, dim=0)]) for x in state)
            logits_RA, state = policy.step(torch.cat([last_B, rows.token_R]), state)
            logits_RA = at_least_float32(logits_RA)[B:]
            if stairs.scheme == "backward":  # the new ones begin with another token
                own_B1 = tokens_BT[:, step, None].clamp(max=vocabulary.num_actions - 1)
                logits_RA[-B * N :].scatter_(1, own_B1.repeat_interleave(N, dim=0), -torch.inf)
            rows.draw(step, logits_RA, vocabulary)
            written_RT[: len(rows.token_R), step] = rows.token_R
    written: Tensor = written_RT.unflatten(0, (T - 1, B, N))
    return written


@dataclass(eq=False)
class _Rows:
    """Completions under way: what they read next, and what is drawn from and masked with."""

    token_R: Tensor
    ended_R: Tensor
    draws: Draws
    masks: Masks | None

    @classmethod
    def beginning(cls, stairs: Stairs, step: int, masks_B: Masks | None) -> _Rows:
        """The completions of the first ``step`` tokens."""
        N, (b_R, n_R) = stairs.completions, row_numbers(stairs)
        draws = completion_draws(stairs.scheme, stairs.seed, b_R, step, n_R, N)
        place_R = torch.arange(len(stairs.b_B), device=b_R.device).repeat_interleave(N)
        masks = None if masks_B is None else masks_B.select(place_R)
        token_R = stairs.tokens_BT[:, step - 1].repeat_interleave(N)
        ended_R = n_R >= stairs.wanted_BT[:, step - 1].repeat_interleave(N)
        return cls(token_R, ended_R, draws, masks)

    def join(self, new: _Rows) -> _Rows:
        """These, and those that begin."""
        assert (self.masks is None) == (new.masks is None)
        return _Rows(
            torch.cat([self.token_R, new.token_R]),
            torch.cat([self.ended_R, new.ended_R]),
            self.draws.join(new.draws),
            None if self.masks is None or new.masks is None else self.masks.join(new.masks),
        )

    def draw(self, step: int, logits_RA: Tensor, vocabulary: Vocabulary) -> None:
        """Draw the tokens of a step, ``pad`` where a row has ended."""
        if self.masks is not None:
            logits_RA = self.masks.hide(logits_RA, self.ended_R)
        token_R = self.draws.draw(step, logits_RA)
        self.token_R = token_R.masked_fill(self.ended_R, vocabulary.pad)
        if self.masks is not None:
            self.masks = self.masks.read(self.token_R)
        if vocabulary.eos is not None:
            self.ended_R = self.ended_R | (self.token_R == vocabulary.eos)


def unwritten(stairs: Stairs, pad: int) -> Tensor:
    """The prefixes of all rows, ``pad`` after them; (T - 1, B, N, T)."""
    T = stairs.tokens_BT.shape[1]
    places_T = torch.arange(T, device=stairs.tokens_BT.device)
    after_TT = places_T > places_T[:-1, None]
    prefixes = stairs.tokens_BT[None, :, None].masked_fill(after_TT[:, None, None], pad)
    return prefixes.repeat(1, 1, stairs.completions, 1)


def row_numbers(stairs: Stairs) -> tuple[Tensor, Tensor]:
    """The sequence and the completion of the B N rows of any prefix."""
    N, b_B = stairs.completions, stairs.b_B
    return b_B.repeat_interleave(N), torch.arange(N, device=b_B.device).repeat(len(b_B))


# --- on a GPU ---------------------------------------------------------------------------------


class Recording:
    """One chunk's work as a CUDA graph, with buffers of its own for what it reads."""

    def __init__(self, climb: Climb, policy: Policy, stairs: Stairs) -> None:
        with torch.no_grad():
            self._policy = deepcopy(policy)
        self._stairs = replace(
            stairs,
            tokens_BT=stairs.tokens_BT.clone(),
            condition_B=None if stairs.condition_B is None else stairs.condition_B.clone(),
            b_B=stairs.b_B.clone(),
            wanted_BT=stairs.wanted_BT.clone(),
            seed=stairs.seed.clone(),
        )
        with torch.cuda.device(policy.device):
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):  # libraries set themselves up outside the recording
                climb(self._policy, self._stairs)
            torch.cuda.current_stream().wait_stream(aside)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._written = climb(self._policy, self._stairs)

    @torch.no_grad()
    def __call__(self, policy: Policy, stairs: Stairs) -> Tensor:
        """Copy the weights and the inputs in, and replay."""
        theirs = policy.state_dict()
        for name, mine in self._policy.state_dict().items():
            mine.copy_(theirs[name])
        given = _tensors(stairs)
        for name, mine in _tensors(self._stairs).items():
            mine.copy_(given[name])
        with torch.cuda.device(policy.device):
            self._graph.replay()
        return self._written.clone()


_recordings: OrderedDict[Hashable, Recording] = OrderedDict()


def _recording(climb: Climb, policy: Policy, stairs: Stairs) -> Recording:
    """The graph for such a chunk, recorded at its first use; the latest few are kept."""
    weights = tuple((name, x.shape, x.dtype) for name, x in policy.state_dict().items())
    inputs = tuple((name, x.shape) for name, x in _tensors(stairs).items())
    what = repr(policy.config()), policy.vocabulary.eos, policy.device, stairs.scheme
    key = climb, type(policy), what, stairs.completions, weights, inputs
    if key not in _recordings:
        while len(_recordings) >= _KEPT:
            _recordings.popitem(last=False)
        _recordings[key] = Recording(climb, policy, stairs)
    _recordings.move_to_end(key)
    return _recordings[key]


def _tensors(stairs: Stairs) -> dict[str, Tensor]:
    named = ((field.name, getattr(stairs, field.name)) for field in fields(stairs))
    return {name: value for name, value in named if isinstance(value, Tensor)}
