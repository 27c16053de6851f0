"""The pages' Python runs as printed, in the order of a page, and their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import gymnasium as gym
import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Pages with Python, and what they need; others have tests of their own.
NEEDED = {
    "environments": ["rdkit", "sb3_contrib"],
    "own_task": [],
    "sampling": ["rdkit"],
    "stable_baselines3": ["rdkit", "sb3_contrib"],
    "supervised": [],
}


def blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def quick(block: str) -> str:
    """The same with little to do: numbers written as 100_000, and epochs, are how long it takes."""
    small = re.sub(r"\b\d+_000\b", "100", block).replace("epochs=10)", "epochs=0)")
    return small.replace(", progress_bar=True", "")


@pytest.mark.slow
@pytest.mark.parametrize("name", NEEDED)
def test_the_python_of_a_page_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in NEEDED[name]:
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    registered = set(gym.registry)
    names: dict[str, object] = {"__name__": "page"}
    for number, block in enumerate(blocks(ROOT / "docs" / f"{name}.md"), start=1):
        exec(compile(quick(block), f"{name}.md, block {number}", "exec"), names)
    for id in set(gym.registry) - registered:
        gym.registry.pop(id)


def test_every_page_with_python_is_run() -> None:
    for page in PAGES[1:]:
        own_test = ROOT / "tests" / f"test_docs_{page.stem}.py"
        assert not blocks(page) or page.stem in NEEDED or own_test.exists(), page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} links to {link}"
        text = target.read_text(encoding="utf-8") if anchor else ""
        headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in headings}
        assert not anchor or anchor in anchors, f"{page.name} links to {link}"
