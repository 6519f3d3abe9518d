"""Outputs on disk: whole, or not there. PNG masks."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import cv2
import numpy as np

from bisenet_edge.errors import SinkError
from bisenet_edge.frame import Frame
from bisenet_edge.resources import replace_when_written
from bisenet_edge.runtime.sinks.base import Sink


class _AbortedError(Exception):
    """Ends a `replace_when_written` block without renaming."""


class FileSink(Sink):
    """A file or folder at `path`, first written to `self._temporary`.

    Raises:
        SinkError: the folder cannot be written; found when it is opened, before any frame.
    """

    def __init__(self, uri: str, path: Path) -> None:
        super().__init__(uri)
        self.path = path
        self._written = 0
        self._replacement = contextlib.ExitStack()
        self._temporary = self._replacement.enter_context(replace_when_written(path))

    def _complete(self) -> None:
        if not self._written:
            self._discard()
            return
        try:
            with self._replacement:
                self._release()
        except OSError as error:
            raise SinkError("an output cannot be completed", got=f"{self.path}: {error.strerror}") from error

    def _discard(self) -> None:
        with contextlib.suppress(_AbortedError), self._replacement:
            raise _AbortedError

    def _release(self) -> None:
        """Bring everything that was written to `self._temporary`."""


class MaskFolderSink(FileSink):
    """One 8-bit PNG of class ids per frame, at the picture's size, named by frame index: `000042.png`."""

    NAME = "{:06d}.png"

    def __init__(self, uri: str, path: Path) -> None:
        _refuse_foreign_files(path)
        super().__init__(uri, path)

    def write(self, frame: Frame, mask: np.ndarray) -> None:
        if not self._written:
            self._temporary.mkdir()
        path = self._temporary / self.NAME.format(frame.index)
        # Masks are flat: level 1 is three times as fast as the default and hardly larger.
        if not cv2.imwrite(str(path), mask, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
            raise SinkError(
                "a mask cannot be written",
                got=str(self.path),
                expected="space left on the disk",
                fix=f"df -h {self.path.parent}",
            )
        self._written += 1


def _refuse_foreign_files(folder: Path) -> None:
    """A folder of masks is replaced as a whole, so it may hold nothing but masks of an earlier run."""
    if folder.exists() and not folder.is_dir():
        raise SinkError("a file stands where the folder of masks should be", got=str(folder))
    if folder == Path.cwd():
        raise SinkError("the current folder cannot be replaced", got=str(folder), fix="for example masks/")
    for entry in folder.iterdir() if folder.is_dir() else ():
        if not re.fullmatch(r"\d{6,}\.png", entry.name):
            raise SinkError(
                "a folder for masks holds something else, and would be replaced",
                got=str(entry),
                expected="a new or empty folder, or one of masks from an earlier run",
                fix=f"for example {folder / 'masks'}/",
            )
