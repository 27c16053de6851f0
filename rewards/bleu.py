"""BLEU: how much of a text's phrasing occurs in references.

Papineni et al. (2002), by sacrebleu (Post, 2018, arXiv 1804.08771; extra ``texts``), a sentence at
a time: the geometric mean of the shares of its n-grams, n = 1 .. order, that occur in a reference,
times exp(1 - r / c) when its c words are fewer than the r of the reference nearest in length. An
n-gram counts as often as in the reference that has it most. Where no n-gram of an order matches,
half, a quarter, ... of one is counted (sacrebleu's ``exp``); orders longer than the text are left
out. All references together are one set of phrases, as SeqGAN evaluates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Unpack, get_args

from .objective import Objective, ObjectiveOptions
from .reference import Reference, reference_lines

try:
    from sacrebleu.metrics.bleu import BLEU as SacreBLEU
except ImportError as error:  # pragma: no cover - the message is tested in a subprocess
    raise ImportError(
        "BLEU needs sacrebleu, which is not installed; install it with "
        "pip install 'tokengym[texts]'"
    ) from error

Tokens = Literal["13a", "char", "none"]


class BLEU(Objective):
    """BLEU against all references at once, in [0, 1]; 0.0 for a text that shares no word with them.

    Args:
        reference: the references, or a file of them.
        order: the longest n-grams.
        tokens: how words are found: ``"13a"`` (punctuation apart), ``"char"`` or ``"none"`` (white
            space alone).
        **options: as for ``Objective``.
    """

    name = "bleu"
    range = (0.0, 1.0)
    microseconds = 60.0

    def __init__(
        self,
        reference: Reference,
        order: int = 4,
        tokens: Tokens = "13a",
        **options: Unpack[ObjectiveOptions],
    ) -> None:
        super().__init__(**options)
        if tokens not in get_args(Tokens):
            raise ValueError(f"tokens is {tokens!r}; expected one of {', '.join(get_args(Tokens))}")
        if order < 1:
            raise ValueError(f"order is {order}; expected 1 or more")
        self._metric = SacreBLEU(
            references=[[text] for text in reference_lines(reference)],
            max_ngram_order=order,
            tokenize=tokens,
            effective_order=True,
        )

    def score(self, texts: list[str]) -> Sequence[float | None]:
        """BLEU of each text, as a share."""
        # Rounding leaves a copy of a reference a little above 100.
        scores = (self._metric.corpus_score([text], None).score for text in texts)
        return [min(score / 100, 1.0) for score in scores]
