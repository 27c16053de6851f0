"""From the texts of a data set to a vocabulary, and to sequences that fit a task."""

from __future__ import annotations

import warnings
from functools import lru_cache

from ..rewards.files import DataError
from .sequences import Sequences
from .tokenization import Tokenization
from .vocabulary import Vocabulary


@lru_cache(maxsize=12)
def vocabulary_of(texts: tuple[str, ...], tokenization: Tokenization) -> Vocabulary:
    """The tokens of a data set, collected once for each form that an environment is made in."""
    return Vocabulary.from_corpus(texts, tokenization)


@lru_cache(maxsize=4)
def encode_data(
    texts: tuple[str, ...],
    data: str,
    vocabulary: Vocabulary,
    max_length: int | None,
    *,
    skip_invalid: bool,
) -> Sequences:
    """Encode a data set, once for each form that an environment is made in.

    Args:
        texts: the data set.
        data: what it is called, for errors.
        vocabulary: which tokens can be written.
        max_length: T; by default the longest text and its end token.
        skip_invalid: leave out, and count in a warning, texts that hold other tokens or are longer.

    Raises:
        DataError: a text holds another token or is longer, and ``skip_invalid`` is False; or none
            is left.
    """
    kept = list(texts)
    if skip_invalid:
        kept = [text for text in texts if vocabulary.first_unknown(text) is None]
        if len(kept) < len(texts):
            _warn(data, len(texts) - len(kept), "hold tokens that the vocabulary lacks")
    if not kept:
        raise DataError(f"{data}: no text is left to learn from; are the data right?")
    try:
        # One token more than fits is enough to see that a text is longer.
        sequences = vocabulary.encode(kept, at_most=None if max_length is None else max_length + 1)
    except ValueError as error:
        raise DataError(f"{data}: {error}") from error
    except MemoryError as error:
        raise DataError(
            f"{data}: all {len(kept)} texts are padded to the longest, "
            f"{_short(max(kept, key=len))}, and memory does not hold that; give a max_length"
        ) from error
    if max_length is None:
        return sequences
    fits = sequences.lengths_B <= max_length
    if not fits.all():
        if not skip_invalid or not fits.any():
            worst = int(sequences.lengths_B.argmax())
            length = len(vocabulary.tokenize(kept[worst])) + (vocabulary.eos is not None)
            raise DataError(
                f"{data}: {_short(kept[worst])} has {length} tokens with its end and max_length is "
                f"{max_length}; give a larger max_length, or leave such "
                "lines out with --skip-invalid (skip_invalid=True)"
            )
        _warn(data, int((~fits).sum()), f"have more than {max_length} tokens")
        sequences = sequences[fits.nonzero()[:, 0]]
    return Sequences(sequences.tokens_BT, sequences.lengths_B, vocabulary).padded(max_length)


def _warn(data: str, number: int, why: str) -> None:
    warnings.warn(f"{data}: left out {number} texts that {why}", stacklevel=4)


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
