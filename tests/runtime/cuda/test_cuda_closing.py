"""Closing gives everything back: in order, after failures, and when it is forgotten."""

from __future__ import annotations

import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
from cudart_double import CudartDouble, Faults
from toy_engine import SHAPE, Inverter

from bisenet_edge.errors import BackendError
from bisenet_edge.runtime.cuda import CudaError, CudaRuntime


@pytest.mark.parametrize("integrated", [True, False])
def test_closing_frees_everything_that_is_still_open(integrated):
    double = CudartDouble(integrated=integrated)
    cuda = CudaRuntime.open(double)
    source, stream, target = cuda.buffer(SHAPE, np.uint8), cuda.stream(), cuda.buffer(SHAPE, np.uint8)
    engine, event = Inverter(double, source, target), cuda.event()
    graph = cuda.capture(stream, lambda: engine.enqueue(stream))
    graph.launch(stream)
    target.download(stream)
    event.record(stream)
    assert double.queued > 0  # closing has to wait for it
    cuda.close()
    cuda.close()
    assert double.live() == []
    assert double.queued == 0
    for used in (
        stream.synchronize,
        lambda: stream.handle,
        event.done,
        event.synchronize,
        lambda: event.record(stream),
        lambda: source.host,
        lambda: source.device,
        lambda: graph.launch(stream),
        cuda.stream,
        cuda.event,
        cuda.memory_mb,
        lambda: cuda.buffer(SHAPE, np.uint8),
        lambda: cuda.capture(stream, lambda: None),
        lambda: source.upload(stream),
    ):
        with pytest.raises(BackendError, match="is closed"):
            used()


def test_each_piece_can_be_closed_by_itself_and_twice():
    double = CudartDouble()
    with CudaRuntime.open(double) as cuda:
        stream, event, buffer = cuda.stream(), cuda.event(), cuda.buffer(SHAPE, np.uint8)
        graph = cuda.capture(stream, lambda: buffer.upload(stream))
        buffer.upload(stream)
        for piece in (buffer, stream, event, graph):
            piece.close()
            piece.close()
        assert double.live() == []
        assert double.queued == 0


def test_what_is_closed_is_forgotten():
    with CudaRuntime.open(CudartDouble()) as cuda:
        buffer = cuda.buffer(SHAPE, np.uint8)
        gone = weakref.ref(buffer)
        buffer.close()
        del buffer
        assert gone() is None


def test_the_newest_is_closed_first():
    double, freed = CudartDouble(), []

    def told(name, free):
        return lambda handle: (freed.append(name), free(handle))[1]

    names = ["cudaStreamDestroy", "cudaFreeHost", "cudaGraphExecDestroy", "cudaEventDestroy"]
    for name in names:
        setattr(double, name, told(name, getattr(double, name)))
    with CudaRuntime.open(double) as cuda:
        stream, buffer = cuda.stream(), cuda.buffer(SHAPE, np.uint8)
        cuda.capture(stream, lambda: buffer.upload(stream))
        cuda.event()
    assert freed == names[::-1]


def test_a_closed_stream_is_refused_by_what_uses_it():
    double = CudartDouble(integrated=True)
    with CudaRuntime.open(double) as cuda:
        stream, buffer, event = cuda.stream(), cuda.buffer(SHAPE, np.uint8), cuda.event()
        graph = cuda.capture(stream, lambda: Inverter(double, buffer, buffer).enqueue(stream))
        stream.close()
        for use in (buffer.upload, buffer.download, event.record, graph.launch):
            with pytest.raises(BackendError, match="this CUDA stream is closed"):
                use(stream)


def test_the_first_failure_is_told_and_all_the_same_everything_is_freed():
    double = CudartDouble(faults=Faults(launch_at=1))
    with pytest.raises(CudaError) as caught, CudaRuntime.open(double) as cuda:
        stream, source, target = cuda.stream(), cuda.buffer(SHAPE, np.uint8), cuda.buffer(SHAPE, np.uint8)
        Inverter(double, source, target).enqueue(stream)
        stream.synchronize()
    assert (caught.value.call, caught.value.code) == ("cudaStreamSynchronize", 719)
    assert double.live() == []


def test_closing_tells_a_failure_that_nobody_has_waited_for():
    double = CudartDouble(faults=Faults(launch_at=1))
    cuda = CudaRuntime.open(double)
    stream, buffer = cuda.stream(), cuda.buffer(SHAPE, np.uint8)
    Inverter(double, buffer, buffer).enqueue(stream)
    with pytest.raises(CudaError) as caught:
        cuda.close()
    assert (caught.value.call, caught.value.name) == ("cudaDeviceSynchronize", "cudaErrorLaunchFailure")
    assert double.live() == []


FORGETFUL = """
import numpy as np
from cudart_double import CudartDouble
from bisenet_edge.runtime.cuda import CudaRuntime

double = CudartDouble(integrated={integrated})
cuda = CudaRuntime.open(double)
stream, event, buffer = cuda.stream(), cuda.event(), cuda.buffer((640, 360), np.uint8)
view = buffer.host[10:20]
graph = cuda.capture(stream, lambda: double.enqueue(stream.handle, lambda: None))
graph.launch(stream)
event.record(stream)
del {forgotten}
print(view.sum())
"""


@pytest.mark.parametrize("integrated", [True, False])
@pytest.mark.parametrize("forgotten", ["cuda", "stream, event, buffer, graph", "cuda, buffer, stream, event"])
def test_who_forgets_to_close_leaves_python_in_peace(integrated, forgotten):
    script = FORGETFUL.format(integrated=integrated, forgotten=forgotten)
    doubles = Path(sys.modules["cudart_double"].__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(doubles)!r})\n{script}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")
