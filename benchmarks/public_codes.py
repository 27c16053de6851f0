"""How public codes compute what the rollout engine computes: what it is measured against.

``double_loop`` is SeqGAN's as TextGAN-PyTorch and others write it: for each completion, for each
prefix, read the prefix from its first token and go on a token at a time, ``torch.multinomial``.
``by_prefix`` is MOSES' ORGAN's: the N completions of one prefix in one batch, from its state. Both
stop when every row has ended, and score with ``conv2d``, bias and ReLU everywhere, then max-pool.
They draw from the same distributions as the engine, but other tokens.
"""

# Shapes: B sequences, R rows, A actions, E embedding, F filters of one width, w its width
from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from tokengym.agents import Policy
from tokengym.agents.policies import State
from tokengym.envs import Sequences
from tokengym.rewards.discriminators import ConvNetwork
from torch import Tensor

Score = Callable[[Tensor], Tensor]


@torch.no_grad()
def double_loop(
    policy: Policy, score: Score, sequences: Sequences, prefixes: Iterable[int], completions: int
) -> None:
    """Complete and score the prefixes that end with these tokens."""
    for _ in range(completions):
        for t in prefixes:
            state = policy.initial_state(len(sequences))
            last_B = torch.full_like(sequences.lengths_B, policy.vocabulary.bos)
            for token_B in sequences.tokens_BT[:, : t + 1].unbind(dim=1):
                _, state = policy.step(last_B, state)
                last_B = token_B
            score(go_on(policy, sequences.tokens_BT, t, last_B, state))


@torch.no_grad()
def by_prefix(
    policy: Policy, score: Score, sequences: Sequences, prefixes: Iterable[int], completions: int
) -> None:
    """The same, the completions of one prefix at once, of sequences that have not ended."""
    wanted = set(prefixes)
    state = policy.initial_state(len(sequences))
    last_B = torch.full_like(sequences.lengths_B, policy.vocabulary.bos)
    for t, token_B in enumerate(sequences.tokens_BT.unbind(dim=1)):
        _, state = policy.step(last_B, state)
        last_B = token_B
        if t in wanted:
            rows_R = (sequences.lengths_B - 1 > t).nonzero()[:, 0].repeat(completions)
            begun = policy.select(state, rows_R)
            score(go_on(policy, sequences.tokens_BT[rows_R], t, last_B[rows_R], begun))


def go_on(policy: Policy, tokens_RT: Tensor, t: int, last_R: Tensor, state: State) -> Tensor:
    """The tokens (R, T) with those after ``t`` written anew."""
    pad = policy.vocabulary.pad
    eos = -1 if policy.vocabulary.eos is None else policy.vocabulary.eos
    written = list(tokens_RT[:, : t + 1].unbind(dim=1))
    ended_R = (tokens_RT[:, : t + 1] == eos).any(dim=1)
    while len(written) < tokens_RT.shape[1] and not bool(ended_R.all()):
        logits_RA, state = policy.step(last_R, state)
        last_R = torch.multinomial(logits_RA.softmax(dim=1), 1)[:, 0].masked_fill(ended_R, pad)
        written.append(last_R)
        ended_R = ended_R | (last_R == eos)
    return F.pad(torch.stack(written, dim=1), (0, tokens_RT.shape[1] - len(written)), value=pad)


@torch.no_grad()
def conv2d_score(network: ConvNetwork, tokens_RT: Tensor) -> Tensor:
    """The probability (R,) that a sequence is real; the network is in eval mode."""
    embedded_R1TE = network.embedding(tokens_RT)[:, None]
    pooled = []
    for convolution in network.convolutions:
        assert isinstance(convolution, torch.nn.Conv1d)
        kernel_F1wE = convolution.weight.transpose(1, 2)[:, None]
        windows_RFW = F.relu(F.conv2d(embedded_R1TE, kernel_F1wE, convolution.bias))[:, :, :, 0]
        pooled.append(F.max_pool1d(windows_RFW, windows_RFW.shape[2])[:, :, 0])
    features_RK = torch.cat(pooled, dim=1)
    if network.highway is not None:
        K, made = features_RK.shape[1], network.highway(features_RK)
        gate_RK = made[:, -K:].sigmoid()
        features_RK = gate_RK * F.relu(made[:, :K]) + (1 - gate_RK) * features_RK
    outputs_R: Tensor = network.output(features_RK)[:, 0]
    return outputs_R.sigmoid()
