"""Figures and their standard errors against numbers worked out by hand, and by the jackknife."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tokengym.agents import GRUPolicy, sample
from tokengym.envs import Sequences, make_task
from tokengym.train.evaluation import figures_as_json, figures_of_samples
from tokengym.train.metrics import mean_of, nats_a_token, share_of, text_figures, unique_share
from tokengym.train.metrics.molecules import internal_diversity, molecule_figures
from tokengym.train.run_folder import RunFolder


def test_means_and_shares() -> None:
    found = mean_of([1.0, 2.0, 6.0])
    assert (found.value, found.n) == (3.0, 3)
    assert found.se == pytest.approx(math.sqrt(7.0 / 3))
    assert share_of(3, 4).se == pytest.approx(math.sqrt(0.75 * 0.25 / 4))
    assert math.isnan(mean_of([]).value)


def test_the_error_of_uniqueness_is_the_jackknife() -> None:
    keys = ["a", "a", "b", "c", "c", "c", "d"]
    n = len(keys)
    left_out = np.array([len(set(keys[:i] + keys[i + 1 :])) / (n - 1) for i in range(n)])
    jackknife = math.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum())
    found = unique_share(keys)
    assert found.value == pytest.approx(4 / 7)
    assert found.se == pytest.approx(jackknife)


def test_molecule_figures_by_hand() -> None:
    texts = ["CCO", "OCC", "CCN", "C(", "c1ccccc1", ""]
    figures = molecule_figures(texts, reference=["OCC", "CCCC"])
    assert figures["validity"].value == pytest.approx(4 / 6)
    assert figures["uniqueness"].value == pytest.approx(3 / 4)
    assert figures["novelty"].value == pytest.approx(2 / 3)
    assert (figures["qed"].n, figures["internal_diversity"].n) == (4, 4)
    assert internal_diversity(["CCO", "OCC"]).value == pytest.approx(0.0)
    assert math.isnan(internal_diversity(["CCO"]).value)


def test_internal_diversity_is_the_mean_over_pairs() -> None:
    from rdkit import Chem, DataStructs
    from rdkit.Chem import rdFingerprintGenerator

    smiles = ["CCO", "CCN", "c1ccccc1", "CC(=O)O", "CCCCl"]
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    prints = [generator.GetFingerprint(Chem.MolFromSmiles(s)) for s in smiles]
    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    mean = np.mean([DataStructs.TanimotoSimilarity(prints[i], prints[j]) for i, j in pairs])
    assert internal_diversity(smiles).value == pytest.approx(1 - mean, abs=1e-6)


def test_impossible_samples_are_counted_and_leave_the_likelihood_finite() -> None:
    task = make_task("tokengym/Dyck-v0", data_size=8)
    assert task.data is not None
    assert task.source is not None
    brackets = task.data.tokens_BT.clone()
    brackets[0, 0] = task.vocabulary.encode([")"], end=False).tokens_BT[0, 0]
    samples = Sequences.from_tokens(brackets, task.vocabulary)
    figures = figures_of_samples(task, samples, [])
    assert figures["possible"].value == pytest.approx(7 / 8)
    rest = task.source.log_prob(task.data[1:]).sum() / task.data[1:].num_tokens
    assert figures["nll_oracle"].value == pytest.approx(-float(rest))


@pytest.mark.parametrize("id", ["tokengym/Dyck-v0", "tokengym/Copy-v0"])
def test_json_never_holds_infinity_or_nan(id: str, tmp_path: Path) -> None:
    task = make_task(id, data_size=8)
    torch.manual_seed(0)
    policy = GRUPolicy(task.vocabulary, embedding=4, hidden=4)
    samples = sample(policy, 20, max_length=task.max_length)
    impossible = samples[torch.arange(20) < 1]
    for sequences in (samples, impossible):
        figures = {**figures_of_samples(task, sequences, [], policy), "worst": mean_of([math.inf])}
        folder = RunFolder(tmp_path)
        folder.write_summary({"samples": figures_as_json(figures)})
        text = folder.summary.read_text()
        assert "Infinity" not in text
        assert "NaN" not in text
    row = folder.read_summary()["samples"]
    assert row["possible"] == 0
    assert row["nll_oracle"] is row["nll_oracle_se"] is row["worst"] is None


def test_nats_a_token_and_texts() -> None:
    log_probs = torch.tensor([[-1.0, -3.0], [-2.0, 0.0]])
    assert nats_a_token(log_probs, torch.tensor([2, 1])).value == pytest.approx(2.0)
    figures = text_figures(["a", "a", "bbb"], reference=["a"])
    assert figures["uniqueness"].value == pytest.approx(2 / 3)
    assert figures["novelty"].value == pytest.approx(1 / 2)
    assert figures["length"].value == pytest.approx(5 / 3)
