"""The house: imports point one way, exported names exist, entry points are strings."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import gymnasium as gym
import pytest
import tokengym

ROOT = Path(__file__).parent.parent
FLOORS = ["rewards", "envs", "agents", "train"]  # each may import itself and what stands before it


def run_time_imports(path: Path) -> list[str]:
    """Our packages that a module imports, not counting those for type checking alone."""
    found: list[str] = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.ImportFrom):
            package = path.relative_to(ROOT).parts[:-1]
            above = package[: len(package) - node.level + 1] if node.level else ()
            name = [*above, *(node.module or "").split(".")]
            found.append(name[1] if name[0] == "tokengym" else name[0])
        elif isinstance(node, ast.Import):
            found.extend(alias.name.removeprefix("tokengym.").split(".")[0] for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_point_one_way(floor: str) -> None:
    below = set(FLOORS[: FLOORS.index(floor) + 1])
    modules = list((ROOT / floor).rglob("*.py"))
    assert modules
    for path in modules:
        above = [name for name in run_time_imports(path) if name in FLOORS and name not in below]
        assert not above, f"{path.relative_to(ROOT)} imports {above}, which stand above {floor}"


def test_library_imports_itself_relatively() -> None:
    for floor in FLOORS:
        for path in (ROOT / floor).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and not node.level:
                    names = [node.module or ""]
                assert not any(n.split(".")[0] == "tokengym" for n in names), path


@pytest.mark.parametrize("name", ["", ".rewards", ".envs", ".agents", ".train"])
def test_exported_names_exist_and_are_sorted(name: str) -> None:
    module = importlib.import_module("tokengym" + name)
    for exported in module.__all__:
        assert getattr(module, exported) is not None
    assert len(set(module.__all__)) == len(module.__all__)


def test_package_files_define_nothing() -> None:
    for floor in FLOORS:
        for path in (ROOT / floor).rglob("__init__.py"):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                assert not isinstance(node, ast.ClassDef), path
                if isinstance(node, ast.FunctionDef):
                    assert node.name == "__getattr__", path


def test_ids_are_registered_with_specs_that_can_be_written_as_json() -> None:
    ids = [id for id in gym.registry if id.startswith("tokengym/")]
    assert {"tokengym/Molecules-v0", "tokengym/Oracle-v0"} <= set(ids)
    for id in ids:
        spec = gym.spec(id)
        assert spec.to_json()
        assert spec.max_episode_steps is None


def test_importing_twice_registers_once() -> None:
    importlib.reload(tokengym)  # a second registration would warn, and warnings are errors here
