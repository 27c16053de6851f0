"""Figures of likelihood: nats a token and a sequence, perplexity, bits a character."""

# Shapes: B sequences, T steps
from __future__ import annotations

import math

import torch
from torch import Tensor

from ...envs import Sequences
from ..metrics import Estimate, mean_of, nats_a_token


def likelihood_figures(log_probs_BT: Tensor, sequences: Sequences) -> dict[str, Estimate]:
    """What a model's log-probabilities say of it, with standard errors over sequences.

    ``nats_a_token``, ``nats_a_sequence``, ``perplexity`` (exp of nats a token; its error by the
    delta method) and ``bits_a_character``: all bits over all characters, where an end token counts
    as the one character that ends a line.

    Args:
        log_probs_BT: of the tokens, in nats, 0 in the padding.
        sequences: what they are of.
    """
    lengths_B = sequences.lengths_B.cpu()
    token = nats_a_token(log_probs_BT, lengths_B)
    perplexity = math.exp(min(token.value, 700.0))
    character = nats_a_token(log_probs_BT, characters(sequences))
    return {
        "nats_a_token": token,
        "nats_a_sequence": mean_of((-log_probs_BT.double().sum(dim=1)).tolist()),
        "perplexity": Estimate(perplexity, perplexity * token.se, token.n),
        "bits_a_character": Estimate(
            character.value / math.log(2), character.se / math.log(2), character.n
        ),
    }


def characters(sequences: Sequences) -> Tensor:
    """How many characters each has, int64 (B,); an end token is one."""
    lengths_B = torch.tensor([len(text) for text in sequences.texts], dtype=torch.int64)
    eos = sequences.vocabulary.eos
    if eos is not None:
        lengths_B = lengths_B + (sequences.tokens_BT == eos).any(dim=1).cpu()
    return lengths_B
