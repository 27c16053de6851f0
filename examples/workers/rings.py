"""A worker in Python: the number of rings that a SMILES closes, at most four, as a share of four.

    external_program(command=["python", "examples/workers/rings.py"])

``tokengym_worker`` is installed with tokengym, and imports nothing of it.
"""

from tokengym_worker import serve


def rings(smiles: str) -> float:
    """The ring closures, a quarter each: half the digits, as each is written twice."""
    return min(sum(character.isdigit() for character in smiles) // 2, 4) / 4


serve(rings, range=(0.0, 1.0), per_sequence=True)
