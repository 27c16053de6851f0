"""Augmentation: other spellings of the same thing, at every epoch another one.

Randomised SMILES (Arus-Pous et al., 2019, doi 10.1186/s13321-019-0393-0): a molecule's atoms are
written out from a random atom in a random order. A function of (seed, molecule) alone.
"""

# Shapes: B sequences
from __future__ import annotations

from collections.abc import Callable

from ...agents.counter_rng import fold_in
from ...envs import Sequences

Augmentation = Callable[[str, int], str]


def randomised_smiles(text: str, seed: int) -> str:
    """Another SMILES of the same molecule; of what is no molecule, the text itself."""
    from rdkit import Chem  # an extra

    from ...rewards.molecules import molecule

    found = molecule(text)
    if found is None or not text:
        return text
    return str(Chem.MolToRandomSmilesVect(found, 1, randomSeed=seed % 2**31)[0])


AUGMENTATIONS: dict[str, Augmentation] = {"randomised_smiles": randomised_smiles}


def augmented(sequences: Sequences, name: str, seed: int, max_length: int) -> Sequences:
    """The sequences in other spellings.

    One stays as it was where the vocabulary cannot write the other, or it is too long.

    Args:
        sequences: B sequences.
        name: of the augmentation.
        seed: of all of them.
        max_length: the most tokens.
    """
    spell, vocabulary = AUGMENTATIONS[name], sequences.vocabulary
    texts = [spell(text, fold_in(seed, row)) for row, text in enumerate(sequences.texts)]
    fits = [vocabulary.first_unknown(text) is None for text in texts]
    known = [text if ok else "" for text, ok in zip(texts, fits, strict=True)]
    lengths = vocabulary.encode(known).lengths_B.tolist()
    chosen = [
        other if ok and length <= max_length else text
        for text, other, ok, length in zip(sequences.texts, texts, fits, lengths, strict=True)
    ]
    spelt = vocabulary.encode(chosen)
    return spelt if sequences.condition_B is None else spelt.given(sequences.condition_B)
