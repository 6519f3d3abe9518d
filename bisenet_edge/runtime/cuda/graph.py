"""CUDA graphs: the launches of one frame recorded once, and given to the GPU in one call from then on.

Source: CUDA C++ Programming Guide, "Creating a Graph Using Stream Capture"; TensorRT developer guide, "CUDA
Graphs".
"""

from __future__ import annotations

from ctypes import byref, c_size_t
from typing import Callable, Dict

from bisenet_edge.errors import BackendError
from bisenet_edge.runtime.cuda import symbols
from bisenet_edge.runtime.cuda.failures import CaptureError, CudaError
from bisenet_edge.runtime.cuda.library import Cudart
from bisenet_edge.runtime.cuda.resource import Resource
from bisenet_edge.runtime.cuda.stream import Stream
from bisenet_edge.runtime.cuda.symbols import HANDLE


class Graph(Resource):
    """Recorded work, with the addresses it was recorded with. Made by `CudaRuntime.capture`.

    Args:
        cudart: the library.
        live: the open resources of the runtime.
        template: the cudaGraph_t that was captured; stays the caller's.
    """

    kind = "CUDA graph"

    def __init__(self, cudart: Cudart, live: Dict[Resource, None], template: HANDLE) -> None:
        super().__init__(cudart, live)
        cudart.call("cudaGraphInstantiateWithFlags", byref(self._handle), template, 0)
        self._opened()

    def launch(self, stream: Stream) -> None:
        """Put the recorded work into a stream.

        Raises:
            CudaError: CUDA refuses.
            BackendError: the graph or the stream is closed.
        """
        self._cudart.call("cudaGraphLaunch", self.argument, stream.argument)

    def _free(self) -> None:
        self._cudart.call("cudaGraphExecDestroy", self._handle)


def capture(cudart: Cudart, live: Dict[Resource, None], stream: Stream, work: Callable[[], None]) -> Graph:
    """Record what `work` puts into `stream`; see `CudaRuntime.capture`."""
    try:
        # Thread-local: what other threads do with CUDA meanwhile (a camera's decoder) is their affair.
        cudart.call("cudaStreamBeginCapture", stream.argument, symbols.CAPTURE_THREAD_LOCAL)
    except CudaError as error:
        raise CaptureError(_reason(error)) from error
    template = HANDLE()
    try:
        try:
            work()
        finally:
            # Also when `work` fails: until its capture has ended a stream can do nothing else.
            code = cudart.code("cudaStreamEndCapture", stream.argument, byref(template))
            cudart.code("cudaGetLastError")
        if code != symbols.SUCCESS:
            raise cudart.failure("cudaStreamEndCapture", code)
        _check_not_empty(cudart, template)
        return Graph(cudart, live, template)
    except BackendError as error:
        raise CaptureError(_reason(error)) from error
    finally:
        if template.value is not None:
            cudart.call("cudaGraphDestroy", template)


def _check_not_empty(cudart: Cudart, template: HANDLE) -> None:
    nodes = c_size_t()
    cudart.call("cudaGraphGetNodes", template, None, byref(nodes))
    if nodes.value == 0:
        # CUDA would take it, and every launch would leave the last mask where it is.
        raise BackendError("nothing was put into the stream")


def _reason(error: BackendError) -> str:
    return f"{error.what}: {error.got}" if error.got else error.what
