"""docs/threats.md names a test for each defence, and each of them exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "threats.md").read_text(encoding="utf-8")


def test_every_defence_names_a_test_that_exists():
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", TEXT)
    assert len(named) > 30
    functions = {
        path: {
            n.name for n in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(n, ast.FunctionDef)
        }
        for path, _ in named
    }
    assert [pair for pair in named if pair[1] not in functions[pair[0]]] == []


def test_no_row_is_without_a_test():
    rows = [line for line in TEXT.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith(("| ---", "| Who"))]
    assert len(rows) > 25
    assert [row for row in rows if "::test_" not in row.split("|")[3]] == []
