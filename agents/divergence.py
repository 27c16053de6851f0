"""Learning that has left the finite numbers: found before the weights take harm, with its batch.

A loss that is NaN, or a gradient that is not finite, would make every weight NaN in one step. It is
raised before that step, so the policy stays as it was, and the batch travels with the error.
"""

# Shapes: B sequences, T steps
from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ..envs import Sequences, Vocabulary
from .checkpoint import CheckpointError, write_atomically

_KEY = "tokengym_divergence"


class DivergenceError(FloatingPointError):
    """A loss or a gradient is not finite; what should have been updated is as it was.

    Attributes:
        batches: the sequences that were learnt from, by what they are.
        values: tensors beside them, such as what their tokens were worth.
    """

    def __init__(
        self, message: str, batches: Mapping[str, Sequences], values: Mapping[str, Tensor]
    ) -> None:
        super().__init__(message)
        self.batches, self.values = dict(batches), dict(values)


def finite_norm(parameters: Iterable[nn.Parameter], max_norm: float, what: str) -> float:
    """Clip a gradient's norm to ``max_norm``; gives what it was.

    Raises:
        FloatingPointError: it is not finite; the message says of ``what``.
    """
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, max_norm))
    if not torch.tensor(norm).isfinite():
        raise FloatingPointError(f"the gradient's norm is {norm} {what}")
    return norm


@contextmanager
def learning_from(
    batches: Mapping[str, Sequences], values: Mapping[str, Tensor] | None = None
) -> Iterator[None]:
    """Say with a FloatingPointError that is raised within which batch did it."""
    try:
        yield
    except DivergenceError:
        raise
    except FloatingPointError as error:
        raise DivergenceError(str(error), batches, values or {}) from error


def save_divergence(path: str | Path, error: DivergenceError) -> None:
    """Write the batch that did it, tensors in safetensors, texts and message in its header."""
    tensors = {f"{name}.tokens": batch.tokens_BT for name, batch in error.batches.items()}
    tensors |= {f"values.{name}": tensor for name, tensor in error.values.items()}
    header = {
        "message": str(error),
        "texts": {name: batch.texts for name, batch in error.batches.items()},
        "vocabulary": next(iter(error.batches.values())).vocabulary.to_json(),
    }
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomically(path, save(plain, metadata={_KEY: json.dumps(header)}))


def load_divergence(path: str | Path) -> DivergenceError:
    """The error that ``save_divergence`` wrote, to look into, or to raise again.

    Raises:
        CheckpointError: the file is missing, or is something else.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            header = json.loads((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
        vocabulary = Vocabulary.from_json(header["vocabulary"])
        batches = {
            name: Sequences.from_tokens(tensors.pop(f"{name}.tokens"), vocabulary)
            for name in header["texts"]
        }
        values = {name.removeprefix("values."): tensor for name, tensor in tensors.items()}
        return DivergenceError(header["message"], batches, values)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} holds no batch of a divergence: {error!r}") from error
