"""Files of a system, this machine's or one that lies in a folder (an image mounted for a look, a test)."""

from __future__ import annotations

import fnmatch
import os
import re
from pathlib import Path, PurePosixPath
from typing import List, Tuple

_MOST_LINKS = 40  # as many as Linux follows


class Sysroot:
    """Reads files by their name on the system, below `root`.

    Links are followed inside the root: /etc/nvpmodel.conf of an image points to "/etc/nvpmodel/...", which
    on the machine that looks at the image is another file, or none.

    Attributes:
        root: folder that stands for "/".
        live: the root is this machine's own.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root
        self.live = root.resolve() == Path("/")

    def path(self, name: str) -> Path:
        """Where `name` ("/etc/fstab") lies on this machine, links followed; it need not exist."""
        if self.live:
            return Path(os.path.realpath(f"/{name}"))
        done, todo, links = self.root, list(_parts(name)), 0
        while todo:
            part = todo.pop(0)
            if part == "..":
                done = done.parent if done != self.root else done
                continue
            candidate = done / part
            if candidate.is_symlink() and links < _MOST_LINKS:
                links += 1
                target = os.readlink(str(candidate))
                if target.startswith("/"):
                    done = self.root
                todo[:0] = _parts(target)
            else:
                done = candidate
        return done

    def text(self, name: str) -> str:
        """Text of a file, without trailing NULs and white space; "" where there is none, or no reading it."""
        try:
            return self.path(name).read_bytes().decode("utf-8", "replace").rstrip("\0 \n")
        except OSError:
            return ""

    def exists(self, name: str) -> bool:
        """Whether there is a file, folder, socket or device of this name."""
        try:
            return self.path(name).exists()
        except OSError:
            return False

    def glob(self, pattern: str) -> List[str]:
        """Names that match ("/dev/video*"), in the order that people count: video2 before video10."""
        found = [""]
        for part in _parts(pattern):
            if any(character in part for character in "*?["):
                found = [
                    f"{base}/{name}"
                    for base in found
                    for name in self._names(base)
                    if fnmatch.fnmatchcase(name, part)
                ]
            else:
                found = [f"{base}/{part}" for base in found]
        return sorted((name for name in found if self.exists(name)), key=_natural)

    def _names(self, folder: str) -> List[str]:
        try:
            return [entry.name for entry in self.path(folder or "/").iterdir()]
        except OSError:
            return []


def _parts(name: str) -> Tuple[str, ...]:
    return tuple(part for part in PurePosixPath(name).parts if part != "/")


def _natural(name: str) -> List[Tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
