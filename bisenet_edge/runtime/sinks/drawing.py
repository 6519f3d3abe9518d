"""A thread that draws what a pipeline hands it, and whose death does not go unnoticed."""

from __future__ import annotations

import threading
from typing import Callable, Optional

import numpy as np

from bisenet_edge.errors import SinkError
from bisenet_edge.frame import Frame
from bisenet_edge.runtime.sinks.newest import NewestFrame

Draw = Callable[[Frame, np.ndarray], None]


class DrawingThread:
    """Calls `draw` with the newest frame and mask, in a daemon thread, until `close`.

    Attributes:
        error: what `draw` has raised; it is called no more then.
    """

    def __init__(self, name: str, draw: Draw) -> None:
        self.error: Optional[BaseException] = None
        self._draw = draw
        self._incoming = NewestFrame()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, frame: Frame, mask: np.ndarray) -> None:
        """Copy a frame (image uint8 [h, w, 3]) and its mask (uint8 [h, w]) for the thread."""
        self._incoming.put(frame, mask)

    def check(self) -> None:
        """See whether the thread still draws.

        Raises:
            SinkError: it does not.
        """
        if self.error is not None:
            raise SinkError(
                "the overlay cannot be drawn", got=f"{type(self.error).__name__}: {self.error}"
            ) from self.error

    def close(self, timeout_s: Optional[float] = None) -> None:
        """Let the thread end, and wait for it, so long at most."""
        self._incoming.close()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            for frame, mask in iter(self._incoming.take, None):
                self._draw(frame, mask)
        except BaseException as error:  # noqa: BLE001  raised again on the pipeline's thread
            self.error = error
