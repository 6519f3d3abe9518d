"""Who is told what a run does: the journal, systemd."""

from __future__ import annotations

from bisenet_edge.runtime.status import RunStatus


class Observer:
    """Told on the thread that called `pipeline.run`, if nothing else is said. Here: does nothing."""

    def status(self, status: RunStatus, *, alive: bool) -> None:
        """Take note of how the run is doing, about once a second.

        Args:
            alive: since the last time a sink took a mask, or a source that is lost was tried again.
        """

    def event(self, text: str) -> None:
        """Take note of something that went wrong or was mended, in one line; called by any thread."""

    def stopping(self) -> None:
        """Take note that no more frames are read; once in a run that ends without an error."""
