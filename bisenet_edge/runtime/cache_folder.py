"""Where what was compiled on this machine is kept: TensorRT engines, and models that OpenVINO compiled."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import Dict, Optional

from bisenet_edge.artifact import file_sha256
from bisenet_edge.errors import SinkError
from bisenet_edge.resources import replace_when_written

MOST_COMPILED = 24
"""Models kept for OpenVINO; one takes some MB, and nobody else throws the old ones away."""
SUMS = "sha256.json"


def default_cache() -> Path:
    """Folder for engines: $BISENET_EDGE_CACHE, systemd's $CACHE_DIRECTORY, those of an installed release (so
    that a `compile` by hand is what its service runs), or ~/.cache/bisenet-edge.
    """
    for name in ("BISENET_EDGE_CACHE", "CACHE_DIRECTORY"):
        if os.environ.get(name):
            return Path(os.environ[name])
    program = Path(sys.argv[0]).resolve()
    if program.suffix == ".pyz" and (program.parent / "engines").is_dir():
        return program.parent / "engines"
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "bisenet-edge"


def compiled_model(key: str) -> Optional[Path]:
    """Folder for what OpenVINO makes of one model, made if need be; None where there can be no safe one.

    What is read from it is executed, so it must be ours, and nobody else may write to it; and OpenVINO does
    not see that a file of it was damaged (tried: other masks, no error), so files that are not as `seal`
    found them are removed. Without the folder a start takes some seconds longer, and nothing else changes.

    Args:
        key: of the model's content and of all that it is compiled for.
    """
    above = default_cache() / "openvino"
    folder = above / key
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not all(_is_ours(path) for path in (above, folder)):
            return None
        known = _sums(folder)
        for path in folder.iterdir():
            if path.name != SUMS and known.get(path.name) != file_sha256(path):
                path.unlink()
    except OSError:
        return None
    return folder


def seal(folder: Path) -> None:
    """Note what the files of `compiled_model` are, and forget the models that were compiled longest ago."""
    try:
        sums = {path.name: file_sha256(path) for path in folder.iterdir() if path.name != SUMS}
        if sums != _sums(folder):
            with replace_when_written(folder / SUMS) as temporary:
                temporary.write_text(json.dumps(sums))
        others = sorted((path for path in folder.parent.iterdir()), key=lambda path: path.stat().st_mtime)
        for path in others[: max(len(others) - MOST_COMPILED, 0)]:
            shutil.rmtree(path)
    except (OSError, SinkError):
        return  # a full disk, or another process was faster: the next start compiles again


def _is_ours(folder: Path) -> bool:
    found = folder.stat()
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _sums(folder: Path) -> Dict[str, str]:
    try:
        value = json.loads((folder / SUMS).read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
