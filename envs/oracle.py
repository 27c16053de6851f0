"""SeqGAN's synthetic task (Yu et al., 2017, arXiv 1609.05473, section 4.1).

A randomly initialised LSTM is the source of the real data, and tells how probable a sequence is.
5,000 tokens, length 20, no end token, embedding and hidden size 32, every weight N(0, 1).
"""

# Shapes: B sequences, T steps, V tokens (= A actions: there is no end token), E embedding, H hidden
from __future__ import annotations

import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..rewards import Reward, RewardSpec, Scores, make_reward
from .categorical import sample_categorical
from .constraints import Constraint
from .data import DataError
from .sequences import Sequences
from .task import Task
from .vocabulary import Vocabulary

_GATES = "ifoc"
_NAMES = ["embedding", *(f"{m}_{g}" for g in _GATES for m in "WUb"), "W_out", "b_out"]
_CHUNK = 512  # rows at once: (512, 5000) float32 logits are 10 MB


class LSTMOracle:
    """An LSTM with fixed weights: a source of sequences whose likelihood is known.

    Row vectors: x @ W + h @ U + b for the gates i, f, o (sigmoid) and the candidate c (tanh); zero
    initial state; the first input is the embedding's row 0.

    Args:
        weights: arrays ``embedding (V, E)``, ``W_g (E, H)``, ``U_g (H, H)``, ``b_g (H,)`` for the
            gates g = i, f, o, c, ``W_out (H, V)``, ``b_out (V,)``.
        length: T, the fixed length of its sequences.
    """

    def __init__(self, weights: dict[str, np.ndarray], length: int = 20) -> None:
        if missing := set(_NAMES) - set(weights):
            raise ValueError(f"the oracle lacks the arrays {sorted(missing)}; expected {_NAMES}")
        V, E = weights["embedding"].shape
        H = weights["U_i"].shape[0]
        shapes = {"embedding": (V, E), "W_out": (H, V), "b_out": (V,)}
        for gate in _GATES:
            shapes |= {f"W_{gate}": (E, H), f"U_{gate}": (H, H), f"b_{gate}": (H,)}
        for name, shape in shapes.items():
            if weights[name].shape != shape:
                raise ValueError(
                    f"the oracle's {name} has shape {weights[name].shape}; expected {shape}, from "
                    f"embedding {(V, E)} and U_i of {H} columns"
                )
        tensors = {name: torch.as_tensor(weights[name], dtype=torch.float32) for name in _NAMES}
        self.length = length
        self.vocabulary = _oracle_vocabulary(V)
        self._W = torch.cat([tensors[f"W_{gate}"] for gate in _GATES], dim=1)
        self._U = torch.cat([tensors[f"U_{gate}"] for gate in _GATES], dim=1)
        self._b = torch.cat([tensors[f"b_{gate}"] for gate in _GATES])
        self._inputs = tensors["embedding"] @ self._W + self._b  # (V, 4H): the input's share
        self._out, self._out_bias = tensors["W_out"], tensors["b_out"]

    @classmethod
    def random(
        cls,
        seed: int = 0,
        *,
        num_tokens: int = 5000,
        embedding: int = 32,
        hidden: int = 32,
        length: int = 20,
    ) -> LSTMOracle:
        """Draw every weight from N(0, 1)."""
        draw = np.random.default_rng(seed).standard_normal
        V, E, H = num_tokens, embedding, hidden
        weights = {"embedding": draw((V, E)), "W_out": draw((H, V)), "b_out": draw(V)}
        for gate in _GATES:
            weights[f"W_{gate}"] = draw((E, H))
            weights[f"U_{gate}"] = draw((H, H))
            weights[f"b_{gate}"] = draw(H)
        return cls(weights, length)

    @classmethod
    def from_npz(cls, path: str | Path, length: int = 20) -> LSTMOracle:
        """Load the arrays that the class names from a NumPy ``.npz``; nothing in it is run.

        Raises:
            DataError: the file is missing, is no ``.npz``, or its arrays do not fit together.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls({name: file[name] for name in file.files}, length)
        except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
            raise DataError(f"cannot load an oracle from {path}: {error}") from error

    @torch.no_grad()
    def sample(self, n: int, seed: int = 0) -> Sequences:
        """Draw ``n`` sequences of the fixed length."""
        generator = torch.Generator().manual_seed(seed)
        uniforms_BT = torch.rand((n, self.length), generator=generator)
        chunks = [self._sample(chunk) for chunk in uniforms_BT.split(_CHUNK)]
        tokens_BT = torch.cat(chunks) if chunks else torch.empty((0, self.length)).long()
        return Sequences(tokens_BT, torch.full((n,), self.length), self.vocabulary)

    @torch.no_grad()
    def log_prob(self, sequences: Sequences) -> Tensor:
        """Log-probability of every token in nats, float32 (B, T), 0 in the padding.

        Raises:
            ValueError: the sequences are of another vocabulary.
        """
        if sequences.vocabulary.num_actions != self.vocabulary.num_actions:
            raise ValueError(
                f"the oracle writes {self.vocabulary.num_actions} tokens, the sequences are of "
                f"{sequences.vocabulary}"
            )
        tokens_BT = sequences.tokens_BT.cpu()
        chunks = [self._log_prob(chunk) for chunk in tokens_BT.split(_CHUNK)]
        log_probs_BT = torch.cat(chunks) if chunks else tokens_BT.float()
        return log_probs_BT.to(sequences.tokens_BT.device) * sequences.mask_BT

    def _sample(self, uniforms_BT: Tensor) -> Tensor:
        state, token_B = self._start(len(uniforms_BT))
        written = []
        for step in range(self.length):
            logits_BV, state = self._step(token_B, state)
            token_B = sample_categorical(logits_BV, uniforms_BT[:, step])
            written.append(token_B)
        return torch.stack(written, dim=1)

    def _log_prob(self, tokens_BT: Tensor) -> Tensor:
        state, token_B = self._start(len(tokens_BT))
        readable_BT = tokens_BT.clamp(
            max=self.vocabulary.num_actions - 1
        )  # padding is masked later
        log_probs = []
        for step in range(tokens_BT.shape[1]):
            logits_BV, state = self._step(token_B, state)
            token_B = readable_BT[:, step]
            chosen_B = logits_BV.gather(1, token_B[:, None])[:, 0]
            log_probs.append(chosen_B - logits_BV.logsumexp(dim=1))
        return torch.stack(log_probs, dim=1)

    def _start(self, batch: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
        zeros_BH = torch.zeros((batch, len(self._U)))
        return (zeros_BH, zeros_BH), torch.zeros(batch, dtype=torch.int64)

    def _step(
        self, token_B: Tensor, state: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        h_BH, c_BH = state
        i, f, o, c = (self._inputs[token_B] + h_BH @ self._U).chunk(4, dim=1)
        c_BH = f.sigmoid() * c_BH + i.sigmoid() * c.tanh()
        h_BH = o.sigmoid() * c_BH.tanh()
        return torch.addmm(self._out_bias, h_BH, self._out), (h_BH, c_BH)


class OracleLogProb(Reward):
    """The mean log-probability of a sequence's tokens under an oracle, in nats a token."""

    name = "oracle_log_prob"
    credit = "rollouts"
    range = (-float("inf"), 0.0)

    def __init__(self, oracle: LSTMOracle) -> None:
        self.oracle = oracle

    def __call__(self, sequences: Sequences) -> Scores:
        """Score B sequences."""
        total_B = self.oracle.log_prob(sequences).sum(dim=1)
        return Scores.of(self.name, total_B / sequences.lengths_B.clamp(min=1))


def oracle(
    *,
    seed: int = 0,
    weights: str | None = None,
    data_size: int = 10_000,
    reward: RewardSpec | None = None,
    constraint: Constraint | None = None,
) -> Task:
    """The task ``tokengym/Oracle-v0``: write 20 tokens that an LSTM finds probable.

    Args:
        seed: of the random oracle, and of the data that it writes.
        weights: an ``.npz`` for ``LSTMOracle.from_npz``, instead of a random oracle.
        data_size: how many real sequences there are.
        reward: by default the mean log-probability under the oracle.
        constraint: which tokens may come next.
    """
    source = _random_oracle(seed) if weights is None else LSTMOracle.from_npz(weights)
    return Task(
        name="Oracle",
        vocabulary=source.vocabulary,
        max_length=source.length,
        reward=OracleLogProb(source) if reward is None else make_reward(reward),
        constraint=constraint,
        load_data=lambda: source.sample(data_size, seed),
        source=source,
    )


@lru_cache(maxsize=2)
def _random_oracle(seed: int) -> LSTMOracle:
    return LSTMOracle.random(seed)


@lru_cache(maxsize=4)
def _oracle_vocabulary(num_tokens: int) -> Vocabulary:
    return Vocabulary.from_tokens(map(str, range(num_tokens)), "words", eos=False)
