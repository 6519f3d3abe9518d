"""A frame leaves no memory behind."""

from __future__ import annotations

import tracemalloc

from cudart_double import CudartDouble
from toy_engine import Slot

from bisenet_edge.runtime.cuda import CudaRuntime

FRAMES = 10_000


def test_frames_leave_no_memory_behind_on_the_double():
    double = CudartDouble()
    ours = tracemalloc.Filter(inclusive=True, filename_pattern="*/bisenet_edge/runtime/cuda/*")
    with CudaRuntime.open(double) as cuda:
        stream, slot = cuda.stream(), Slot(cuda, double)
        graph = cuda.capture(stream, lambda: slot.work(stream))

        def frames(count):
            for _ in range(count):
                graph.launch(stream)
                slot.source.upload(stream)
                slot.target.download(stream)
                slot.done.record(stream)
                slot.done.synchronize()

        frames(10)
        tracemalloc.start()
        try:
            frames(10)
            before = tracemalloc.take_snapshot().filter_traces([ours])
            frames(FRAMES)
            after = tracemalloc.take_snapshot().filter_traces([ours])
        finally:
            tracemalloc.stop()
    grown = sum(line.size_diff for line in after.compare_to(before, "lineno"))
    assert grown < 1024


def nothing(*_):
    return 0


def test_a_frame_allocates_nothing_that_lasts_or_grows():
    library = CudartDouble()
    hot = ("cudaMemcpyAsync", "cudaGraphLaunch", "cudaEventRecord", "cudaEventSynchronize", "cudaEventQuery")
    real = {name: getattr(library, name) for name in hot}
    cuda = CudaRuntime.open(library)
    stream, slot = cuda.stream(), Slot(cuda, library)
    graph = cuda.capture(stream, lambda: slot.work(stream))
    functions = cuda._cudart._functions
    functions.update(dict.fromkeys(hot, nothing))

    def frames(count):
        for _ in range(count):
            slot.source.upload(stream)
            graph.launch(stream)
            slot.target.download(stream)
            slot.done.record(stream)
            slot.done.synchronize()
            slot.done.done()

    frames(10)
    tracemalloc.start()
    try:
        frames(10)
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        frames(FRAMES)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    functions.update(real)
    cuda.close()
    assert after - before < 256
    # The arguments of one call at a time.
    assert peak - before < 2048
