"""The rules of the code base that a machine can check."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "bisenet_edge"
MOST_LINES = 300
MOST_LINES_OF_A_FUNCTION = 60
NETWORK = {"urllib.request", "http.client", "requests", "httpx", "ftplib"}


def modules(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def tool(*command: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name(command[0])
    return subprocess.run([str(program), *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)


def test_nothing_imports_upward():
    done = tool("lint-imports", "--no-cache")
    assert done.returncode == 0, done.stdout
    assert "3 kept, 0 broken" in done.stdout


def test_what_a_device_runs_is_python_3_8():
    nouns = [str(path) for path in PACKAGE.glob("*.py")]
    paths = [str(PACKAGE / "runtime"), *nouns, *map(str, (PACKAGE / "cli").glob("device*.py"))]
    done = tool("vermin", "-t=3.8-", "--no-tips", "--violations", *paths)
    assert done.returncode == 0, done.stdout


def test_vermin_would_notice(tmp_path):
    (tmp_path / "newer.py").write_text("match 1:\n    case 1:\n        pass\n")
    assert tool("vermin", "-t=3.8-", "--no-tips", "--violations", str(tmp_path)).returncode != 0


def test_files_and_functions_are_short():
    long_files = [str(p) for p in modules(PACKAGE) if len(p.read_text().splitlines()) > MOST_LINES]
    assert long_files == []
    long_functions = [
        f"{path}: {node.name}"
        for path in modules(PACKAGE)
        for node in nodes(path)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or 0) - node.lineno >= MOST_LINES_OF_A_FUNCTION
    ]
    assert long_functions == []


@pytest.mark.parametrize("part", ["", "runtime", "toolchain", "delivery"])
def test_only_the_command_line_prints_or_exits(part):
    found = []
    for path in modules(PACKAGE / part) if part else sorted(PACKAGE.glob("*.py")):
        for node in nodes(path):
            prints = isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("print", "exit")
            streams = isinstance(node, ast.Attribute) and node.attr in ("stdout", "stderr", "exit")
            if prints or (streams and getattr(node.value, "id", "") == "sys"):
                found.append(f"{path}:{node.lineno}")
    assert found == []


def imported(path: Path) -> Iterator[str]:
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_neither_package_nor_tests_use_the_network():
    users = [str(p) for f in (PACKAGE, ROOT / "tests") for p in modules(f) if NETWORK & set(imported(p))]
    assert users == []
