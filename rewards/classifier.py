"""A Hugging Face classifier or reward model from a local folder (extra ``transformers``).

Nothing is fetched, and no code of the folder is run: weights are read from safetensors alone, never
from a pickle, and classes come from the library alone.
"""

# Shapes: B texts, L labels
from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor

from .objective import Objective, ObjectiveOptions

try:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
except ImportError as error:  # pragma: no cover - the message is tested in a subprocess
    raise ImportError(
        "a classifier needs transformers, which is not installed; install it with "
        "pip install 'tokengym[transformers]'"
    ) from error

_BATCH = 32  # texts in one forward pass
_LONGEST = 1 << 20  # tokens; a tokenizer that knows no limit says 1e30


class Classifier(Objective):
    """What a sequence-classification model says of a text.

    With several labels, the probability of one of them (a softmax; a sigmoid where the model's
    ``problem_type`` is ``multi_label_classification``), in [0, 1]. With a single one, as reward
    models have it, its logit as it is: bring it to [0, 1] with a transform.

    A memo on disk tells the folder, not its weights: give a ``version`` when you change them.

    Args:
        folder: what ``save_pretrained`` of a model and of its tokenizer wrote:
            ``model.safetensors``, ``config.json``, ``tokenizer.json``.
        label: the name or number of the label; not for a model with a single one.
        **options: as for ``Objective``.

    Raises:
        ValueError: no such folder, no such label, or a model without safetensors or padding token.
    """

    name = "classifier"
    range = (-float("inf"), float("inf"))

    def __init__(
        self,
        folder: str | os.PathLike[str],
        label: str | int | None = None,
        **options: Unpack[ObjectiveOptions],
    ) -> None:
        super().__init__(**options)
        path = Path(folder)
        if not (path / "config.json").is_file():  # the library would take it for a name on the hub
            raise ValueError(f"{path} is no folder of a model: it has no config.json")
        safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(path, **safe)
            model = AutoModelForSequenceClassification.from_pretrained(
                path, use_safetensors=True, **safe
            )
        except OSError as error:
            raise ValueError(f"{path} has no model that can be used: {error}") from error
        self._model = model.eval().requires_grad_(False)
        self._label = _label_number(path, model.config, label)
        if self._label is not None:
            self.range = (0.0, 1.0)
        if self._tokenizer.pad_token is None or model.config.pad_token_id is None:
            raise ValueError(f"{path}: tokenizer and model need a pad token, to score a batch")

    def prepare(self, vocabulary: object, max_length: int, device: torch.device | str) -> None:
        """Go to the device."""
        super().prepare(vocabulary, max_length, device)
        self._model.to(device)

    def score(self, texts: list[str]) -> Sequence[float | None]:
        """The probability, or the single logit, of each text."""
        values: list[float | None] = []
        for first in range(0, len(texts), _BATCH):
            logits_BL = self._logits(texts[first : first + _BATCH])
            values += (logits_BL[:, 0] if self._label is None else self._share(logits_BL)).tolist()
        return values

    @torch.no_grad()
    def _logits(self, texts: list[str]) -> Tensor:
        positions = getattr(self._model.config, "max_position_embeddings", _LONGEST)
        longest = min(self._tokenizer.model_max_length, positions, _LONGEST)
        inputs = self._tokenizer(
            texts, return_tensors="pt", padding=True, truncation=True, max_length=longest
        )
        logits_BL: Tensor = self._model(**inputs.to(self._model.device)).logits
        return logits_BL.float()

    def _share(self, logits_BL: Tensor) -> Tensor:
        independent = self._model.config.problem_type == "multi_label_classification"
        shares_BL = logits_BL.sigmoid() if independent else logits_BL.softmax(dim=1)
        return shares_BL[:, self._label]


def _label_number(path: Path, config: Any, label: str | int | None) -> int | None:
    """The number of the label; None for a model with one logit."""
    names = [config.id2label[number] for number in range(config.num_labels)]
    if len(names) == 1 and label is None:
        return None
    if label in names:
        return names.index(label)
    if len(names) > 1 and isinstance(label, int) and 0 <= label < len(names):
        return label
    known = ", ".join(f"{name!r} ({number})" for number, name in enumerate(names))
    expected = f"one of {known}" if len(names) > 1 else "none, for the model has a single logit"
    raise ValueError(f"label is {label!r}; expected {expected} ({path})")
