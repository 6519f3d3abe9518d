"""Outputs on disk, and the folder of PNG masks.

One rule says what becomes of an output that ends early (a full disk, a crash, an error elsewhere):

- A file is being converted: the output is written under a temporary name and renamed when it is
  complete. What has its final name is whole; an aborted one leaves nothing, and what stood there stays.
- A live source is being recorded (`keep_partial`): a moment that was recorded cannot be had again, so the
  output stands under its final name from the first frame, and what was written stays. An earlier output
  of that name is renamed, not replaced.
"""

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
from bisenet_edge.runtime.sinks.disk import check_space, disk_full, set_aside


class _AbortedError(Exception):
    """Ends a `replace_when_written` block without renaming."""


class FileSink(Sink):
    """A file or folder at `path`, written to `self._temporary`, which is `path` itself if partial ones stay.

    Args:
        uri: how the user named it.
        path: the file or folder.
        keep_partial: see the rule at the top of this module.

    Raises:
        SinkError: the folder cannot be written; found when it is opened, before any frame.
    """

    def __init__(self, uri: str, path: Path, *, keep_partial: bool = False) -> None:
        super().__init__(uri)
        self.path = path
        self.keep_partial = keep_partial
        self._written = 0
        self._replacement = contextlib.ExitStack()
        self._temporary = self._replacement.enter_context(replace_when_written(path))
        if keep_partial:
            self._give_up_replacement()  # it has found that the place can be written
            self._temporary = path

    def write(self, frame: Frame, mask: np.ndarray) -> None:
        if not self._written and self.keep_partial:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            set_aside(self.path)
        if self._written:
            check_space(self.path)
        self._add(frame, mask)
        self._written += 1

    def _add(self, frame: Frame, mask: np.ndarray) -> None:
        """Write one frame to `self._temporary`; `self._written` tells how many came before."""
        raise NotImplementedError

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
        if self.keep_partial and self._written:
            self._release()
        else:
            self._give_up_replacement()

    def _give_up_replacement(self) -> None:
        with contextlib.suppress(_AbortedError), self._replacement:
            raise _AbortedError

    def _release(self) -> None:
        """Bring everything that was written to `self._temporary`."""


class MaskFolderSink(FileSink):
    """One 8-bit PNG of class ids per frame, at the picture's size, named by frame index: `000042.png`."""

    NAME = "{:06d}.png"

    def __init__(self, uri: str, path: Path, *, keep_partial: bool = False) -> None:
        _refuse_foreign_files(path)
        super().__init__(uri, path, keep_partial=keep_partial)

    def _add(self, frame: Frame, mask: np.ndarray) -> None:
        # Masks are flat: level 1 is three times as fast as the default and hardly larger.
        good, data = cv2.imencode(".png", mask, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        assert good
        path = self._temporary / self.NAME.format(frame.index)
        part = path.with_suffix(".part")
        try:
            if not self._written:
                self._temporary.mkdir()
            part.write_bytes(data.tobytes())
            part.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink()
            raise disk_full(self.path, str(error.strerror)) from error


def _refuse_foreign_files(folder: Path) -> None:
    """A folder of masks is replaced as a whole, so it may hold nothing but masks of an earlier run."""
    if folder.exists() and not folder.is_dir():
        raise SinkError("a file stands where the folder of masks should be", got=str(folder))
    if folder == Path.cwd():
        raise SinkError("the current folder cannot be replaced", got=str(folder), fix="for example masks/")
    for entry in folder.iterdir() if folder.is_dir() else ():
        if not re.fullmatch(r"\d{6,}\.(png|part)", entry.name):
            raise SinkError(
                "a folder for masks holds something else, and would be replaced",
                got=str(entry),
                expected="a new or empty folder, or one of masks from an earlier run",
                fix=f"for example {folder / 'masks'}/",
            )
