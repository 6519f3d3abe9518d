"""A log with one line of JSON per frame; see `records.frame_record` for what it holds."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import numpy as np

from bisenet_edge.errors import SinkError, UsageError
from bisenet_edge.frame import Frame
from bisenet_edge.labels import LabelSet
from bisenet_edge.runtime.datasets import parse_int, parse_options
from bisenet_edge.runtime.sinks.base import Sink
from bisenet_edge.runtime.sinks.disk import check_space, disk_full
from bisenet_edge.runtime.sinks.records import frame_record

DEFAULTS = {"max_mb": "100", "keep": "3"}


class JsonlSink(Sink):
    """Appends whole lines to a file; each can be read as soon as it is written (`tail -f`).

    A log is not a result: it grows from run to run and is never replaced. When it would exceed `max_mb`,
    it is renamed to `NAME.1`, the one before to `NAME.2`, and so on; `keep` of them stay.

    Args:
        uri: `jsonl://FILE[?max_mb=100&keep=3]`; `max_mb=0` never renames.
        rest: what follows `jsonl://`.
        labels: the classes.

    Raises:
        UsageError: no file, or an option that is not understood.
        SinkError: it cannot be written, or holds something else.
    """

    def __init__(self, uri: str, rest: str, labels: LabelSet) -> None:
        super().__init__(uri)
        name, _, query = rest.partition("?")
        if name in ("", "-"):
            raise UsageError(
                "a log needs a file: stdout carries the report",
                got=uri,
                expected="jsonl://FILE",
                fix="jsonl://masks.jsonl, and in another terminal: tail -f masks.jsonl",
            )
        options = parse_options(query, DEFAULTS, uri)
        self._max_bytes = parse_int(options["max_mb"], "max_mb", uri) * 2**20
        self._keep = parse_int(options["keep"], "keep", uri)
        self._labels = labels
        self.path = Path(name).expanduser().resolve()
        self._made = not self.path.exists()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _open_log(self.path)
        except OSError as error:
            raise SinkError("cannot write here", got=f"{self.path}: {error.strerror}") from error

    def write(self, frame: Frame, mask: np.ndarray) -> None:
        line = (json.dumps(frame_record(frame, mask, self._labels)) + "\n").encode()
        check_space(self.path)
        try:
            size = os.fstat(self._file).st_size
            if self._max_bytes and size and size + len(line) > self._max_bytes:
                self._rotate()
                size = 0
            self._append(line, size)
        except OSError as error:
            raise disk_full(self.path, str(error.strerror)) from error

    def _append(self, line: bytes, size: int) -> None:
        """One `write` per line, so that a reader never sees half of one; on a full disk none stays."""
        written = os.write(self._file, line)
        if written < len(line):
            os.ftruncate(self._file, size)
            raise disk_full(self.path, f"{written} of {len(line)} bytes of a line were written")

    def _rotate(self) -> None:
        os.close(self._file)
        for number in range(self._keep, 0, -1):
            older = self._numbered(number - 1)
            if older.exists():
                older.replace(self._numbered(number))
        if not self._keep:
            self.path.unlink()
        self._file = _open_log(self.path)

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}") if number else self.path

    def _complete(self) -> None:
        empty = os.fstat(self._file).st_size == 0
        os.close(self._file)
        if empty and self._made:
            self.path.unlink()

    def _discard(self) -> None:
        self._complete()  # the lines tell what happened before the error


def _open_log(path: Path) -> int:
    """Descriptor at the end of a file that holds nothing but lines of JSON."""
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode) or (found.st_size and os.pread(file, 1, 0) != b"{"):
        os.close(file)
        raise SinkError(
            "this is not a log of JSON lines, and nothing is appended to it",
            got=str(path),
            expected="a new file, or a log of an earlier run",
            fix=f"for example jsonl://{path.with_suffix('.jsonl')}",
        )
    if found.st_size and os.pread(file, 1, found.st_size - 1) != b"\n":
        os.write(file, b"\n")  # the power failed within a line: the next one is whole again
    return file
