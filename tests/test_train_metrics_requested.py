"""Metrics by name, hidden states, and the command that prints them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokengym.agents import GRUPolicy, Policy, sample
from tokengym.envs import Sequences, make_task
from tokengym.train.command_line import main
from tokengym.train.evaluation import figures_of_samples, further_figures
from tokengym.train.metrics.hidden import hidden_states, squared_mmd
from tokengym.train.metrics.requested import METRICS, Material, requested_figures


def text_material(**changes: Any) -> Material:
    options = {"texts": ["a b", "a"], "reference": ["a b"], "domain": "text"}
    return Material(**{**options, "split": str.split, **changes})


def test_discrepancy_of_two_points_by_hand() -> None:
    here, there = torch.zeros(4, 2), torch.tensor([[0.6, 0.8]]).expand(5, 2)
    found = squared_mmd(here.double(), there.double())
    assert found.value == pytest.approx(2 - 2 * math.exp(-1 / 2))
    assert found.se == pytest.approx(0.0)
    assert found.n == 4
    assert math.isnan(squared_mmd(here[:2], there).value)


def test_discrepancy_is_gretton_s_unbiased_estimator() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(7, 3).double(), torch.randn(6, 3).double() + 0.5
    pairs = [float((a - b).square().sum()) for i, a in enumerate(y) for b in y[:i]]
    width = sorted(pairs)[(len(pairs) - 1) // 2]  # 15 pairs: the middle one

    def k(a: torch.Tensor, b: torch.Tensor) -> float:
        return math.exp(-float((a - b).square().sum()) / (2 * width))

    own = sum(k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j) / (7 * 6)
    data = sum(k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j) / (6 * 5)
    across = sum(k(a, b) for a in x for b in y) / (7 * 6)
    assert squared_mmd(x, y).value == pytest.approx(own + data - 2 * across)


def test_hidden_states_are_means_over_real_tokens(policy: Policy, all_sequences: Sequences) -> None:
    assert isinstance(policy, GRUPolicy)
    hidden_BTH, _ = policy.network(policy.embedding(policy.shifted(all_sequences.tokens_BT)))
    expected = [
        row[:n].mean(dim=0) for row, n in zip(hidden_BTH, all_sequences.lengths_B, strict=True)
    ]
    found = hidden_states(policy, all_sequences)
    torch.testing.assert_close(found, torch.stack(expected))
    torch.testing.assert_close(hidden_states(policy, all_sequences.padded(9)), found)
    torch.testing.assert_close(hidden_states(policy, all_sequences[3:4]), found[3:4])


def test_a_policy_without_an_output_layer_has_no_hidden_states(
    policy: Policy, all_sequences: Sequences
) -> None:
    del policy.output
    with pytest.raises(ValueError, match=r"GRUPolicy has no layer 'output' .* leave the metric"):
        hidden_states(policy, all_sequences)


def test_metrics_come_by_name() -> None:
    assert requested_figures("", text_material()) == {}
    bleu = requested_figures("bleu", text_material())
    assert next(iter(bleu)) == "bleu_2"
    assert next(iter(requested_figures("ngrams, bleu", text_material()))) == "distinct_1"
    both = requested_figures("all", text_material())
    assert {"bleu_5", "self_bleu_2", "distinct_2", "jsd_3"} <= set(both)
    assert not {"snn", "mmd", "pitch_class_jsd"} & set(both)


@pytest.mark.parametrize(
    ("names", "changes", "message"),
    [
        ("mosse", {}, "there is no metric 'mosse'; did you mean moses"),
        ("moses", {}, "the metric moses is of molecules, and this is text"),
        ("bleu,mmd", {}, "the metric mmd needs a run, whose policy has"),
        ("bleu", {"statistics": Path("x")}, "statistics are kept for moses and fcd alone"),
        ("bleu", {"reference": []}, "bleu: nothing to compare with; give --reference"),
    ],
)
def test_a_metric_that_cannot_be_had_says_why(
    names: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        requested_figures(names, text_material(**changes))


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rdkit")
    metrics = {"bleu": METRICS["bleu"], "fcd": replace(METRICS["fcd"], module="no_such_module")}
    monkeypatch.setattr("tokengym.train.metrics.requested.METRICS", metrics)
    molecules = text_material(domain="molecules")
    with pytest.raises(ImportError, match="fcd needs no_such_module; install it with"):
        requested_figures("fcd", molecules)
    with pytest.warns(UserWarning, match="fcd is left out: it needs no_such_module"):
        assert "bleu_2" in requested_figures("all", molecules)


def test_a_run_is_compared_in_every_way_that_it_can_be() -> None:
    task = make_task("tokengym/Markov-v0", data_size=60)
    assert task.data is not None
    torch.manual_seed(0)
    policy = GRUPolicy(task.vocabulary, embedding=4, hidden=4)
    samples = sample(policy, 30, max_length=task.max_length)
    found = further_figures("all", task, samples, task.data.texts, policy)
    assert {"mmd", "bleu_2", "jsd_1"} <= set(found)
    assert found == further_figures("all", task, samples, task.data.texts, policy)
    assert further_figures("mmd", task, task.data, task.data.texts, policy)["mmd"].value < 0
    other = task.data.texts[:20]  # hidden states are compared with those of the run's own data
    assert "mmd" not in further_figures("all", task, samples, other, policy)
    with pytest.raises(ValueError, match=r"the metric mmd .* leave it or --reference out"):
        further_figures("mmd", task, samples, other, policy)


def test_tokens_of_selfies_are_those_of_the_vocabulary() -> None:
    pytest.importorskip("selfies")
    task = make_task("tokengym/Molecules-v0", representation="selfies")
    written = task.vocabulary.encode(["CC", "CCCl", "CCC"])
    assert sorted(task.vocabulary.tokenize("CCCl")) == ["[C]", "[C]", "[Cl]"]
    found = further_figures("ngrams", task, written, ["CCCl", "no molecule"])
    assert found["distinct_1"].value == pytest.approx(2 / 8)  # [C] and [Cl], not C, l


def test_likelihoods_of_data_that_was_held_out_and_of_own_samples() -> None:
    task = make_task("tokengym/Text-v0")
    assert task.data is not None
    torch.manual_seed(0)
    policy = GRUPolicy(task.vocabulary, embedding=4, hidden=4)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.zero_()  # all tokens alike
    samples = sample(policy, 20, max_length=task.max_length)
    figures = figures_of_samples(task, samples, [], policy, task.data[:10])
    uniform = pytest.approx(math.log(task.vocabulary.num_actions), rel=1e-5)
    assert figures["nll_data"].value == uniform
    assert figures["own_entropy"].value == uniform
    assert (figures["nll_data"].n, figures["own_entropy"].n) == (10, 20)
    assert "nll_data" not in figures_of_samples(task, samples, [], policy)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", *arguments])
    output = capsys.readouterr()
    assert stopped.value.code == code, output.err
    return output.err if code else output.out


def test_the_command_prints_what_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rdkit")
    monkeypatch.chdir(tmp_path)
    Path("known.smi").write_text("CCO\nCCN\nc1ccc(-c2ccccc2)cc1\nCC(=O)Nc1ccccc1\n")
    Path("other.smi").write_text("CCO\n")
    Path("out.smi").write_text("CCO\nCCCN\nC(\nc1ccc(-c2ccccc2)cc1\n")
    asked = ["out.smi", "--metrics", "moses,bleu", "--reference"]
    found = json.loads(printed(capsys, *asked, "known.smi", "--statistics", "stats", "--json"))
    assert found["validity"] == 0.75
    assert (found["scaffolds"], found["scaffolds_n"]) == (1.0, 3)
    again = printed(capsys, *asked, "known.smi", "--statistics", "stats", "--json")
    assert json.loads(again) == found
    assert "another reference" in printed(
        capsys, *asked, "other.smi", "--statistics", "stats", code=2
    )
    assert "give --reference" in printed(capsys, "out.smi", "--metrics", "bleu", code=2)
    table = printed(capsys, "out.smi", "--metrics", "ngrams", "--reference", "known.smi")
    [line] = [line for line in table.splitlines() if "validity" in line]
    assert line.split() == ["validity", "0.750±0.217", "4"]


def test_a_reference_is_read_as_data_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("known.csv").write_text("id,text\n1, a frog\n2, an old pond\n")
    Path("out.csv").write_text("text\na frog\nrain\n")
    found = json.loads(printed(capsys, "out.csv", "--reference", "known.csv", "--json"))
    assert found["novelty"] == 0.5


def test_melodies_are_told_by_their_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("out.csv").write_text('"text"\n"C4:1/4 D4:1/4"\n""\n')
    Path("known.txt").write_text("C4:1/4\n")
    found = json.loads(
        printed(capsys, "out.csv", "--metrics", "all", "--reference", "known.txt", "--json")
    )
    assert found["pitch_class_jsd"] == pytest.approx(0.3112781)
    assert found["duration_jsd"] == 0.0
    Path("out.csv").write_text('"text"\n"C4:1/4 and words"\n')
    message = printed(
        capsys, "out.csv", "--metrics", "melodies", "--reference", "known.txt", code=2
    )
    assert "is of melodies, and this is text" in message


def test_the_help_names_every_metric(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--help")
    for name in METRICS:
        assert f"\n  {name} " in text
