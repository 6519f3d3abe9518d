"""GStreamer inside this process, through PyGObject (`gi`), which comes with the system and not with pip."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any, Dict, Optional

from bisenet_edge.errors import MissingDependencyError
from bisenet_edge.runtime.gstreamer.description import Pipeline

APT_LINE = (
    "sudo apt-get install -y python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0 python3-gst-1.0 "
    "gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad "
    "gstreamer1.0-plugins-ugly gstreamer1.0-libav"
)
STOP_S = 5.0


class PipelineError(Exception):
    """What GStreamer says of a pipeline that cannot be built or has stopped.

    Callers tell it as a SourceError or SinkError. `detail` names the element and where it failed.
    """

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


@lru_cache(maxsize=None)
def find_gst() -> Optional[Any]:
    """The module `Gst`, initialised once; None where PyGObject or its typelibs are not installed."""
    try:
        import gi

        gi.require_version("Gst", "1.0")
        gi.require_version("GstApp", "1.0")
        # GstApp gives appsrc and appsink their methods.
        from gi.repository import Gst, GstApp  # noqa: F401
    except (ImportError, ValueError):  # ValueError: PyGObject is there, GStreamer's typelib is not
        return None
    Gst.init(None)
    return Gst


def load_gst() -> Any:
    """The module `Gst`.

    Raises:
        MissingDependencyError: PyGObject or its typelibs are not installed for this Python.
    """
    gst = find_gst()
    if gst is None:
        raise MissingDependencyError(
            "GStreamer's Python binding is not installed for this Python",
            got="import gi failed",
            expected="PyGObject with the typelibs of GStreamer; a virtual environment sees the system's "
            "one when made with --system-site-packages",
            fix=APT_LINE,
        )
    return gst


class RunningPipeline:
    """A pipeline in this process. Build, `start`, ask `check` now and then, `stop`.

    Raises:
        MissingDependencyError: PyGObject is not installed.
        PipelineError: an element or property does not exist, or the elements do not fit together.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.gst = load_gst()
        from gi.repository import GLib

        try:
            self.gst_pipeline = self.gst.parse_launch(pipeline.text)
        except GLib.Error as error:
            raise PipelineError(error.message) from error
        self._bus = self.gst_pipeline.get_bus()
        self._dropped: Dict[str, int] = {}

    def element(self, name: str) -> Any:
        """The element with the property `name=NAME`."""
        return self.gst_pipeline.get_by_name(name)

    def start(self) -> None:
        """Set it to playing; a live camera takes a while to deliver.

        Raises:
            PipelineError: an element refuses: no such device, no such file.
        """
        if self.gst_pipeline.set_state(self.gst.State.PLAYING) == self.gst.StateChangeReturn.FAILURE:
            self.check()
            raise PipelineError("the pipeline does not start")

    def check(self) -> bool:
        """Read the messages that have come up; True once the stream has ended.

        Raises:
            PipelineError: an element has stopped with an error.
        """
        kinds = self.gst.MessageType
        while True:
            message = self._bus.pop_filtered(kinds.ERROR | kinds.EOS | kinds.QOS)
            if message is None:
                return False
            if message.type == kinds.EOS:
                return True
            if message.type == kinds.ERROR:
                error, detail = message.parse_error()
                raise PipelineError(error.message.rstrip("."), _reason(detail))
            _format, _processed, dropped = message.parse_qos_stats()
            self._dropped[message.src.get_name()] = dropped

    @property
    def dropped_by_decoders(self) -> int:
        """Frames that no decoder could make anything of, as of the last `check`.

        Decoders also report frames that are too late; behind a sink with sync=false none is.
        """
        return sum(self._dropped.values())

    def finish(self, timeout_s: float) -> None:
        """Send end-of-stream and wait until every element has written what it holds.

        Raises:
            PipelineError: it failed, or did not end in time.
        """
        kinds = self.gst.MessageType
        self.gst_pipeline.send_event(self.gst.Event.new_eos())
        message = self._bus.timed_pop_filtered(int(timeout_s * self.gst.SECOND), kinds.ERROR | kinds.EOS)
        if message is None:
            raise PipelineError(f"the pipeline did not end within {timeout_s:g} s")
        if message.type == kinds.ERROR:
            error, detail = message.parse_error()
            raise PipelineError(error.message.rstrip("."), _reason(detail))

    def stop(self) -> None:
        """Free the devices, waiting at most `STOP_S`: an element that hangs must not hang the program."""
        worker = threading.Thread(
            target=self.gst_pipeline.set_state,
            args=(self.gst.State.NULL,),
            name="gstreamer-stop",
            daemon=True,
        )
        worker.start()
        worker.join(STOP_S)


def _reason(detail: Optional[str]) -> str:
    """The part of a message's debug text that is for people: what follows the place in the source code."""
    return (detail or "").partition("\n")[2]
