"""The shape of the house: imports run one way, theory is light, files and functions stay short."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Each package may import those before it.
ORDER = ["theory", "simulator", "llm_bridge", "whynorm"]
FILES = [path for package in ORDER for path in sorted((ROOT / package).rglob("*.py"))]


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            pytest.fail(f"{path}: relative import; use the full name")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    forbidden = set(ORDER[ORDER.index(package) + 1 :]) | {"benchmarks", "tests"}
    assert not _imports(path) & forbidden


@pytest.mark.parametrize("package", ["theory", "simulator"])
def test_only_the_torch_engine_names_torch(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        named = _imports(path) & {"torch", "transformers", "peft"}
        assert named == ({"torch"} if path.name == "torch_engine.py" else set()), path


def test_running_another_engine_does_not_import_torch() -> None:
    assert "torch" not in _modules_after("import simulator.engines.run, simulator.engines.lanes")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 280
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert length <= 60, f"{path}:{node.lineno} {node.name}"


def _modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_theory_is_light() -> None:
    """No timing: what makes an import slow is what it pulls in."""
    assert not _modules_after("import theory") & {"torch", "sympy", "scipy", "numpy", "matplotlib", "hypothesis"}


def test_the_command_line_starts_without_the_heavy_parts() -> None:
    heavy = {"torch", "transformers", "peft", "sympy", "matplotlib", "hypothesis"}
    assert not _modules_after("import whynorm.cli") & heavy


def test_importing_the_bridge_package_does_not_import_torch() -> None:
    assert "torch" not in _modules_after("import llm_bridge, llm_bridge.tasks")
