"""CUDA without torch: memory, a stream, events and graphs through ctypes over libcudart 11, 12 or 13.

    with CudaRuntime.open() as cuda:
        stream, frame, done = cuda.stream(), cuda.buffer((1, 360, 640, 3), np.uint8), cuda.event()
        frame.host[:] = image        # then give frame.device to an engine
        frame.upload(stream)
        done.record(stream)
        done.synchronize()

JetPack brings libcudart, and no package of PyPI serves JetPack 5, 6 and 7 alike; what an engine needs of it
is some thirty functions, whose signatures are the same in the three majors (`symbols`).
"""

from bisenet_edge.runtime.cuda.buffer import IoBuffer
from bisenet_edge.runtime.cuda.failures import CaptureError, CudaError
from bisenet_edge.runtime.cuda.graph import Graph
from bisenet_edge.runtime.cuda.runtime import CudaDevice, CudaRuntime
from bisenet_edge.runtime.cuda.stream import Event, Stream

__all__ = [
    "CaptureError",
    "CudaDevice",
    "CudaError",
    "CudaRuntime",
    "Event",
    "Graph",
    "IoBuffer",
    "Stream",
]
