"""The long benchmarks: what is kept, the page, and each one's quick form."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from tokengym.agents import LSTMPolicy
from tokengym.envs import Vocabulary
from tokengym.train.metrics import Estimate

from benchmarks import oracle
from benchmarks.oracle_mle import PLAIN
from benchmarks.reporting import mean_and_error
from benchmarks.results import CPU_SECONDS, Figures, Row, Study, parser_of, table, with_section
from benchmarks.supervised import estimators

pytest.importorskip("rdkit")
efficiency = pytest.importorskip("benchmarks.efficiency")


def study(folder: Path, *options: str) -> Study:
    return Study("small", parser_of("Small.").parse_args(["--folder", str(folder), *options]))


def test_a_case_is_computed_once_while_its_settings_are_the_same(tmp_path: Path) -> None:
    calls: list[float] = []

    def compute(seed: int) -> Figures:
        calls.append(seed)
        return {"height": Estimate(2.0 + seed, math.nan, 5)}

    row = study(tmp_path, "--seeds", "2").row("a case", {"size": (1, 2)}, compute)
    again = study(tmp_path, "--seeds", "2").row("a case", {"size": (1, 2)}, compute)
    assert calls == [0, 1]
    assert [figures["height"].value for figures in again.seeds] == [2.0, 3.0]
    assert row["height"] == Estimate(2.5, 0.5, 2)  # sd of 2 and 3, 1 / sqrt 2, over sqrt 2
    assert row[CPU_SECONDS] is not None
    study(tmp_path, "--seeds", "1").row("a case", {"size": (1, 3)}, compute)
    study(tmp_path, "--seeds", "1", "--fresh").row("a case", {"size": (1, 3)}, compute)
    assert calls == [0, 1, 0, 0]
    left_out = study(tmp_path, "--only", "other").row("a case", {"size": 4}, compute)
    assert left_out.seeds == []
    assert len(calls) == 4


def test_a_section_takes_its_own_place_on_the_page() -> None:
    page = with_section("# Results\n", "First", "one")
    page = with_section(page, "Second", "### Part\n\ntwo")
    assert page == "# Results\n\n## First\n\none\n\n## Second\n\n### Part\n\ntwo\n"
    page = with_section(page, "First", "three")
    assert page == "# Results\n\n## First\n\nthree\n\n## Second\n\n### Part\n\ntwo\n"


def test_a_section_of_more_cases_than_are_here_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def publish(folder: str, seeds: int) -> str:
        page = tmp_path / "page.md"
        one = study(tmp_path / folder, "--seeds", str(seeds), "--results", str(page))
        one.row("a case", {}, lambda seed: {"height": Estimate(2.0 + seed, math.nan, 5)})
        one.publish("Heights", f"of {folder}", [])
        return page.read_text(encoding="utf-8")

    assert "of there" in publish("there", 3)
    assert "of here" not in publish("here", 2)
    assert "its section has 3 cases" in capsys.readouterr().out
    assert "of here" in publish("here", 3)


def test_a_table_says_how_many_seeds_and_leaves_out_what_is_not_there() -> None:
    found = {"height": Estimate(1.23456, 0.01, 9)}
    rows = [Row("a", [found]), Row("b", []), Row("c", [{}])]
    lines = table({"height": "high"}, rows).splitlines()
    assert lines == [
        "|  | high | seeds |",
        "| --- | --- | --- |",
        "| a | 1.235 ± 0.010 | 1 |",
        "| c | - | 1 |",
    ]


def test_a_figure_that_a_seed_does_not_have_has_no_mean() -> None:
    row = Row("a", [{"height": Estimate(each, 0.1, 9)} for each in (1.0, math.nan, 2.0)])
    assert str(row["height"]) == "nan"
    assert mean_and_error([1.0, 3.0]) == pytest.approx((2.0, 1.0))  # sd sqrt 2, over sqrt 2
    assert all(map(math.isnan, mean_and_error([1.0, math.nan])))


def test_the_area_is_that_of_pmo_by_hand() -> None:
    scores = [0.2, 0.4, 0.0, 0.6]
    # Best 2 after 2 calls: 0.3; after 4: 0.5. 2 (0 + 0.3) / 2 + 2 (0.3 + 0.5) / 2, then 4 of 0.5.
    assert efficiency.area(scores, 4, every=2, best=2) == pytest.approx((0.3 + 0.8) / 4)
    assert efficiency.area(scores, 8, every=2, best=2) == pytest.approx((0.3 + 0.8 + 2.0) / 8)
    assert efficiency.area([*scores, 1.0], 5, every=2, best=2) == pytest.approx(
        (0.3 + 0.8 + (0.5 + 0.8) / 2) / 5
    )
    assert efficiency.area([], 8) == 0.0


def test_calls_are_different_molecules_up_to_the_limit() -> None:
    calls = efficiency.Calls(2)
    calls.add(["CO", "C(", "OC", "", "CC", "CCC"], [0.1, 0.9, 0.2, 0.9, 0.3, 0.4])
    assert calls.scores == {"CO": 0.1, "CC": 0.3}
    assert calls.written == 6
    assert calls.spent


def test_a_policy_is_beyond_by_what_it_is_better_than_its_start_made_as_sharp() -> None:
    """Where NLL_oracle is the temperature, so that the one to compare with is known."""
    torch.manual_seed(0)
    vocabulary = Vocabulary.from_tokens(list("abcdef"), "characters", eos=False)
    mle = LSTMPolicy(vocabulary, embedding=4, hidden=8)
    torch.nn.init.normal_(mle.output.weight, std=3.0)
    real = vocabulary.encode(["abcdef", "fedcba", "aabbcc", "ddffee"])
    points = {
        t: {"nll_oracle": Estimate(t, 0.0, 4), "nll_data": Estimate(2 - t, 0.0, 4)}
        for t in (0.6, 0.8, 1.0)
    }
    found = oracle.beyond(mle, Estimate(0.7, 0.0, 4), mle, points, real)
    logits_BTA = mle(real.tokens_BT).detach()
    chosen_BT1 = real.tokens_BT[:, :, None]
    sharp, own = (
        (logits_BTA / t).log_softmax(dim=2).gather(2, chosen_BT1).mean() for t in (0.7, 1.0)
    )
    assert found.value == pytest.approx(float(own - sharp), abs=1e-6)
    assert abs(found.value) > 0.01
    with_error = oracle.beyond(mle, Estimate(0.7, 0.5, 4), mle, points, real)
    assert with_error.se == pytest.approx(math.hypot(found.se, 0.5))  # the curve's slope is -1
    assert math.isnan(oracle.beyond(mle, Estimate(0.5, 0.0, 4), mle, points, real).value)


def test_the_verdict_names_the_sides() -> None:
    def row(label: str, oracle_nll: float, nll: float, beyond: float | None) -> Row:
        figures = {"nll_oracle": Estimate(oracle_nll, 0.1, 9), "nll_data": Estimate(nll, 0.1, 9)}
        known = {} if beyond is None else {"beyond": Estimate(beyond, 0.1, 9)}
        return Row(label, [figures | known])

    mle = row(oracle.MLE, 9.5, 7.5, None)
    agents = [("on", -0.1), ("beyond", 0.3), ("behind", -0.3)]
    rows = [mle, *(row(f"one {where}", 9.0, 7.6, gain) for where, gain in agents)]
    rows += [row("worse", 9.9, 8.0, math.nan), row("sharp", 5.0, 9.0, math.nan)]
    lines = oracle.verdict(rows).splitlines()[2:]
    assert [line.split(":")[1].split()[0] for line in lines[:3]] == ["on", "beyond", "behind"]
    assert lines[3].endswith("outside the curve's NLL_oracle, and on average worse than its MLE in "
                             "both likelihoods")  # fmt: skip
    assert lines[4].endswith("outside the curve's NLL_oracle")


def quick(
    benchmark: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str
) -> dict[str, dict[str, dict[str, float]]]:
    """The figures of a quick run with one seed, by case; a second run computes nothing."""
    name, written = benchmark.__name__.split(".")[1], folder / "figures.json"
    arguments = ["--quick", "--seeds", "1", "--folder", str(folder), "--json", str(written)]
    monkeypatch.setattr(sys, "argv", [name, *arguments, *options])
    assert benchmark.main() == 0
    found = json.loads(written.read_text())
    assert benchmark.main() == 0
    assert json.loads(written.read_text()) == found
    page = (folder / "quick" / "results.md").read_text()
    assert f"`python -m benchmarks.{name} --quick`" in page
    return {case["case"]: case["figures"] for case in found}


@pytest.mark.slow
def test_efficiency_and_organ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fcd_torch")
    cases = quick(efficiency, tmp_path, monkeypatch)
    assert list(cases) == [f"median1, {agent}" for agent in ("prior", *efficiency.AGENTS)]
    for figures in cases.values():
        assert figures["calls"]["value"] == 30
        assert 0 < figures["auc"]["value"] < figures["top_10"]["value"] < 1
    organ = pytest.importorskip("benchmarks.organ")
    cases = quick(organ, tmp_path, monkeypatch, "--domain", "molecules")
    assert len(cases) == 5
    real = cases["molecules, data"]
    assert real["validity"]["value"] == 1
    for label, figures in cases.items():
        assert figures["validity"]["n"] == 60
        if label != "molecules, data":
            assert figures["validity"]["value"] > 0.9  # SELFIES
            assert figures["fcd"]["value"] > real["fcd"]["value"]


@pytest.mark.slow
def test_oracle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = quick(oracle, tmp_path, monkeypatch, "--search")
    assert set(oracle.AGENTS) < set(cases)
    entropies = [cases[f"MLE, temperature {t:g}"]["own_entropy"] for t in (0.5, 1.0, 1.5)]
    assert entropies == sorted(entropies, key=lambda figure: figure["value"])
    floor = cases["source"]["nll_data"]["value"]
    for label in oracle.AGENTS:
        assert cases[label]["nll_data"]["value"] > floor
        assert cases[label]["nll_oracle"]["n"] == 200
        assert "beyond" in cases[label]
    assert f"search, {PLAIN}" in cases


@pytest.mark.slow
def test_supervised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fcd_torch")
    supervised = pytest.importorskip("benchmarks.supervised.__main__")
    cases = quick(supervised, tmp_path, monkeypatch, "--processes", "1")
    for label in ("Markov-1, GRU of 32", "HMM, GRU of 64", "Copy, Transformer of 64"):
        gap = cases[f"Distance to the limit, {label}"]["gap"]
        assert gap["value"] > 3 * gap["se"]  # hardly taught: far above the entropy
    collapse = {name: each for name, each in cases.items() if name.startswith("Codes")}
    limit = collapse["Codes and their collapse, the source"]["negative_elbo"]
    for figures in collapse.values():
        assert figures["negative_elbo"]["value"] >= limit["value"]
    assert len(collapse) == 11
    assert cases["Molecules, held-out molecules"]["validity"]["value"] == 1
    assert cases["Molecules, conditional AAE"]["logp_correlation"]["n"] > 30
    assert cases["Text, harbour"]["characters"]["value"] == 12_187
    estimates = cases["Gumbel estimators"]
    assert estimates["linear, ST-softmax: bias"]["value"] < 1e-12
    for name in ("quadratic, GS tau 1.0", "squared sum, ST-GS tau 0.5"):
        assert 0 < estimates[f"{name}: off"]["value"] < 5
        assert estimates[f"{name}: bias"]["value"] > 0.1
    found = {name: Estimate(each["value"], math.nan, 1) for name, each in estimates.items()}
    found["linear, REINFORCE: bias"] = Estimate(1.0, math.nan, 1)
    [wrong] = estimators.missed([Row("", [found])])
    assert wrong.startswith("linear, REINFORCE, seed 0")
