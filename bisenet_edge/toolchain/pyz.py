"""The device program: one zip that Python runs, with no torch in it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

# Zip knows no year before 1980.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_MAIN = "import sys\n\nfrom bisenet_edge.cli.device import main\n\nsys.exit(main())\n"


def pyz_members() -> dict[str, bytes]:
    """Path in the zip -> content: root nouns, runtime and the device command line."""
    package = Path(__file__).resolve().parent.parent
    members = {f"bisenet_edge/{p.name}": p.read_bytes() for p in package.glob("*.py")}
    for path in (package / "runtime").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            members[f"bisenet_edge/{path.relative_to(package).as_posix()}"] = path.read_bytes()
    # The full command line imports click; the device has its own, and an empty package around it.
    members["bisenet_edge/cli/__init__.py"] = b""
    members.update(
        {f"bisenet_edge/cli/{p.name}": p.read_bytes() for p in (package / "cli").glob("device*.py")}
    )
    members["__main__.py"] = _MAIN.encode()
    return members


def build_pyz(members: dict[str, bytes] | None = None) -> bytes:
    """Zip `members` (None = `pyz_members()`), the same bytes every time."""
    if members is None:
        members = pyz_members()
    buffer = io.BytesIO(b"#!/usr/bin/env python3\n")
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, _ZIP_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, members[name])
    return buffer.getvalue()
