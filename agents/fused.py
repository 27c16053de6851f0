"""The staircase by fused kernels: a step is one kernel a layer and one that draws (kernels.py).

States stand in buffers that are updated in place: ``h`` in two, since a kernel's programs read all
units of a row while others write theirs; ``c`` in one. Needs Triton, which CUDA builds of torch
bring along; on a CPU it runs in Triton's interpreter (``TRITON_INTERPRET=1``), slowly, for tests.
"""

# Shapes: B sequences, T steps, N completions of a prefix, R = (T - 1) B N rows, H hidden units
from __future__ import annotations

import torch
import triton
from torch import Tensor
from triton.runtime.interpreter import InterpretedFunction

from .kernels import draw_kernel, gru_kernel, lstm_kernel
from .plans import Plan
from .policies import Policy, State
from .policies.recurrent import LSTMPolicy, RecurrentPolicy
from .staircase import Stairs, unwritten

_TYPES = (torch.float32, torch.bfloat16, torch.float16)
_BLOCK_R, _BLOCK_H, _BLOCK_K, _BLOCK_A = 64, 64, 32, 64  # of a program; _BLOCK_H at most


def check_can_be_fused(plan: Plan) -> None:
    """Raise a ValueError that names the backend to take where the kernels cannot do a plan."""
    policy = plan.policy
    if not isinstance(policy, RecurrentPolicy):
        raise ValueError(
            f"backend 'triton' steps GRU and LSTM, not {type(policy).__name__}; "
            f"take backend={'graph' if policy.fixed_shapes else 'tiled'!r}"
        )
    if policy.condition_size:
        raise ValueError("backend 'triton' reads no condition; take backend='graph' or 'tiled'")
    if policy.dtype not in _TYPES:
        raise ValueError(
            f"backend 'triton' sums in float32 and the policy is {policy.dtype}; give "
            "dtype=torch.float32, or take backend='graph'"
        )
    if plan.scheme in ("systematic", "arithmetic"):
        raise ValueError(
            f"backend 'triton' draws with independent uniforms; for scheme={plan.scheme!r} take "
            "backend='graph'"
        )
    if plan.constraint is not None:
        raise ValueError(
            f"backend 'triton' keeps logits where no mask reaches them; with {plan.constraint} "
            "take backend='graph' or 'tiled'"
        )
    if policy.device.type != "cuda" and not isinstance(draw_kernel, InterpretedFunction):
        raise ValueError(
            f"backend 'triton' needs a GPU, and the policy is on {policy.device}; take "
            "backend='tiled', or set TRITON_INTERPRET=1 before Triton is imported, for tests"
        )


@torch.no_grad()
def climb_by_kernels(policy: Policy, stairs: Stairs) -> Tensor:
    """Write all completions, a step of all rows at a time; int64 (T - 1, B, N, T)."""
    assert isinstance(policy, RecurrentPolicy)
    tokens_BT, N = stairs.tokens_BT, stairs.completions
    (B, T), vocabulary = tokens_BT.shape, policy.vocabulary
    written = unwritten(stairs, vocabulary.pad)
    n_N = torch.arange(N, device=tokens_BT.device)
    ended_R = (n_N >= stairs.wanted_BT.T[:, :, None]).flatten().to(torch.int8)
    token_R = torch.empty_like(ended_R, dtype=torch.int64)
    state = policy.initial_state(B)
    now = tuple(x.new_empty(len(token_R), policy.hidden) for x in state)
    new = tuple(x if i % policy.states else torch.empty_like(x) for i, x in enumerate(now))
    table = policy.input_table()
    with policy.fixed_weights():  # with weights that a replay has just been given
        _, state = policy.step(torch.full_like(stairs.b_B, vocabulary.bos), state)
        for step in range(1, T):
            start, rows = (step - 1) * B * N, step * B * N
            token_R[start:rows] = tokens_BT[:, step - 1].repeat_interleave(N)
            for buffer, prefix in zip(now, state, strict=True):
                buffer[start:rows].unflatten(0, (B, N)).copy_(prefix[:, None])
            _step(policy, table, token_R, rows, now, new)
            draw_kernel[(triton.cdiv(rows, _BLOCK_R),)](
                new[-policy.states], policy.output.weight, policy.output.bias,
                stairs.seed, stairs.b_B, tokens_BT, token_R, ended_R, written,
                rows, step, B, N, T, policy.hidden, vocabulary.num_actions,
                vocabulary.pad, -1 if vocabulary.eos is None else vocabulary.eos,
                EXCLUDE=stairs.scheme == "backward",
                BLOCK_R=_BLOCK_R, BLOCK_A=_BLOCK_A, BLOCK_K=_BLOCK_K,
            )  # fmt: skip
            now, new = new, now
            _, state = policy.step(tokens_BT[:, step - 1], state)
    return written


def _step(
    policy: RecurrentPolicy, table: Tensor, token_R: Tensor, rows: int, now: State, new: State
) -> None:
    """Every layer's new state of the first rows, from ``now`` into ``new``."""
    kernel = lstm_kernel if isinstance(policy, LSTMPolicy) else gru_kernel
    block_h = max(16, min(_BLOCK_H, triton.next_power_of_2(policy.hidden)))
    grid = (triton.cdiv(rows, _BLOCK_R), triton.cdiv(policy.hidden, block_h))
    for layer in range(policy.layers):
        at = layer * policy.states
        below = new[at - policy.states] if layer else now[0]
        weights = [policy.weight("weight_ih", layer), policy.input_bias(layer)]
        weights.append(policy.weight("weight_hh", layer))
        if kernel is gru_kernel:  # whose candidate keeps the state's bias apart
            weights.append(policy.weight("bias_hh", layer))
        cells = now[at + 1 : at + policy.states]  # c, updated in place
        kernel[grid](
            token_R, table, below, *weights, now[at], *cells, new[at], rows, policy.hidden,
            FIRST=layer == 0, BLOCK_R=_BLOCK_R, BLOCK_H=block_h, BLOCK_K=_BLOCK_K,
        )  # fmt: skip
