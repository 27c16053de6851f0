"""What the figures of an evaluation cost.

``python -m benchmarks.metrics`` evaluates the built-in 10,000 molecules, in another order, against
themselves, and the tunes of the Essen collection, repeated to as many, against themselves. CPU time
of one core, one torch thread; nothing is known of a molecule when a metric begins (caches are
emptied), so parsing is in each. What the reference costs is paid once (``--statistics``). ``fcd``
needs the extra ``fcd`` and the melodies ``music``; without them their rows are left out.

BLEU of every text against all others is also measured in sacrebleu (extra ``texts``), which reads
the references anew for every text: one text, times the number of texts.
Exits 1 when Self-BLEU is less than 1,000 times as fast as that at 10,000 texts, or 100 times at
1,000: the cost of the one grows with the number of texts, that of the other with its square.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from tokengym.agents import GRUPolicy
from tokengym.envs import Sequences, make_task
from tokengym.envs.tokenization import splitter
from tokengym.rewards.molecules import canonical_smiles, molecule
from tokengym.rewards.molecules.structure import scaffold_of
from tokengym.train.metrics.bleu import bleu_figures, self_bleu_figures
from tokengym.train.metrics.hidden import hidden_mmd
from tokengym.train.metrics.melodies import melody_figures
from tokengym.train.metrics.molecule_reference import MoleculeReference
from tokengym.train.metrics.molecules import internal_diversity, molecule_figures
from tokengym.train.metrics.moses import nearest_similarity, passing_share, unique_at
from tokengym.train.metrics.ngrams import Tokens, ngram_figures
from tokengym.train.metrics.profiles import profiles_of

TIMES_AS_FAST = 0.1  # as sacrebleu, for each text

Rows = dict[str, float]


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of one call, with nothing known of any molecule."""
    for cached in (molecule, canonical_smiles, scaffold_of):
        cached.cache_clear()
    start = time.process_time()
    work()
    return time.process_time() - start


def real_sequences(id: str, n: int) -> Sequences:
    """N sequences of a task's data in another order, repeated where there are fewer."""
    data = make_task(id).data
    assert data is not None
    rows = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    return data[rows.repeat(-(-n // len(data)))[:n]]


def of_molecules(n: int) -> Iterator[tuple[str, float]]:
    """The metrics of molecules."""
    texts = real_sequences("tokengym/Molecules-v0", n).texts
    known = texts[::-1]
    profiles_of(texts[:1])  # tables of RDKit's are read once
    passing_share(texts[:1])
    reference = MoleculeReference(known)
    yield "default (validity .. qed)", cpu_seconds(lambda: molecule_figures(texts, known))
    yield "moses: reference, once", cpu_seconds(lambda: reference.totals)
    profiles = profiles_of(texts)
    bits_NW, known_RW = profiles.bits_NW, reference.totals.bits_RW
    yield "moses: profiles", cpu_seconds(lambda: profiles_of(texts))
    yield "moses: snn", cpu_seconds(lambda: nearest_similarity(bits_NW, known_RW))
    yield (
        "moses: internal_diversity_2",
        cpu_seconds(lambda: internal_diversity(texts, power=2)),
    )
    yield "moses: filters", cpu_seconds(lambda: passing_share(texts))
    yield "moses: unique@k", cpu_seconds(lambda: unique_at(texts))
    if importlib.util.find_spec("fcd_torch"):
        from tokengym.train.metrics.fcd import fcd

        yield "fcd: reference, once", cpu_seconds(lambda: reference.chemnet)
        yield "fcd", cpu_seconds(lambda: fcd(texts, reference.chemnet))


def of_texts(n: int) -> Iterator[tuple[str, float]]:
    """The metrics of tokens, on molecules, and those of a policy's hidden states."""
    sequences = real_sequences("tokengym/Molecules-v0", n)
    tokens: Tokens = list(map(splitter("smiles"), sequences.texts))
    yield "ngrams", cpu_seconds(lambda: ngram_figures(tokens, tokens))
    yield "bleu", cpu_seconds(lambda: bleu_figures(tokens, tokens))
    yield "self_bleu", cpu_seconds(lambda: self_bleu_figures(tokens))
    if importlib.util.find_spec("sacrebleu"):
        yield "self_bleu by sacrebleu", cpu_seconds(lambda: pair_by_pair(tokens)) * n
    torch.manual_seed(0)
    policy = GRUPolicy(sequences.vocabulary)
    yield "mmd", cpu_seconds(lambda: hidden_mmd(policy, sequences, sequences))


def pair_by_pair(tokens: Tokens) -> None:
    """BLEU-2 .. BLEU-5 of the first text against all others, by sacrebleu."""
    from sacrebleu.metrics.bleu import BLEU

    first, *others = (" ".join(text) for text in tokens)
    for k in (2, 3, 4, 5):
        BLEU(max_ngram_order=k, tokenize="none", effective_order=True).sentence_score(first, others)


def of_melodies(n: int) -> Iterator[tuple[str, float]]:
    """The metrics of melodies."""
    if importlib.util.find_spec("music21"):
        texts = real_sequences("tokengym/Melodies-v0", n).texts
        yield "melodies", cpu_seconds(lambda: melody_figures(texts, texts))


def main() -> int:
    """Measure, print; 1 where the floor is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-n", "--number", type=int, default=10_000, help="how many samples")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    n, rows = options.number, Rows()
    console = Console(highlight=False)
    for part in (of_molecules, of_texts, of_melodies):
        for name, seconds in part(n):
            rows[name] = seconds
            console.print(f"{name}: {seconds:.2f} s", style="dim")
    table = Table("metric", "CPU seconds", "microseconds a sample", title=f"{n:,} samples")
    for name, seconds in rows.items():
        table.add_row(name, f"{seconds:.2f}", f"{seconds / n * 1e6:.0f}")
    console.print(table)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    ratio = rows.get("self_bleu by sacrebleu", float("inf")) / rows["self_bleu"]
    console.print(f"Self-BLEU: {ratio:,.0f} times as fast; floor {TIMES_AS_FAST * n:,.0f}")
    return int(ratio < TIMES_AS_FAST * n)


if __name__ == "__main__":
    raise SystemExit(main())
