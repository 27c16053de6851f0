"""Triton kernels of a recurrent step: gates and cell in one, logits and the draw in the other.

A step's products are summed in registers and go straight into what follows them: the gates into
the cell, the logits into the draw. Neither reaches memory. What is drawn is what draws.py draws:
the first token whose CDF exceeds u, with u from the same counters.

Rows are numbered as in staircase.py, r = (t B + b) N + n. All sums are in float32.
"""

# Shapes: R rows, H hidden units, A actions, K summed over; a program has BLOCK_R rows
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _tile(pointer, rows, here, columns, width):
    """A tile [rows, columns] of a matrix with rows of ``width`` numbers; 0 outside."""
    inside = here[:, None] & (columns[None, :] < width)
    return tl.load(pointer + rows[:, None] * width + columns[None, :], mask=inside, other=0.0)


@triton.jit
def _add_product(total, left_tile, weight, first, units, inner, H):
    """``total`` and left_tile @ weight[first + units, inner].T, of a weight with rows of H."""
    inside = (inner[:, None] < H) & (units[None, :] < H)
    offsets = (first + units)[None, :] * H + inner[:, None]
    right_tile = tl.load(weight + offsets, mask=inside, other=0.0)
    return tl.dot(left_tile, right_tile, total, input_precision="ieee")


@triton.jit
def _bias(pointer, first, units, H):
    return tl.load(pointer + first + units, mask=units < H, other=0.0).to(tl.float32)[None, :]


@triton.jit
def _looked_up(table, tokens, here, first, units, H, GATES: tl.constexpr):
    """The entries of a gate in the rows of ``table`` [V, GATES * H] that the tokens name."""
    offsets = tokens[:, None] * (GATES * H) + first + units[None, :]
    inside = here[:, None] & (units[None, :] < H)
    return tl.load(table + offsets, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _tanh(x):
    return 2 * tl.sigmoid(2 * x) - 1


@triton.jit(do_not_specialize=["R"])
def lstm_kernel(
    tokens_ptr, table, x_ptr, w_ih, b_in, w_hh, h_ptr, c_ptr, h_new_ptr, R, H,
    FIRST: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """A layer's step: ``h_new_ptr`` and, in place, ``c_ptr``.

    The first layer reads its input's share in the gates from the table, bias included.
    """
    rows = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    units = tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H)
    here = rows < R
    i = tl.zeros([BLOCK_R, BLOCK_H], tl.float32)
    f = tl.zeros([BLOCK_R, BLOCK_H], tl.float32)
    g = tl.zeros([BLOCK_R, BLOCK_H], tl.float32)
    o = tl.zeros([BLOCK_R, BLOCK_H], tl.float32)
    if FIRST:
        tokens = tl.load(tokens_ptr + rows, mask=here, other=0).to(tl.int32)
        i += _looked_up(table, tokens, here, 0, units, H, 4)
        f += _looked_up(table, tokens, here, H, units, H, 4)
        g += _looked_up(table, tokens, here, 2 * H, units, H, 4)
        o += _looked_up(table, tokens, here, 3 * H, units, H, 4)
    else:
        i += _bias(b_in, 0, units, H)
        f += _bias(b_in, H, units, H)
        g += _bias(b_in, 2 * H, units, H)
        o += _bias(b_in, 3 * H, units, H)
        for start in range(0, H, BLOCK_K):
            inner = start + tl.arange(0, BLOCK_K)
            x = _tile(x_ptr, rows, here, inner, H)
            i = _add_product(i, x, w_ih, 0, units, inner, H)
            f = _add_product(f, x, w_ih, H, units, inner, H)
            g = _add_product(g, x, w_ih, 2 * H, units, inner, H)
            o = _add_product(o, x, w_ih, 3 * H, units, inner, H)
    for start in range(0, H, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        h = _tile(h_ptr, rows, here, inner, H)
        i = _add_product(i, h, w_hh, 0, units, inner, H)
        f = _add_product(f, h, w_hh, H, units, inner, H)
        g = _add_product(g, h, w_hh, 2 * H, units, inner, H)
        o = _add_product(o, h, w_hh, 3 * H, units, inner, H)
    old = _tile(c_ptr, rows, here, units, H).to(tl.float32)
    c = tl.sigmoid(f) * old + tl.sigmoid(i) * _tanh(g)
    inside = here[:, None] & (units[None, :] < H)
    places = rows[:, None] * H + units[None, :]
    tl.store(c_ptr + places, c.to(c_ptr.dtype.element_ty), mask=inside)
    tl.store(
        h_new_ptr + places, (tl.sigmoid(o) * _tanh(c)).to(h_new_ptr.dtype.element_ty), mask=inside
    )


@triton.jit(do_not_specialize=["R"])
def gru_kernel(
    tokens_ptr, table, x_ptr, w_ih, b_in, w_hh, b_hh, h_ptr, h_new_ptr, R, H,
    FIRST: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """A layer's step, into ``h_new_ptr``. The first layer reads the table."""
    rows = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    units = tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H)
    here = rows < R
    reset = tl.zeros([BLOCK_R, BLOCK_H], tl.float32)
    update = tl.zeros([BLOCK_R, BLOCK_H], tl.float32)
    given = tl.zeros([BLOCK_R, BLOCK_H], tl.float32)  # the input's share of the candidate
    kept = tl.zeros([BLOCK_R, BLOCK_H], tl.float32)  # the state's, before it is reset
    if FIRST:
        tokens = tl.load(tokens_ptr + rows, mask=here, other=0).to(tl.int32)
        reset += _looked_up(table, tokens, here, 0, units, H, 3)
        update += _looked_up(table, tokens, here, H, units, H, 3)
        given += _looked_up(table, tokens, here, 2 * H, units, H, 3)
    else:
        reset += _bias(b_in, 0, units, H)
        update += _bias(b_in, H, units, H)
        given += _bias(b_in, 2 * H, units, H)
        for start in range(0, H, BLOCK_K):
            inner = start + tl.arange(0, BLOCK_K)
            x = _tile(x_ptr, rows, here, inner, H)
            reset = _add_product(reset, x, w_ih, 0, units, inner, H)
            update = _add_product(update, x, w_ih, H, units, inner, H)
            given = _add_product(given, x, w_ih, 2 * H, units, inner, H)
    for start in range(0, H, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        h = _tile(h_ptr, rows, here, inner, H)
        reset = _add_product(reset, h, w_hh, 0, units, inner, H)
        update = _add_product(update, h, w_hh, H, units, inner, H)
        kept = _add_product(kept, h, w_hh, 2 * H, units, inner, H)
    reset = tl.sigmoid(reset + _bias(b_hh, 0, units, H))
    update = tl.sigmoid(update + _bias(b_hh, H, units, H))
    candidate = _tanh(given + reset * (kept + _bias(b_hh, 2 * H, units, H)))
    old = _tile(h_ptr, rows, here, units, H).to(tl.float32)
    new = candidate + update * (old - candidate)
    inside = here[:, None] & (units[None, :] < H)
    places = rows[:, None] * H + units[None, :]
    tl.store(h_new_ptr + places, new.to(h_new_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _logits(
    h_ptr, rows, here, weight, bias, actions, excluded, H, A,
    BLOCK_R: tl.constexpr, BLOCK_A: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Those of a block of actions; -inf at the excluded one and past the last."""
    logits = tl.zeros([BLOCK_R, BLOCK_A], tl.float32)
    for start in range(0, H, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        h = _tile(h_ptr, rows, here, inner, H)
        inside = (inner[:, None] < H) & (actions[None, :] < A)
        offsets = actions[None, :] * H + inner[:, None]
        w = tl.load(weight + offsets, mask=inside, other=0.0)
        logits = tl.dot(h, w, logits, input_precision="ieee")
    logits += tl.load(bias + actions, mask=actions < A, other=0.0).to(tl.float32)[None, :]
    drawn_from = (actions[None, :] < A) & (actions[None, :] != excluded[:, None])
    return tl.where(drawn_from, logits, float("-inf"))


@triton.jit
def _uniforms(seed_ptr, b, t, n, step):
    """The uniforms of counter_rng.py, from the counters (b, t, n, step)."""
    key0 = tl.load(seed_ptr).to(tl.uint32)
    key1 = tl.load(seed_ptr + 1).to(tl.uint32)
    block = tl.zeros_like(t) + step // 4
    c0, c1, c2, c3 = tl.philox_impl(
        b.to(tl.uint32), t.to(tl.uint32), n.to(tl.uint32), block.to(tl.uint32), key0, key1
    )
    place = tl.zeros_like(t) + step % 4
    word = tl.where(place == 0, c0, tl.where(place == 1, c1, tl.where(place == 2, c2, c3)))
    return (word >> 8).to(tl.float32) * 5.9604644775390625e-08  # 2 ** -24


@triton.jit(do_not_specialize=["R", "step"])
def draw_kernel(
    h_ptr, weight, bias, seed_ptr, b_ptr, sequences_ptr, tokens_ptr, ended_ptr, written_ptr,
    R, step, B, N, T, H, A, PAD, EOS,
    EXCLUDE: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_A: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Draw column ``step``: into ``written_ptr`` (R, T) and ``tokens_ptr``; mark rows that end.

    The logits are computed twice, once for their sum and once to find the token in it, which is
    cheaper than keeping them. ``EXCLUDE`` leaves the sequence's own token out of a row's first.
    """
    rows = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    here = rows < R
    t, place = rows // (B * N) + 1, rows // N % B
    excluded = tl.zeros_like(rows) - 1
    if EXCLUDE:
        own = tl.load(sequences_ptr + place * T + step, mask=here, other=0).to(tl.int32)
        excluded = tl.where(t == step, own, excluded)
    largest = tl.full([BLOCK_R], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_R], tl.float32)
    for start in range(0, A, BLOCK_A):
        actions = start + tl.arange(0, BLOCK_A)
        logits = _logits(
            h_ptr, rows, here, weight, bias, actions, excluded, H, A, BLOCK_R, BLOCK_A, BLOCK_K
        )
        before = largest
        largest = tl.maximum(before, tl.max(logits, axis=1))
        origin = tl.where(largest == float("-inf"), 0.0, largest)
        total = total * tl.exp(before - origin) + tl.sum(tl.exp(logits - origin[:, None]), axis=1)
    origin = tl.where(largest == float("-inf"), 0.0, largest)
    b = tl.load(b_ptr + place, mask=here, other=0)
    target = _uniforms(seed_ptr, b, t, rows % N, step) * total
    token = tl.zeros_like(rows) + A
    last = tl.zeros_like(rows)  # where rounding carries the target past the total
    passed = tl.zeros([BLOCK_R], tl.float32)
    for start in range(0, A, BLOCK_A):
        actions = start + tl.arange(0, BLOCK_A)
        logits = _logits(
            h_ptr, rows, here, weight, bias, actions, excluded, H, A, BLOCK_R, BLOCK_A, BLOCK_K
        )
        weights = tl.exp(logits - origin[:, None])
        cdf = passed[:, None] + tl.cumsum(weights, axis=1)
        found = (cdf > target[:, None]) & (weights > 0)
        token = tl.minimum(token, tl.min(tl.where(found, actions[None, :], A), axis=1))
        last = tl.maximum(last, tl.max(tl.where(weights > 0, actions[None, :], 0), axis=1))
        passed += tl.sum(weights, axis=1)
    token = tl.where((token == A) & (total > 0), last, token)
    ended = tl.load(ended_ptr + rows, mask=here, other=1) != 0
    token = tl.where(ended, PAD, token)
    tl.store(tokens_ptr + rows, token.to(tokens_ptr.dtype.element_ty), mask=here)
    column = written_ptr + rows.to(tl.int64) * T + step
    tl.store(column, token.to(written_ptr.dtype.element_ty), mask=here)
    tl.store(ended_ptr + rows, (ended | (token == EOS)).to(tl.int8), mask=here)
