"""A randomly initialised LSTM as a source: SeqGAN's oracle (Yu et al., 2017, arXiv 1609.05473).

5,000 tokens, length 20, no end token, embedding and hidden size 32, every weight N(0, 1).
"""

# Shapes: B sequences, V tokens (= A actions: there is no end token), E embedding, H hidden
from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...rewards.files import DataError
from .base import State, StepSource, numbered

_GATES = "ifoc"
_NAMES = ["embedding", *(f"{m}_{g}" for g in _GATES for m in "WUb"), "W_out", "b_out"]


class LSTMOracle(StepSource):
    """An LSTM with fixed weights: a source of sequences whose likelihood is known.

    Row vectors: x @ W + h @ U + b for the gates i, f, o (sigmoid) and the candidate c (tanh); zero
    initial state; the first input is the embedding's row 0.

    Args:
        weights: arrays ``embedding (V, E)``, ``W_g (E, H)``, ``U_g (H, H)``, ``b_g (H,)`` for the
            gates g = i, f, o, c, ``W_out (H, V)``, ``b_out (V,)``.
        length: T, the fixed length of its sequences.
    """

    dtype = torch.float32

    def __init__(self, weights: dict[str, np.ndarray], length: int = 20) -> None:
        if missing := set(_NAMES) - set(weights):
            raise ValueError(f"the oracle lacks the arrays {sorted(missing)}; expected {_NAMES}")
        for name in ("embedding", "U_i"):
            if weights[name].ndim != 2:
                raise ValueError(f"the oracle's {name} has {weights[name].ndim} axes; expected 2")
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
        if wrong := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
            raise ValueError(f"the oracle's {wrong[0]} is not finite everywhere in float32")
        self.length = length
        self.vocabulary = numbered(V)
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
            file = np.load(path, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it holds a single array")
            with file:
                return cls({name: file[name] for name in file.files}, length)
        except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"cannot load an oracle from {path}: {error}") from error

    def initial_state(self, batch: int) -> State:
        """The hidden and the cell state, zeros (B, H) each."""
        zeros_BH = torch.zeros((batch, len(self._U)))
        return zeros_BH, zeros_BH

    def step(self, token_B: Tensor, state: State) -> tuple[Tensor, State]:
        """Read a token: logits (B, V), the next state."""
        h_BH, c_BH = state
        token_B = token_B.masked_fill(token_B == self.vocabulary.bos, 0)
        i, f, o, c = (self._inputs[token_B] + h_BH @ self._U).chunk(4, dim=1)
        c_BH = f.sigmoid() * c_BH + i.sigmoid() * c.tanh()
        h_BH = o.sigmoid() * c_BH.tanh()
        return torch.addmm(self._out_bias, h_BH, self._out), (h_BH, c_BH)
