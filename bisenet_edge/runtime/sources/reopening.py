"""A live source that is opened again when it is lost."""

from __future__ import annotations

import logging
import threading
import time
from typing import Callable, Optional

import numpy as np

from bisenet_edge.errors import BisenetEdgeError, SourceError
from bisenet_edge.runtime.sources.base import Source

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
HEALTHY_S = 60.0

OnEvent = Callable[[str], None]
Opener = Callable[[threading.Event], Source]
_log = logging.getLogger("bisenet_edge.sources")


def log_event(text: str) -> None:
    """Where events go unless told otherwise: the log "bisenet_edge.sources"."""
    _log.warning("%s", text)


class Backoff:
    """How long to wait before the next try: 0.5 s, doubled up to 30 s, 0.5 s again after a good minute."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._next_s = FIRST_WAIT_S
        self._opened_s: Optional[float] = None

    def opened(self) -> None:
        """The source works, from now."""
        self._opened_s = self._now()

    def next_wait_s(self) -> float:
        """The wait after one more loss or failed try."""
        if self._opened_s is not None and self._now() - self._opened_s >= HEALTHY_S:
            self._next_s = FIRST_WAIT_S
        self._opened_s = None
        wait_s, self._next_s = self._next_s, min(LONGEST_WAIT_S, 2 * self._next_s)
        return wait_s


class ReopeningSource(Source):
    """Reads a live source; when it is lost, tells so, waits, and opens it again, until it is interrupted.

    The first opening must succeed, so that a wrong address is an error and not a loop, unless
    `wait_forever`: then the first `read` opens it, and waits.

    Args:
        uri: how the user named it.
        opener: opens the source; must give up soon once the event that it is given is set.
        on_event: told in one line what happened.
        backoff: how long to wait.
        wait_forever: a source that cannot be opened the first time is waited for.

    Raises:
        SourceError: it cannot be opened the first time.
    """

    live = True

    def __init__(
        self,
        uri: str,
        opener: Opener,
        *,
        on_event: OnEvent = log_event,
        backoff: Optional[Backoff] = None,
        wait_forever: bool = False,
    ) -> None:
        super().__init__(uri, fps=float("nan"), size_hw=(0, 0), count=None)
        self._opener = opener
        self._on_event = on_event
        self._backoff = backoff or Backoff()
        self._source: Optional[Source] = None
        self._ever_opened = False
        self._corrupt_before = 0
        self._frame_ns = 0
        if not wait_forever:
            self._take(opener(self._interrupted))

    def _read(self, index: int, out: Optional[np.ndarray]) -> Optional[np.ndarray]:
        while not self._interrupted.is_set():
            if self._source is None:
                self._try_to_open()
                continue
            try:
                frame = self._source.read(out)
            except SourceError as error:
                self._lose(error)
                continue
            self.corrupt = self._corrupt_before + self._source.corrupt
            if frame is None:
                continue  # interrupted: a live source has no other end
            self._frame_ns = frame.captured_ns
            return frame.image
        return None

    def _captured_ns(self) -> int:
        return self._frame_ns

    def _try_to_open(self) -> None:
        self.attempts += 1
        try:
            self._take(self._opener(self._interrupted))
        except SourceError as error:
            self._wait(error)

    def _take(self, source: Source) -> None:
        self._source = source
        self._backoff.opened()
        self.fps, self.size_hw, self.clock = source.fps, source.size_hw, source.clock
        if self._ever_opened:
            self.reopened += 1
            self._on_event(f"{self.uri}: back after loss no. {self.reopened}")
        self._ever_opened = True

    def _lose(self, error: BisenetEdgeError) -> None:
        assert self._source is not None
        self._corrupt_before += self._source.corrupt
        source, self._source = self._source, None
        source.close()
        self._wait(error)

    def _wait(self, error: BisenetEdgeError) -> None:
        wait_s = self._backoff.next_wait_s()
        # What is told already names the source; a device or address of its own is worth repeating.
        detail = error.got[len(self.uri) :].lstrip(": ") if error.got.startswith(self.uri) else error.got
        why = ": ".join(filter(None, [self.uri, error.what, detail]))
        self._on_event(f"{why}; trying again in {wait_s:g} s")
        self._interrupted.wait(wait_s)

    def close(self) -> None:
        if self._source is not None:
            self._source.close()
