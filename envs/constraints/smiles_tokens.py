"""What the tokens of SMILES are: atoms and how many bonds they can have, bonds, ring digits.

OpenSMILES (opensmiles.org), with the valences that RDKit accepts. A charged atom has those of the
element with as many electrons; an element that is not in the table may have any number of bonds. An
aromatic atom is counted by its neighbours, as left to right nobody knows the ring's double bonds.
"""

# Shapes: A actions, L ring labels, O bond symbols (0 is none)
from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..vocabulary import Vocabulary

ATOM, DIGIT, BOND, OPEN, CLOSE, DOT, END, NOTHING = range(8)

MANY = 12  # bonds of an element without a valence here
IMPOSSIBLE = MANY + 1  # more bonds than any atom has

# Order of a bond symbol; the first is the bond that nothing stands for.
_ORDERS = {"": 1, "-": 1, "/": 1, "\\": 1, ":": 1, "=": 2, "#": 3, "$": 4}
# Of elements whose bonds are counted: how many electrons they have.
_ELECTRONS = {
    "H": 1, "B": 5, "C": 6, "N": 7, "O": 8, "F": 9, "Si": 14, "P": 15, "S": 16, "Cl": 17, "As": 33,
    "Se": 34, "Br": 35, "Te": 52, "I": 53, "Li": 3, "Na": 11, "K": 19, "Rb": 37, "Cs": 55,
}  # fmt: skip
# Most bonds, by the number of electrons.
_VALENCE = {
    0: 0, 1: 1, 2: 0, 3: 1, 5: 3, 6: 4, 7: 3, 8: 2, 9: 1, 10: 0, 11: 1,
    14: 6, 15: 7, 16: 6, 17: 1, 18: 0, 19: 1, 33: 7, 34: 6, 35: 1, 36: 0, 37: 1,
    51: 7, 52: 6, 53: 5, 54: 0, 55: 1,
}  # fmt: skip
_ORGANIC = ("B", "C", "N", "O", "P", "S", "F", "Cl", "Br", "I")
_AROMATIC = {"b": 3, "c": 3, "n": 3, "p": 3, "as": 3, "o": 2, "s": 4, "se": 4, "te": 4}
_BRACKET_ATOM = re.compile(
    r"\[(?P<isotope>\d+)?(?P<symbol>[A-Z][a-z]?|as|se|te|[bcnops]|\*)(?P<chiral>@(?:@|[A-Z]{2}\d+)?)?"
    r"(?P<hydrogens>H\d*)?(?P<charge>\+\d+|-\d+|\++|-+)?(?::(?P<map>\d+))?\]"
)


@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of a vocabulary, and what they are.

    Args:
        kind_A: ATOM, DIGIT, ...; the two inputs that are no actions are NOTHING: (A + 2,).
        bonds_A: how many bonds an atom can have, 0 for other tokens.
        aromatic_A: whether it is an aromatic atom.
        bond_A: the number of a bond symbol, 0 for other tokens.
        label_A: the number of a ring digit's label, 0 for other tokens.
        labels: L, how many different labels there are.
        cost_O2: how many bonds a bond symbol takes from an atom that is not, and that is, aromatic.
    """

    kind_A: np.ndarray
    bonds_A: np.ndarray
    aromatic_A: np.ndarray
    bond_A: np.ndarray
    label_A: np.ndarray
    labels: int
    cost_O2: np.ndarray


def bonds_of(atom: str) -> tuple[int, bool] | None:
    """How many bonds an atom's token can have, and whether it is aromatic; None for no atom."""
    if atom in _ORGANIC:
        return _valence(atom, 0), False
    if atom in _AROMATIC:
        return _AROMATIC[atom], True
    if atom == "*":
        return MANY, False
    found = _BRACKET_ATOM.fullmatch(atom)
    if found is None:
        return None
    symbol, charge = found["symbol"], _charge(found["charge"])
    hydrogens = int(found["hydrogens"][1:] or 1) if found["hydrogens"] else 0
    aromatic = symbol in _AROMATIC
    most = _AROMATIC[symbol] if aromatic else _valence(symbol, charge)
    if aromatic and charge < 0:
        most = min(most, 2)
    if aromatic and charge > 0:
        most = max(most, 3)
    return max(most - hydrogens, 0), aromatic


@lru_cache(maxsize=4)
def tokens_of(vocabulary: Vocabulary) -> Tokens:
    """What each token of a vocabulary is."""
    size = vocabulary.num_inputs
    kind_A = np.full(size, NOTHING)
    bonds_A, bond_A, label_A = np.zeros((3, size), np.int64)
    aromatic_A = np.zeros(size, bool)
    kinds = {"(": OPEN, ")": CLOSE, ".": DOT}
    symbols = list(_ORDERS)
    labels = sorted({int(t.lstrip("%")) for t in vocabulary.tokens if _is_digit(t)})
    for token, spelling in enumerate(vocabulary.tokens):
        if token == vocabulary.eos:
            kind_A[token] = END
        elif spelling in kinds:
            kind_A[token] = kinds[spelling]
        elif spelling in symbols:
            kind_A[token], bond_A[token] = BOND, symbols.index(spelling)
        elif _is_digit(spelling):
            kind_A[token], label_A[token] = DIGIT, labels.index(int(spelling.lstrip("%")))
        elif (atom := bonds_of(spelling)) is not None:
            kind_A[token] = ATOM
            bonds_A[token], aromatic_A[token] = atom
    # An aromatic atom has no triple bond; its double one is to a single neighbour all the same.
    cost_O2 = np.array([[o, 1 if o <= 2 else IMPOSSIBLE] for o in _ORDERS.values()])
    return Tokens(kind_A, bonds_A, aromatic_A, bond_A, label_A, len(labels), cost_O2)


def _is_digit(token: str) -> bool:
    return re.fullmatch(r"[0-9]|%[0-9][0-9]", token) is not None


def _valence(symbol: str, charge: int) -> int:
    if symbol not in _ELECTRONS:
        return MANY
    return _VALENCE.get(_ELECTRONS[symbol] - charge, MANY)


def _charge(text: str | None) -> int:
    if not text:
        return 0
    sign = 1 if text[0] == "+" else -1
    return sign * (int(text[1:]) if text[1:].isdigit() else len(text))
