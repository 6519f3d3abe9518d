"""Files that come with the package, and files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Iterator, List

from bisenet_edge.errors import SinkError

SHIPPED_CHECKPOINT = "bisenet-xception39-camvid.safetensors"


def data_folder(name: str) -> Path:
    """Folder of shipped data: "calibration", "deploy" or "docker".

    In a checkout these stand at the top level; a wheel carries them inside the package.
    """
    package = Path(__file__).resolve().parent
    installed = package / "_data" / name
    return installed if installed.is_dir() else package.parent / name


def licence_file() -> Path:
    """The text of the licence that the package is under."""
    package = Path(__file__).resolve().parent
    installed = package / "_data" / "LICENSE"
    return installed if installed.is_file() else package.parent / "LICENSE"


def shipped_checkpoint() -> Path:
    """The checkpoint that is taken where none is named."""
    return _weights() / SHIPPED_CHECKPOINT


def shipped_checkpoints() -> List[str]:
    """Names of the checkpoints that come with the package, as `shipped_or` takes them."""
    return sorted(path.stem for path in _weights().glob("*.safetensors"))


def shipped_or(path: Path) -> Path:
    """The shipped checkpoint of this name; `path` itself where there is a file, or no such name."""
    named = str(path) in shipped_checkpoints() and not path.exists()
    return _weights() / f"{path}.safetensors" if named else path


def _weights() -> Path:
    return Path(__file__).resolve().parent / "weights"


@contextmanager
def replace_when_written(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; rename it to `path` when the block ends without an error.

    Works for a file and for a folder (an existing folder is replaced).

    Raises:
        SinkError: the folder cannot be made or written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    made_parent = not path.parent.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Find out now that the folder cannot be written, not after minutes of work.
        with (path.parent / f".{path.name}.{os.getpid()}.probe").open("wb") as probe:
            Path(probe.name).unlink()
    except OSError as error:
        raise SinkError(
            "cannot write here", got=f"{path}: {error.strerror}", expected="a folder that can be written"
        ) from error
    try:
        yield temporary
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        raise SinkError(
            "cannot write to the end",
            got=f"{path}: {error.strerror}",
            expected="space left on the disk",
            fix=f"df -h {path.parent}",
        ) from error
    else:
        if temporary.is_dir() and path.is_dir():
            shutil.rmtree(path)
        try:
            temporary.replace(path)
        except (IsADirectoryError, NotADirectoryError) as error:
            raise SinkError(
                "something of another kind stands where this should be written",
                got=f"{path}: {'a folder' if path.is_dir() else 'a file'}",
                expected="a folder" if temporary.is_dir() else "a file",
                fix="give --out another name",
            ) from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        elif temporary.exists():
            temporary.unlink()
        if made_parent and not path.exists():
            with suppress(OSError):  # somebody else has put something there meanwhile
                path.parent.rmdir()
