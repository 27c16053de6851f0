"""Set objectives: by hand, closed forms against leaving each one out, credit, the task's form."""

from __future__ import annotations

import gzip
import math
import random
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from tokengym import make_reward, make_task
from tokengym.envs import Task, Vocabulary, read_lines
from tokengym.rewards import ObjectiveError, Reward, SetObjective
from tokengym.rewards.sets import Coverage, Novelty, Uniqueness

from .conftest import encoded


class DistinctLetters(SetObjective):
    """v(S) = how many different letters it has; without a closed form."""

    name = "distinct_letters"

    def value(self, forms: list[str]) -> float:
        return float(len(set("".join(forms))))


class MeanLength(SetObjective):
    """The mean of one number a text."""

    name = "mean_length"

    def value(self, forms: list[str]) -> float:
        return fmean(map(len, forms)) if forms else 0.0


def brute_force(objective: SetObjective, forms: list[str]) -> Sequence[float]:
    """The definition: n v(S) - (n - 1) v(S without i), each v computed anew."""
    return SetObjective.pseudo_values(objective, forms)


def values(reward: Reward, texts: list[str]) -> list[float]:
    """What the texts score as one batch."""
    found: list[float] = reward(encoded(texts)).values_B.tolist()
    return found


def test_credit_by_hand() -> None:
    # v = 3, without either of the first two still 3, without the last 2
    assert values(DistinctLetters(), ["ab", "ba", "c"]) == [3.0, 3.0, 3.0 * 3 - 2 * 2]
    assert values(DistinctLetters("shared"), ["ab", "ba", "c"]) == [3.0] * 3
    assert values(MeanLength(), ["a", "abc", "ab"]) == pytest.approx([1.0, 3.0, 2.0])
    assert values(MeanLength("shared"), ["a", "abc", "ab"]) == [2.0] * 3
    assert values(DistinctLetters(), ["ab"]) == [2.0]
    with pytest.raises(ValueError, match="credit_by is 'mine'; expected 'marginal' or 'shared'"):
        MeanLength("mine")  # type: ignore[arg-type]


def test_a_set_without_a_finite_score_for_each_names_the_objective() -> None:
    class Short(MeanLength):
        def pseudo_values(self, forms: list[str]) -> Sequence[float]:
            return [1.0]

    class Endless(MeanLength):
        def value(self, forms: list[str]) -> float:
            return math.inf

    for reward in (Short(), Endless(), Endless("shared")):
        with pytest.raises(ObjectiveError, match=r"'mean_length' has the scores .* for a set of 2"):
            values(reward, ["a", "b"])
    nothing = encoded(["a"])[:0]
    assert Endless()(nothing).values_B.shape == (0,)


@pytest.mark.parametrize("credit_by", ["marginal", "shared"])
def test_scores_follow_their_sequences(credit_by: str) -> None:
    texts = ["ab", "ab", "c", "abc", "d"]
    order = [3, 0, 4, 2, 1]
    for kind in (Uniqueness, DistinctLetters, MeanLength):
        reward = kind(credit_by)  # type: ignore[arg-type]
        assert reward.credit == "terminal"
        found = values(reward, texts)
        assert values(reward, [texts[i] for i in order]) == [found[i] for i in order]


def test_closed_forms_equal_leaving_each_one_out() -> None:
    rng = random.Random(0)
    words = [a + b for a in "abcd" for b in "abcd"]
    for _ in range(30):
        forms = rng.choices(words, k=rng.randint(0, 12))
        reference = rng.sample(words, rng.randint(1, 8))
        for objective in (Uniqueness(), Novelty(reference), Coverage(reference)):
            found = objective.pseudo_values(forms)
            assert found == pytest.approx(brute_force(objective, forms)), (objective, forms)


def test_uniqueness_novelty_and_coverage_by_hand() -> None:
    texts = ["ab", "ab", "cd", "ef"]
    assert values(Uniqueness(), texts) == [0, 0, 1, 1]
    assert values(Uniqueness("shared"), texts) == [0.75] * 4
    assert values(Novelty(["ab", "xy"]), texts) == [0, 0, 1, 1]
    assert values(Novelty(["ab", "xy"], "shared"), texts) == [0.5] * 4
    # of four keys two are found, "cd" by one text alone: 3/4 more
    found = values(Coverage(["ab", "cd", "xy", "zz"]), texts)
    assert found == pytest.approx([0.5, 0.5, 1.25, 0.5])
    assert values(Coverage(["ab", "cd", "xy", "zz"], credit_by="shared"), texts) == [0.5] * 4


def test_the_tasks_form_decides_what_is_equal_and_what_is_in_the_set() -> None:
    def form(text: str) -> str | None:
        return None if "x" in text else "".join(sorted(text))

    vocabulary = Vocabulary.from_tokens(["a", "b", "x"], "characters")

    def scored(reward: Reward) -> list[float]:
        task = Task(name="Any", vocabulary=vocabulary, max_length=4, reward=reward, canonical=form)
        found: list[float] = task.reward(
            vocabulary.encode(["ab", "ba", "aa", "ax"])
        ).values_B.tolist()
        return found

    assert scored(Uniqueness()) == [0, 0, 1, 0]
    assert scored(Uniqueness("shared")) == pytest.approx([2 / 3, 2 / 3, 2 / 3, 0])
    assert scored(Novelty(["ba", "x"])) == [0, 0, 1, 0]
    assert scored(Coverage(["ba", "aa", "x"])) == pytest.approx([1.0, 1.0, 2.0, 0.0])
    for kind in (Novelty, Coverage):
        with pytest.raises(ValueError, match=r"none of the 1 texts .* such as 'x', has"):
            scored(kind(["x"]))
    pytest.importorskip("rdkit")
    with pytest.raises(ValueError, match="nothing of the reference has a key"):
        Coverage(["CC"], by="scaffold")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", b"id,text\n1,first line\n2,second line\n"),
        ("b.csv", b"name,smiles\nethanol,CCO\npropane,CCC\n"),
        ("c.csv", b'text\n"first, line"\nsecond line\n'),
        ("bom.txt", "\ufefffirst\nsecond\n".encode()),
        ("separator.txt", "one\u2028two\nthree\n".encode()),
        ("indented.txt", b"  indented\nplain \n"),
        ("packed.txt.gz", gzip.compress(b"first\nsecond\n", mtime=0)),
        ("a.smi", b"CCO ethanol\nCCC\tpropane\n"),
    ],
)
def test_a_reference_is_read_as_the_data_are(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    texts = [line.text for line in read_lines(tmp_path / name)]
    assert Novelty(str(tmp_path / name)).pseudo_values(texts) == [0.0] * len(texts)
    assert Novelty(tmp_path / name).pseudo_values(["other"]) == [1.0]
    assert Novelty(texts).pseudo_values(texts) == [0.0] * len(texts)


def test_a_reference_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"a\xe9\n")
    with pytest.raises(ValueError, match=r"latin\.txt, line 1: byte 0xe9 is not UTF-8"):
        Novelty(str(tmp_path / "latin.txt"))
    with pytest.raises(ValueError, match="there is no file none"):
        make_reward("novelty(reference='none')")


def test_within_expressions_they_are_components_among_others(tmp_path: Path) -> None:
    path = tmp_path / "known.txt"
    path.write_text("ab\ncd\n", encoding="utf-8")
    reward = make_reward(f"0.5 * uniqueness + 0.5 * novelty(reference={str(path)!r})")
    scores = reward(encoded(["ab", "ef", "ef"]))
    assert scores.values_B.tolist() == [0.5, 0.5, 0.5]
    assert scores.parts["uniqueness"].tolist() == [1, 0, 0]
    assert scores.parts["novelty"].tolist() == [0, 1, 1]
    assert scores.ok_B.all()
    for wrong, why in [
        (
            "coverage(reference=['a'], by='size')",
            "by is 'size'; expected 'identical' or 'scaffold'",
        ),
        ("novelty(reference=[])", "is empty; expected at least one text"),
    ]:
        with pytest.raises(ValueError, match=why):
            make_reward(wrong)


# --- molecules ------------------------------------------------------------------------------------


def molecules(count: int) -> list[str]:
    pytest.importorskip("rdkit")
    from tokengym.rewards.molecules import canonical_smiles

    data = make_task("tokengym/Molecules-v0").data
    assert data is not None
    rows = random.Random(0).sample(range(len(data)), count)
    return [canonical_smiles(text) or text for text in data[rows].texts]


def test_coverage_of_scaffolds() -> None:
    pytest.importorskip("rdkit")
    reward = Coverage(["Cc1ccccc1", "CCC1CC1", "CCO"], by="scaffold")
    # benzene by two, cyclopropane by none; without rings there is no scaffold
    assert reward.pseudo_values(["Oc1ccccc1", "Nc1ccccc1", "CC"]) == [0.5, 0.5, 0.5]
    assert reward.pseudo_values(["Oc1ccccc1", "CC", "C"]) == [1.5, 0.5, 0.5]
    forms = ["Oc1ccccc1", "Nc1ccccc1", "CC", "C1CC1", "C1CCC1"]
    assert reward.pseudo_values(forms) == pytest.approx(brute_force(reward, forms))


def test_internal_diversity_equals_leaving_each_one_out() -> None:
    forms = molecules(40)
    from tokengym.rewards.sets.diversity import InternalDiversity

    reward = InternalDiversity()
    for n in (0, 1, 2, 3, 40):
        found = reward.pseudo_values(forms[:n])
        assert found == pytest.approx(brute_force(reward, forms[:n]), abs=1e-5)
    assert fmean(found) == pytest.approx(reward.value(forms), abs=1e-6)  # a U-statistic
    assert -1 <= min(found) <= max(found) <= 2


def test_a_canonical_form_that_rdkit_cannot_read_shares_nothing() -> None:
    pytest.importorskip("rdkit")
    from tokengym.rewards.molecules import canonical_smiles

    odd = "[O-]P[S@]-[C@@H][S@][Si]Cs%10Ps3[B-]s%10*3"
    assert canonical_smiles(odd) is not None
    values = make_reward("internal_diversity")(encoded(["CC", odd, "CCO"])).values_B
    assert values.isfinite().all()
    assert values[1] == values.max()


def test_internal_diversity_by_hand_and_what_is_no_molecule() -> None:
    pytest.importorskip("rdkit")
    from tokengym.rewards.sets.diversity import InternalDiversity

    vocabulary = Vocabulary.from_tokens(["C", "O", "("], "characters")
    batch = vocabulary.encode(["C", "C", "O", "("])
    # methane twice and water: distances 0, 1, 1, mean 2/3; without water 0, else 1
    found = InternalDiversity()(batch).values_B
    assert torch.allclose(found, torch.tensor([0.0, 0.0, 2.0, 0.0]), atol=1e-6)
    shared = InternalDiversity("shared")(batch).values_B
    assert torch.allclose(shared, torch.tensor([2 / 3, 2 / 3, 2 / 3, 0.0]), atol=1e-6)
    assert InternalDiversity("shared").range == (0.0, 1.0)


def test_what_column_sums_leave_out_is_the_covariance(monkeypatch: pytest.MonkeyPatch) -> None:
    forms = molecules(300)
    from tokengym.rewards.molecules.fingerprints import morgan_bits
    from tokengym.rewards.sets import diversity

    bits_NF = morgan_bits(forms).astype(np.float64)
    common = bits_NF @ bits_NF.T
    union = bits_NF.sum(1)[:, None] + bits_NF.sum(1) - common
    pairs = np.triu_indices(len(forms), 1)
    common, union = common[pairs], union[pairs]
    similarity = common / union
    left_out = np.mean(similarity * union) - similarity.mean() * union.mean()
    estimate = diversity.column_similarity(bits_NF)
    assert estimate == pytest.approx(common.mean() / union.mean())
    assert estimate - similarity.mean() == pytest.approx(left_out / union.mean(), abs=1e-12)
    # and the estimate for the set without each follows from the same sums
    without_N = diversity.columns_without(bits_NF)
    for i in (0, 7, 299):
        rest = np.delete(bits_NF, i, axis=0)
        assert without_N[i] == pytest.approx(diversity.column_similarity(rest), abs=1e-12)
    reward = diversity.InternalDiversity()
    exact = np.array(reward.pseudo_values(forms))
    monkeypatch.setattr(diversity, "_MOST_PAIRED", 10)
    estimated = np.array(reward.pseudo_values(forms))
    few = forms[:40]
    assert reward.pseudo_values(few) == pytest.approx(brute_force(reward, few), abs=1e-5)
    assert np.corrcoef(exact, estimated)[0, 1] > 0.95
    assert abs(exact.mean() - estimated.mean()) < 0.003


@pytest.mark.slow
def test_the_estimate_of_10000_molecules() -> None:
    pytest.importorskip("rdkit")
    from tokengym.rewards.molecules.fingerprints import morgan_bits
    from tokengym.rewards.sets.diversity import column_similarity, mean_similarities

    data = make_task("tokengym/Molecules-v0").data
    assert data is not None
    bits_NF = morgan_bits(data.texts[:10_000])
    # What is left out is Cov(T, u) / E[u] over pairs, at most sd(T) sd(u) / E[u] in size; that is
    # estimated from 200,000 pairs. For these molecules the error is -0.0004.
    rng = np.random.default_rng(0)
    a, b = rng.integers(len(bits_NF), size=(2, 200_000))
    a, b = a[a != b], b[a != b]
    common = np.concatenate([(bits_NF[i] * bits_NF[j]).sum(1) for i, j in _chunks(a, b)])
    union = bits_NF.sum(1)[a] + bits_NF.sum(1)[b] - common
    similarity = common / union
    error = column_similarity(bits_NF) - float(mean_similarities(bits_NF).mean())
    assert abs(error) <= similarity.std() * union.std() / union.mean()
    residual = (similarity - similarity.mean()) * (union - union.mean())
    noise = residual.std() / np.sqrt(len(union)) / union.mean()
    assert error == pytest.approx(residual.mean() / union.mean(), abs=5 * noise)
    assert abs(error) < 0.001


def _chunks(a: np.ndarray, b: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    parts = len(a) // 10_000
    return list(zip(np.array_split(a, parts), np.array_split(b, parts), strict=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The `disp` argument")  # of the library's own distance
def test_fcd_equals_the_librarys_and_leaving_each_one_out() -> None:
    library = pytest.importorskip("fcd_torch")
    forms = molecules(60)
    from tokengym.rewards.sets.fcd import FCD, chemnet_features

    reward = FCD(forms[:30])
    own, theirs = chemnet_features(forms[:30]), chemnet_features(forms[30:])
    distance = library.fcd.calculate_frechet_distance
    with np.errstate(all="ignore"):
        expected = distance(own.mean(0), np.cov(own.T), theirs.mean(0), np.cov(theirs.T))
    assert reward.value(forms[30:]) == pytest.approx(-expected, rel=1e-3)
    assert reward.value(forms[:30]) == pytest.approx(0.0, abs=1e-6)
    for n in (0, 1, 2, 12):
        few = forms[30 : 30 + n]
        assert reward.pseudo_values(few) == pytest.approx(brute_force(reward, few), abs=1e-5)
    # molecules of the reference are better for a set than soap
    mixed = reward.pseudo_values([*forms[:10], *["CCCCCCCCCCCCCCCC(=O)[O-]"] * 3])
    assert max(mixed[10:]) < min(mixed[:10])
    with pytest.raises(ValueError, match="the reference is one molecule"):
        FCD(["CCO"])
