"""``check_objective`` finds what would go wrong in a run; installed packages bring objectives."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
import tokengym
from tokengym.rewards import FunctionObjective, Objective
from tokengym.rewards.checking import HOSTILE, Finding, check_objective
from tokengym.rewards.function import BatchFunction

TEXTS = ["a", "bb", "ccc", "dddd"]


@tokengym.objective(range=(0.0, 1.0))
def sound(texts: list[str]) -> list[float | None]:
    """An objective without fault."""
    return [1 / (1 + len(text)) for text in texts]


def found(function: BatchFunction | Objective) -> dict[str, Finding]:
    objective = function if isinstance(function, Objective) else FunctionObjective(function)
    return {finding.what: finding for finding in check_objective(objective, TEXTS)}


def test_a_sound_objective_has_no_finding_but_good_ones() -> None:
    findings = found(sound)
    assert {finding.level for finding in findings.values()} == {"good"}
    assert list(findings) == [
        "examples", "range", "cost", "the same twice", "batch equals single",
        "order does not matter", "hostile texts", "other processes",
    ]  # fmt: skip
    assert findings["range"].detail == "scores from 0.2 to 0.5"


def test_memo_and_budget_are_left_alone() -> None:
    objective = FunctionObjective(sound.function, budget=1)
    check_objective(objective, TEXTS)
    assert objective.spent == 0
    assert objective.score_texts(["zz"]) == [1 / 3]


def random_ones() -> BatchFunction:
    """Another score at every call."""
    counter = count()
    return lambda texts: [float(next(counter)) for _ in texts]


@pytest.mark.parametrize(
    ("function", "what", "said"),
    [
        (random_ones(), "the same twice", "'a' scored 0.0, then"),
        (lambda texts: [len(t) / len(texts) for t in texts], "batch equals single", "'a' scored"),
        (lambda texts: [float(i) for i, _ in enumerate(texts)], "order does not matter", "'a' sco"),
        (lambda texts: [None] * len(texts), "examples", "4 of 4 could not be scored, first 'a'"),
        (
            lambda texts: [1 / len(t) for t in texts],
            "hostile texts",
            "1 of 14 would stop a run; first: objective '<lambda>' raised ZeroDivisionError",
        ),
    ],
)
def test_a_problem_is_named(
    function: Callable[[list[str]], list[float | None]], what: str, said: str
) -> None:
    finding = found(function)[what]
    assert finding.level == "problem"
    assert said in finding.detail


def test_what_fails_alone_is_a_problem_among_others() -> None:
    def spread(texts: list[str]) -> list[float | None]:
        low, high = min(map(len, texts)), max(map(len, texts))
        return [(len(text) - low) / (high - low) for text in texts]

    findings = found(spread)
    assert findings["batch equals single"].level == "problem"
    said = "'a' scored 0.0, then objective 'spread' raised ZeroDivisionError"
    assert said in findings["batch equals single"].detail
    assert findings["range"].detail.startswith("scores from 0 to 1")


def test_nothing_is_said_of_the_order_where_scores_are_random() -> None:
    findings = found(random_ones())
    assert findings["the same twice"].level == "problem"
    assert not {"batch equals single", "order does not matter"} & set(findings)


def test_what_is_asked_is_told_and_an_exit_is_a_failure() -> None:
    def leaves(texts: list[str]) -> list[float | None]:
        if "" in texts:
            sys.exit(3)
        return [float(len(text)) for text in texts]

    told: list[str] = []
    hostile = check_objective(FunctionObjective(leaves), TEXTS, told.append)[-2]
    assert "1 of 14 would stop a run; first: objective 'leaves' raised" in hostile.detail
    assert "it called sys.exit(3) for ''" in hostile.detail
    assert told[:2] == ["a batch of 4 texts", "'a'"]


def test_ranges() -> None:
    outside = FunctionObjective(sound.function, range=(0.0, 0.3))
    assert "to 0.5, outside the stated 0 to 0.3" in found(outside)["range"].detail
    assert found(outside)["range"].level == "problem"
    assert (
        "state range=(low, high)"
        in found(lambda texts: [float(len(t)) for t in texts])["range"].detail
    )
    assert (
        "every example scores 2; where all"
        in found(lambda texts: [2.0] * len(texts))["range"].detail
    )


def test_what_raises_on_the_examples_is_the_only_finding() -> None:
    def broken(texts: list[str]) -> list[float | None]:
        raise RuntimeError("no license")

    findings = found(broken)
    assert list(findings) == ["examples"]
    assert "objective 'broken' raised RuntimeError: no license" in findings["examples"].detail


def test_a_local_function_cannot_travel() -> None:
    finding = found(lambda texts: [float(len(t)) for t in texts])["other processes"]
    assert finding.level == "note"
    assert "define it at the top of a module" in finding.detail


def test_no_examples() -> None:
    with pytest.raises(ValueError, match="no examples to score"):
        check_objective(sound, [])
    assert len(set(HOSTILE)) == len(HOSTILE)


@pytest.mark.slow
def test_an_installed_package_brings_objectives(tmp_path: Path) -> None:
    """A wheel with an entry point, installed by pip into a folder of its own."""
    wheel = tmp_path / "vowels-1.0-py3-none-any.whl"
    info = "vowels-1.0.dist-info"
    files = {
        "vowels.py": "import tokengym\n\n\n@tokengym.objective(range=(0, 1))\ndef vowels(texts):\n"
        '    """The share of vowels."""\n'
        "    return [sum(c in 'aeiou' for c in t) / max(len(t), 1) for t in texts]\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: vowels\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[tokengym.objectives]\nvowels = vowels:vowels\n",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in files))
    installed = tmp_path / "installed"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*install, "--target", str(installed), str(wheel)], check=True)
    script = (
        "import tokengym\n"
        "from tokengym.rewards import make_reward, reward_targets\n"
        "assert reward_targets()['vowels'] == 'vowels:vowels'\n"
        "print(make_reward('0.5 * vowels').children[0].score_texts(['aab', 'x', 'ou']))\n"
    )
    root = Path(__file__).parent.parent
    printed = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": f"{installed}:{root / '.namespace'}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    ).stdout
    assert printed.split() == ["[0.6666666666666666,", "0.0,", "1.0]"]
