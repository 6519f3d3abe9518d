"""SIGTERM and SIGINT: the first ends a run in good order, the second at once, the third by force."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Dict, Optional, Type

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Handles the signals while in the `with` block; on the main thread only.

    Until `draining` is called there is nothing to drain, and the first signal ends the block at once:
    SIGINT by KeyboardInterrupt, SIGTERM by SystemExit(0), for stopping a service that is still starting
    is no failure.

    Attributes:
        stop: set by the first signal after `draining`. A second one raises KeyboardInterrupt, and a third
            one meets the system's own handler, which needs no help from this process.
        name: of the first signal, "" before.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.name = ""
        self._draining = False
        self._before: Dict[int, Any] = {}

    def draining(self) -> None:
        """From now on a signal sets `stop`."""
        self._draining = True

    def __enter__(self) -> StopSignals:
        self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: Optional[FrameType]) -> None:
        self.name = self.name or signal.Signals(number).name
        if not self._draining and number == signal.SIGTERM:
            raise SystemExit(0)
        if not self._draining or self.stop.is_set():
            for each in SIGNALS:
                signal.signal(each, signal.SIG_DFL)
            raise KeyboardInterrupt
        self.stop.set()
