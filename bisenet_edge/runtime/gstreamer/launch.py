"""GStreamer as a process of its own: `gst-launch-1.0` with an argument list, never through a shell.

For a Python without PyGObject, such as one in a virtual environment. Frames go over a pipe. Whoever may
list the processes of this machine sees its arguments, so no password or token may be among them: such a
source is refused before it comes here (`sources.opening`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import deque
from typing import Deque, Optional, Sequence, Tuple

from bisenet_edge.errors import MissingDependencyError
from bisenet_edge.runtime.gstreamer.binding import APT_LINE, PipelineError
from bisenet_edge.runtime.gstreamer.description import Pipeline
from bisenet_edge.runtime.gstreamer.registry import LAUNCH

STOP_S = 2.0
# The pictures that are sent are BGRx from the last converter on. Not the sink's own line alone: behind a
# queue gst-launch now and then does not print it (seen in 1.22, once in fifty starts).
_CAPS = re.compile(r"/Gst(?:CapsFilter|Queue|FdSink):\w+\.GstPad:\w+: caps = (video/x-raw.*\(string\)BGRx.*)")
_SIDE = r"\b{}=\(int\)(\d+)"
_ERROR = re.compile(r"^(?:ERROR: from element \S+: |WARNING: erroneous pipeline: )(.*)")


class LaunchedPipeline:
    """A running `gst-launch-1.0`. What it prints is taken in by `read_messages`, without blocking.

    Attributes:
        size_hw: (height, width) of the pictures that reach `fdsink`, once it is known.
        new_size_hw: the size that they have changed to since, if they have.
        fps: their nominal rate; nan if unknown.

    Args:
        pipeline: what to run.
        stdin: a file descriptor or `subprocess.PIPE` for `fdsrc fd=0`.
        pass_fds: descriptors that the pipeline names (`fdsink fd=N`); closed here after the start.

    Raises:
        MissingDependencyError: `gst-launch-1.0` is not installed.
    """

    def __init__(
        self, pipeline: Pipeline, *, stdin: int = subprocess.DEVNULL, pass_fds: Sequence[int] = ()
    ) -> None:
        program = shutil.which(LAUNCH)
        if program is None:
            raise MissingDependencyError("gst-launch-1.0 is not installed", fix=APT_LINE)
        self.process = subprocess.Popen(
            # -v prints the caps that were agreed on: the only place where the size of a frame is told.
            [program, "-v", *pipeline.words],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=pass_fds,
            start_new_session=True,  # Ctrl-C is for us: we end it when we are done
            env={**os.environ, "LC_ALL": "C", "GST_DEBUG_NO_COLOR": "1"},
        )
        for fd in pass_fds:
            os.close(fd)
        assert self.process.stdout is not None
        self.messages_fd = self.process.stdout.fileno()
        os.set_blocking(self.messages_fd, False)
        self._rest = b""
        self._tail: Deque[str] = deque(maxlen=20)
        self.size_hw: Optional[Tuple[int, int]] = None
        self.new_size_hw: Optional[Tuple[int, int]] = None
        self.fps = float("nan")

    def read_messages(self) -> bool:
        """Take in what the process has printed; sets the attributes. False once it prints no more."""
        try:
            data = os.read(self.messages_fd, 65536)
        except BlockingIOError:
            return True
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            text = line.decode(errors="replace")
            self._tail.append(text)
            found = _CAPS.search(text)
            if found:
                self._take_caps(found.group(1))
        return bool(data)

    def error(self) -> PipelineError:
        """Why it ended: its own words, after `read_messages`."""
        lines = list(self._tail)
        for index, line in enumerate(lines):
            found = _ERROR.match(line)
            if found:
                # Then "Additional debug info:", the place in GStreamer's source, and perhaps the reason.
                reason = "".join(lines[index + 3 : index + 4])
                known = not reason.startswith(("Execution ended", "Setting pipeline", "ERROR"))
                return PipelineError(found.group(1).rstrip("."), reason if known else "")
        code = self.process.poll()
        if code is None:
            return PipelineError("gst-launch-1.0 closed its pipe")
        return PipelineError("the stream ended" if code == 0 else f"gst-launch-1.0 ended with code {code}")

    def stop(self) -> None:
        """End the process; it is killed when it takes longer than `STOP_S`. May be called twice."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _take_caps(self, text: str) -> None:
        height, width = (re.search(_SIDE.format(side), text) for side in ("height", "width"))
        rate = re.search(r"framerate=\(fraction\)(\d+)/(\d+)", text)
        if height and width:
            size_hw = int(height.group(1)), int(width.group(1))
            self.size_hw = self.size_hw or size_hw
            self.new_size_hw = size_hw if size_hw != self.size_hw else self.new_size_hw
        if rate and int(rate.group(1)) and int(rate.group(2)):
            self.fps = int(rate.group(1)) / int(rate.group(2))
