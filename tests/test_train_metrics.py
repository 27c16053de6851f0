"""Figures and their standard errors against numbers worked out by hand, and by the jackknife."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rdkit.Chem import QED
from rich.console import Console
from tokengym.agents import GRUPolicy, sample
from tokengym.envs import Sequences, Vocabulary, make_task
from tokengym.rewards import FunctionObjective
from tokengym.rewards.molecules import canonical_smiles, molecule
from tokengym.train.evaluation import (
    figure_names,
    figures_as_json,
    figures_of_samples,
    figures_of_scores,
    print_figures,
)
from tokengym.train.metrics import mean_of, nats_a_token, share_of, text_figures, unique_share
from tokengym.train.metrics.molecules import internal_diversity, molecule_figures
from tokengym.train.run_folder import RunFolder
from tokengym.train.samples import sample_columns


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
    assert figures["length"].value == pytest.approx(float(samples.lengths_B.double().mean()))


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
    assert figures["characters"].value == pytest.approx(5 / 3)


def test_shares_without_an_exception_have_wilsons_bound() -> None:
    assert share_of(0, 9).se == share_of(9, 9).se == pytest.approx(1 / 10)
    assert unique_share(list("abcdefghi")).se == pytest.approx(1 / 10)
    for few in (share_of(1, 2), mean_of([1.0, 2.0]), unique_share("ab")):
        assert math.isnan(few.se)
    assert str(share_of(1, 2)) == "0.500"


# RDKit accepts it, and rejects the canonical form that it gives it.
UNREADABLE = "[O-]P[S@]-[C@@H][S@][Si]Cs%10Ps3[B-]s%10*3"


def test_a_molecule_whose_canonical_form_cannot_be_read_is_one() -> None:
    assert molecule(UNREADABLE) is not None
    assert molecule(str(canonical_smiles(UNREADABLE))) is None
    figures = molecule_figures(["CC", UNREADABLE], [])
    assert figures["validity"].value == 1.0
    assert figures["internal_diversity"].n == 2
    assert figures["qed"].value == pytest.approx(
        sum(float(QED.qed(molecule(text))) for text in ("CC", UNREADABLE)) / 2
    )


def printed(rows: Any, width: int) -> str:
    console = Console(width=width, file=io.StringIO())
    print_figures(rows, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_table_has_the_figures_of_all_rows_and_turns_where_it_is_too_wide() -> None:
    first: dict[str, float | None] = dict.fromkeys(("a", "a_se", "b", "b_se", "c", "c_se"), 0.5)
    last: dict[str, float | None] = {"a": 0.75, "a_se": None, "nll_data": 1.5, "nll_data_se": 0.25}
    rows = {"data": first, "trained": last}
    assert figure_names(rows) == ["a", "b", "c", "nll_data"]
    wide, narrow = printed(rows, 70).splitlines(), printed(rows, 60).splitlines()
    assert wide[-3].split() == ["data", *["0.500±0.500"] * 3, "-"]
    assert wide[-2].split() == ["trained", "0.750", "-", "-", "1.500±0.250"]
    assert narrow[-5].split() == ["a", "0.500±0.500", "0.750"]
    assert narrow[-2].split() == ["nll_data", "-", "1.500±0.250"]


def test_a_mean_of_few_rewards_says_of_how_many() -> None:
    figures: dict[str, float | None] = {"validity": 0.5, "validity_se": 0.1, "validity_n": 20}
    for name, n in (("reward", 7), ("reward/a", 20), ("reward/b", 0), ("qed", 10)):
        figures |= {name: 0.25 if n else None, f"{name}_se": 0.1 if n else None, f"{name}_n": n}
    lines = printed({"x": figures, "y": figures}, 60).splitlines()
    shown = {line.split()[0]: line.split()[1:] for line in lines if line.strip()}
    assert shown["reward"] == ["0.250±0.100", "of", "7"] * 2
    assert shown["reward/a"] == ["0.250±0.100"] * 2
    assert shown["reward/b"] == ["-", "of", "0"] * 2
    assert shown["qed"] == ["0.250±0.100"] * 2


@pytest.mark.filterwarnings("ignore:objective")
def test_scores_have_figures_of_the_reward_and_of_its_parts() -> None:
    def good(texts: list[str]) -> list[float | None]:
        return [None if text == "b" else float(len(text)) for text in texts]

    reward = 0.5 * FunctionObjective(good, on_error="skip")
    scores = reward(
        Vocabulary.from_tokens(["a", "b"], "characters").encode(["a", "b", "aa", "aaa"])
    )
    figures = figures_of_scores(scores)
    assert figures["reward"].value == pytest.approx(1.0)
    assert figures["reward/good"].value == pytest.approx(2.0)
    assert figures["reward"].n == 3
    assert figures["reward"].se == pytest.approx(0.5 / math.sqrt(3))


def test_columns_of_samples_keep_their_names_apart() -> None:
    parts = [
        FunctionObjective(lambda texts: [0.25] * len(texts), name=name, memo=False)
        for name in ("text", "valid", "reward", "mine")
    ]
    task = make_task("tokengym/Text-v0", reward=sum(parts[1:], parts[0]))
    assert task.data is not None
    sequences = task.data[:2]
    task = replace(task, canonical=str.lower)
    columns = sample_columns(task, sequences, task.reward(sequences))
    assert columns["text"] == sequences.texts
    assert columns["valid"] == ["1", "1"]
    assert columns["reward"] == ["1", "1"]
    for name in ("reward/text", "reward/valid", "reward/reward", "mine"):
        assert columns[name] == ["0.25", "0.25"]
