"""Checkpoints: one safetensors file; what is no tensor is JSON in its header.

Loading runs no code from the file. A file is written beside its place and moved there whole, so a
checkpoint is either the old one or the new one; a checksum of all of it finds what changed since.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

FORMAT = 2
_KEY = "tokengym"


class CheckpointError(ValueError):
    """A file is no checkpoint, or not a whole one; the message names it."""


def write_atomically(path: str | Path, data: bytes) -> None:
    """Replace a file by new content, whole or not at all.

    Raises:
        OSError: it cannot be written; the old file is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def save_checkpoint(path: str | Path, tensors: Mapping[str, Tensor], state: Any) -> None:
    """Write tensors and a JSON value.

    Raises:
        TypeError: ``state`` holds something that JSON has no word for.
    """
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    header = {"format": FORMAT, "digest": _digest(plain, state), "state": state}
    text = json.dumps(header, allow_nan=True)
    write_atomically(path, serialize(plain, metadata={_KEY: text}))


def load_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], Any]:
    """Read what ``save_checkpoint`` wrote: the tensors, on the CPU, and the JSON value.

    Raises:
        CheckpointError: the file is missing, is no checkpoint, is cut short or was changed, or a
            number in it is not finite.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"there is no checkpoint {path}; is the path right?")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is no whole checkpoint ({error}); use an older one, or save it again"
        ) from error
    try:
        header = json.loads(metadata[_KEY])
        version, state = header["format"], header["state"]
        whole = header["digest"] == _digest(tensors, state)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is a safetensors file, but no tokengym checkpoint"
        ) from error
    if version != FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {version}; this version reads {FORMAT}"
        )
    if not whole:
        raise CheckpointError(
            f"{path} was changed since it was written: its checksum is another one"
        )
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise CheckpointError(
                f"{path}: {name} holds numbers that are not finite; use an older checkpoint"
            )
    return tensors, state


def _digest(tensors: Mapping[str, Tensor], state: Any) -> str:
    digest = hashlib.sha256(json.dumps(state).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
