"""SMILES to SELFIES and back (Krenn et al., 2020, arXiv 1905.13741), by the selfies library.

Every string of SELFIES symbols is a molecule: what a symbol asks for beyond an atom's valence is
left out when it is read. So several strings are one molecule, and reading is not the inverse of
writing for all of them.
"""

from __future__ import annotations

from functools import lru_cache

from rdkit import Chem, rdBase

try:
    import selfies
except ImportError as error:  # pragma: no cover - what is missing is named, as for RDKit
    raise ImportError(
        "SELFIES need the selfies library, which is not installed; install it with "
        "pip install 'tokengym[molecules]'"
    ) from error


@lru_cache(maxsize=1 << 15)  # a data set is asked for several times while it is loaded
def to_selfies(smiles: str) -> str | None:
    """A molecule as SELFIES, None where it has none: no molecule, or one that breaks their rules.

    SELFIES know no aromatic bonds. Where the library finds no alternating ones (rings with a
    hypervalent sulphur, for example), RDKit's are taken.
    """
    if not smiles:
        return ""
    try:
        return str(selfies.encoder(smiles))
    except (selfies.EncoderError, IndexError, KeyError, ValueError, AttributeError):
        kekulised = _kekulised(smiles)
    try:
        return None if kekulised is None else str(selfies.encoder(kekulised))
    except selfies.EncoderError:
        return None


def to_smiles(text: str) -> str:
    """SELFIES as SMILES; empty where a symbol is none."""
    try:
        return str(selfies.decoder(text))
    except selfies.DecoderError:
        return ""


def _kekulised(smiles: str) -> str | None:
    with rdBase.BlockLogs():
        try:
            found = Chem.MolFromSmiles(smiles)
            if found is None or not found.GetNumAtoms():
                return None
            return str(Chem.MolToSmiles(found, kekuleSmiles=True))
        except (RuntimeError, UnicodeEncodeError, Chem.KekulizeException):
            return None
