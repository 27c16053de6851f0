"""Beam search: the most probable sequences, as far as K prefixes at a time can find them.

At every step all continuations of K prefixes are ranked by log-probability and the best K go on; a
prefix that has ended stays as it is. With K at least the number of possible sequences the search is
exact.
"""

# Shapes: K beams, T = max_length steps, A actions, C candidates
from __future__ import annotations

import torch
from torch import Tensor

from ..envs import Constraint, Sequences
from .completing import UNDRAWABLE, Masks
from .policies import Policy
from .precision import at_least_float32
from .sampling import read_prefix


@torch.no_grad()
def beam_search(
    policy: Policy,
    beams: int,
    *,
    max_length: int,
    prompt: str = "",
    constraint: Constraint | None = None,
    length_penalty: float = 0.0,
) -> Sequences:
    """The most probable sequences that a policy can write, the best first.

    Args:
        policy: who writes.
        beams: K, prefixes that go on at every step, and at most as many results.
        max_length: T, the end token counted.
        prompt: a prefix that every sequence begins with.
        constraint: which tokens may come next; probabilities are those of what it leaves.
        length_penalty: a in log p / length^a, by which the found ones are ranked; 0 is log p.

    Returns:
        Sequences with ``log_probs_BT``, 0 for the prompt, in nats. Fewer than K where there are no
        more.

    Raises:
        ValueError: no beam, a prompt that leaves no room or is forbidden, or a policy that reads a
            condition or holds NaN.
    """
    if policy.condition_size:
        raise ValueError(
            f"a beam search is under no condition, and the policy reads one of "
            f"{policy.condition_size} numbers; draw sequences from it, with sample()"
        )
    prefix_T = policy.vocabulary.encode([prompt], end=False).tokens_BT[0].to(policy.device)
    if beams < 1 or max_length <= len(prefix_T):
        raise ValueError(
            f"{beams} beams of {max_length} tokens, {len(prefix_T)} of them the prompt's; expected "
            "at least 1, and room for one more token"
        )
    masks: Masks | None = None
    if constraint is not None:
        constraint = constraint.bound(policy.vocabulary, max_length, policy.device)
        constraint.check_prompt(prompt, prefix_T)
        masks = Masks.after(constraint, prefix_T[None])
    with policy.fixed_weights():
        tokens_KT, log_probs_KT = _search(policy, beams, prefix_T, max_length, masks)
    found = Sequences.from_tokens(tokens_KT, policy.vocabulary)
    value_K = log_probs_KT.sum(dim=1) / found.lengths_B.clamp(min=1) ** length_penalty
    order_K = value_K.argsort(descending=True, stable=True)
    return Sequences(tokens_KT, found.lengths_B, policy.vocabulary, log_probs_KT)[order_K]


def _search(
    policy: Policy, beams: int, prefix_T: Tensor, max_length: int, masks: Masks | None
) -> tuple[Tensor, Tensor]:
    """Tokens and log-probabilities (K, T) of what the beams end at."""
    eos, pad = policy.vocabulary.eos, policy.vocabulary.pad
    tokens_KT = torch.full((1, max_length), pad, device=policy.device)
    tokens_KT[0, : len(prefix_T)] = prefix_T
    logits_KA, state = read_prefix(policy, prefix_T[None])
    log_probs_KT = at_least_float32(logits_KA).new_zeros(1, max_length)
    ended_K = torch.zeros(1, dtype=torch.bool, device=policy.device)
    for step in range(len(prefix_T), max_length):
        if masks is not None:
            logits_KA = masks.hide(logits_KA, ended_K)
        log_p_KA = at_least_float32(logits_KA).log_softmax(dim=1)
        if log_p_KA.isnan().any():
            raise ValueError(UNDRAWABLE)
        log_p_KA[ended_K] = -torch.inf
        log_p_KA[ended_K, 0] = 0.0  # what has ended goes on in one way, at no cost
        rows_K, token_K = _best(log_probs_KT.sum(dim=1), log_p_KA, beams)
        tokens_KT, log_probs_KT = tokens_KT[rows_K], log_probs_KT[rows_K]
        log_probs_KT[:, step] = log_p_KA[rows_K, token_K]
        token_K = token_K.masked_fill(ended_K[rows_K], pad)
        tokens_KT[:, step] = token_K
        ended_K = ended_K[rows_K] | (token_K == (pad if eos is None else eos))
        if ended_K.all() or step + 1 == max_length:
            break
        masks = None if masks is None else masks.select(rows_K).read(token_K)
        logits_KA, state = policy.step(token_K, policy.select(state, rows_K))
    return tokens_KT, log_probs_KT


def _best(total_K: Tensor, log_p_KA: Tensor, beams: int) -> tuple[Tensor, Tensor]:
    """The rows and tokens of the best continuations; what cannot be is left out."""
    A = log_p_KA.shape[1]
    values_C = (total_K[:, None] + log_p_KA).flatten()
    value_C, place_C = values_C.topk(min(beams, len(values_C)))
    place_C = place_C[value_C > -torch.inf]
    return place_C // A, place_C % A
