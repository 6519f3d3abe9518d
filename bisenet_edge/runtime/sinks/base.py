"""What every sink is, and the one that throws everything away."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Optional, Type

import numpy as np

from bisenet_edge.frame import Frame
from bisenet_edge.runtime.status import RunStatus


class Sink(ABC):
    """Takes frames and their masks in order. Ends with `close` or `abort`; the later of them does nothing.

    As a context manager it closes, or aborts when the block raises.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._open = True

    @abstractmethod
    def write(self, frame: Frame, mask: np.ndarray) -> None:
        """Take one frame. Keeps neither array: both are reused afterwards.

        Args:
            frame: image uint8 [h, w, 3].
            mask: uint8 [h, w], train ids, of the image's own size.

        Raises:
            SinkError: it cannot be written.
        """

    def tell(self, status: RunStatus) -> None:
        """Take note of how the run is doing; called about once a second, on the thread that calls `write`."""

    def close(self) -> None:
        """Complete the output; nothing appears if no frame was written.

        Raises:
            SinkError: it cannot be completed; nothing is left behind.
        """
        if self._open:
            self._open = False
            self._complete()

    def abort(self) -> None:
        """Give up and leave nothing half-written."""
        if self._open:
            self._open = False
            self._discard()

    def _complete(self) -> None:
        """Make the output whole."""

    def _discard(self) -> None:
        """Remove what was written."""

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()


class NullSink(Sink):
    """Throws everything away: for measuring, and for runs whose report is all that is wanted."""

    def write(self, frame: Frame, mask: np.ndarray) -> None:
        """Do nothing."""
