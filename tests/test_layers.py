"""The house rules that a machine can check: who imports whom, from where, and how long code may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parent.parent
APP = sorted(ROOT.glob("app/**/*.py"))
SOURCES = [*APP, *sorted(ROOT.glob("handlers/**/*.py"))]

MAX_FILE_LINES = 350
MAX_FUNCTION_LINES = 50


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def is_from_root(node: ast.AST) -> bool:
    """Whether a statement takes the package root or a name from it; `from app import logs` takes a module."""
    match node:
        case ast.Import(names=names):
            return any(alias.name == "app" for alias in names)
        case ast.ImportFrom(module="app", names=names):
            return any(not is_module_of_app(alias.name) for alias in names)
        case _:
            return False


def is_module_of_app(name: str) -> bool:
    return (ROOT / "app" / name).is_dir() or (ROOT / "app" / f"{name}.py").is_file()


def test_contracts_of_the_layers_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert lint_imports(no_cache=True) == EXIT_STATUS_SUCCESS


@pytest.mark.parametrize("path", APP, ids=name_of)
def test_nothing_inside_imports_from_the_package_root(path: Path) -> None:
    tree = ast.parse(path.read_bytes())
    assert [ast.unparse(node) for node in ast.walk(tree) if is_from_root(node)] == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_import_stands_in_a_function(path: Path) -> None:
    inner = [node for function in functions(ast.parse(path.read_bytes())) for node in ast.walk(function)]
    assert [ast.unparse(node) for node in inner if isinstance(node, ast.Import | ast.ImportFrom)] == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_and_functions_stay_short(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= MAX_FILE_LINES
    lengths = {f.name: (f.end_lineno or f.lineno) - f.lineno + 1 for f in functions(ast.parse(source))}
    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES} == {}
