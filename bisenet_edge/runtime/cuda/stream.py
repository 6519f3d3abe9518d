"""A stream: work that the GPU does in order; and events: points in it that can be waited for."""

from __future__ import annotations

from ctypes import byref, c_float
from typing import Dict

from bisenet_edge.errors import BackendError
from bisenet_edge.runtime.cuda import symbols
from bisenet_edge.runtime.cuda.library import Cudart
from bisenet_edge.runtime.cuda.resource import Resource


class Stream(Resource):
    """A queue of work that waits for no other stream. Made by `CudaRuntime.stream`."""

    kind = "CUDA stream"

    def __init__(self, cudart: Cudart, live: Dict[Resource, None]) -> None:
        super().__init__(cudart, live)
        cudart.call("cudaStreamCreateWithFlags", byref(self._handle), symbols.STREAM_NON_BLOCKING)
        self._opened()

    @property
    def handle(self) -> int:
        """cudaStream_t as a number, for an engine (`execute_async_v3`)."""
        return self.argument.value or 0

    def synchronize(self) -> None:
        """Wait until everything in the stream is done.

        Raises:
            CudaError: something in it has failed.
            BackendError: the stream is closed.
        """
        self._cudart.call("cudaStreamSynchronize", self.argument)

    def _free(self) -> None:
        self._cudart.call("cudaStreamDestroy", self._handle)


class Event(Resource):
    """A point in a stream. Made by `CudaRuntime.event`.

    Every method raises BackendError when the event is closed, and CudaError when CUDA fails.
    """

    kind = "CUDA event"

    def __init__(self, cudart: Cudart, live: Dict[Resource, None], timing: bool) -> None:
        super().__init__(cudart, live)
        self._timing = timing
        self._elapsed_ms = c_float()
        # An event that keeps no time is cheaper to record and to wait for.
        flags = symbols.EVENT_DEFAULT if timing else symbols.EVENT_DISABLE_TIMING
        cudart.call("cudaEventCreateWithFlags", byref(self._handle), flags)
        self._opened()

    def record(self, stream: Stream) -> None:
        """Put the event behind all that is in the stream now."""
        self._cudart.call("cudaEventRecord", self.argument, stream.argument)

    def synchronize(self) -> None:
        """Wait for the work in front of the event; at once if it was never recorded."""
        self._cudart.call("cudaEventSynchronize", self.argument)

    def done(self) -> bool:
        """Whether the work in front of the event is done; True if it was never recorded."""
        code = self._cudart.code("cudaEventQuery", self.argument)
        if code == symbols.NOT_READY:
            # CUDA records this answer as an error; whoever asks for the last error must not find it.
            self._cudart.code("cudaGetLastError")
            return False
        if code != symbols.SUCCESS:
            raise self._cudart.failure("cudaEventQuery", code)
        return True

    def elapsed_ms(self, since: Event) -> float:
        """Time on the GPU from `since` to this event, in milliseconds (resolution about 0.0005).

        Raises:
            BackendError: one of the two was made without `timing`.
            CudaError: one of the two was not recorded or is not done.
        """
        if not (self._timing and since._timing):
            raise BackendError(
                "a CUDA event that keeps no time was asked for it", fix="make both with event(timing=True)"
            )
        self._cudart.call("cudaEventElapsedTime", byref(self._elapsed_ms), since.argument, self.argument)
        return self._elapsed_ms.value

    def _free(self) -> None:
        self._cudart.call("cudaEventDestroy", self._handle)
