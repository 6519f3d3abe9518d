"""The same round trips on a real GPU."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from bisenet_edge.errors import BackendError
from bisenet_edge.runtime.cuda import CaptureError, CudaRuntime

pytestmark = pytest.mark.gpu
SHAPE = (1, 360, 640, 3)
DEVICE_TO_DEVICE = 3


@pytest.fixture
def cuda():
    try:
        runtime = CudaRuntime.open()
    except BackendError as error:
        pytest.skip(f"needs a CUDA device: {error.what} ({error.got}); {error.fix}")
    with runtime:
        yield runtime


def noise(seed):
    return np.random.default_rng(seed).integers(0, 256, SHAPE, np.uint8)


class Copier:
    """Stands where an engine would: copies from one device address to another, on the stream."""

    def __init__(self, cuda, memory):
        self.cudart = cuda._cudart
        self.source, self.target = cuda.buffer(SHAPE, np.uint8, memory), cuda.buffer(SHAPE, np.uint8, memory)

    def frame(self, stream):
        self.source.upload(stream)
        to, source = ctypes.c_void_p(self.target.device), ctypes.c_void_p(self.source.device)
        nbytes = self.source.nbytes
        self.cudart.call("cudaMemcpyAsync", to, source, nbytes, DEVICE_TO_DEVICE, stream.argument)
        self.target.download(stream)


def test_the_gpu_is_described(cuda):
    assert cuda.device.name
    assert cuda.device.compute_capability >= (5, 0)
    assert cuda.device.multiprocessors > 0
    runtime, driver = cuda.versions
    assert runtime >= (11, 4)
    assert driver >= (11, 4)
    free, total = cuda.memory_mb()
    assert 0 < free <= total


@pytest.mark.parametrize("memory", ["mapped", "pinned"])
def test_data_goes_through_the_gpu_and_back(cuda, memory):
    stream, copier = cuda.stream(), Copier(cuda, memory)
    for seed in (1, 2):
        copier.source.host[:] = noise(seed)
        copier.frame(stream)
        stream.synchronize()
        assert (copier.target.host == noise(seed)).all()


@pytest.mark.parametrize("memory", ["mapped", "pinned"])
def test_two_frames_are_in_flight_on_one_stream(cuda, memory):
    stream = cuda.stream()
    slots = [(Copier(cuda, memory), cuda.event()) for _ in range(2)]
    for index in range(6):
        copier, done = slots[index % 2]
        if index >= 2:
            done.synchronize()
            assert (copier.target.host == noise(index - 2)).all()
        copier.source.host[:] = noise(index)
        copier.frame(stream)
        done.record(stream)
    stream.synchronize()
    assert all(done.done() for _, done in slots)


def test_events_tell_the_time(cuda):
    stream, copier = cuda.stream(), Copier(cuda, "pinned")
    start, end = cuda.event(timing=True), cuda.event(timing=True)
    start.record(stream)
    copier.frame(stream)
    end.record(stream)
    end.synchronize()
    assert end.elapsed_ms(start) > 0


@pytest.mark.parametrize("memory", ["mapped", "pinned"])
def test_a_graph_does_the_captured_work_at_every_launch(cuda, memory):
    stream, copier = cuda.stream(), Copier(cuda, memory)
    graph = cuda.capture(stream, lambda: copier.frame(stream))
    for seed in (3, 4):
        copier.source.host[:] = noise(seed)
        graph.launch(stream)
        stream.synchronize()
        assert (copier.target.host == noise(seed)).all()


def test_where_capture_fails_the_stream_goes_on(cuda):
    stream, copier = cuda.stream(), Copier(cuda, "pinned")
    with pytest.raises(CaptureError, match=r"\(90[01]\)"):
        cuda.capture(stream, stream.synchronize)
    with pytest.raises(CaptureError, match="nothing was put into the stream"):
        cuda.capture(stream, lambda: None)
    copier.source.host[:] = noise(5)
    copier.frame(stream)
    stream.synchronize()
    assert (copier.target.host == noise(5)).all()


def test_more_memory_than_there_is_is_told(cuda):
    _, total_mb = cuda.memory_mb()
    with pytest.raises(BackendError, match=r"\(2\)") as caught:
        cuda._cudart.call("cudaMalloc", ctypes.byref(ctypes.c_void_p()), total_mb << 21)
    assert "MB are free" in caught.value.got
