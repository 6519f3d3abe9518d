"""What an engine does with a stream and two addresses: the output is 255 minus the input."""

from __future__ import annotations

import numpy as np

from bisenet_edge.errors import BackendError

SHAPE = (4, 6)


class Inverter:
    """Works on device addresses only, as TensorRT does, and only when the stream comes to it."""

    def __init__(self, double, source, target):
        self.double = double
        self.source, self.target, self.nbytes = source.device, target.device, source.nbytes

    def enqueue(self, stream):
        code = self.double.enqueue(stream.handle, self.run)
        if code:
            raise BackendError("the engine refuses to run", got=code)

    def run(self):
        source = self.double.view(self.source, self.nbytes)
        self.double.view(self.target, self.nbytes)[:] = 255 - source


class Slot:
    """One frame in flight: its buffers, and the event behind its download."""

    def __init__(self, cuda, double):
        self.source, self.target = cuda.buffer(SHAPE, np.uint8), cuda.buffer(SHAPE, np.uint8)
        self.engine = Inverter(double, self.source, self.target)
        self.done = cuda.event()

    def work(self, stream):
        self.source.upload(stream)
        self.engine.enqueue(stream)
        self.target.download(stream)

    def submit(self, stream, image):
        self.source.host[:] = image
        self.work(stream)
        self.done.record(stream)

    def finish(self):
        self.done.synchronize()
        return self.target.host


def picture(value):
    """Uint8 [4, 6], another one for each value."""
    return (np.arange(24, dtype=np.uint8).reshape(SHAPE) * 3 + value).astype(np.uint8)
