"""Graphs, and how to go on without, on a double whose work runs as late as it can."""

from __future__ import annotations

import re

import numpy as np
import pytest
from cudart_double import CudartDouble, Faults
from toy_engine import SHAPE, Slot, picture

from bisenet_edge.runtime.cuda import CaptureError, CudaRuntime

MAJORS = (11, 12, 13)


@pytest.mark.parametrize("integrated", [True, False])
@pytest.mark.parametrize("major", MAJORS)
def test_a_graph_does_the_captured_work_at_every_launch_on_the_double(major, integrated):
    double = CudartDouble(major, integrated=integrated)
    with CudaRuntime.open(double) as cuda:
        stream, slot = cuda.stream(), Slot(cuda, double)
        calls = []
        graph = cuda.capture(stream, lambda: (calls.append(1), slot.work(stream)))
        stream.synchronize()
        assert not slot.target.host.any()  # capturing runs nothing
        for value in (4, 5, 6):
            slot.source.host[:] = picture(value)
            graph.launch(stream)
            slot.done.record(stream)
            assert (slot.finish() == 255 - picture(value)).all()
        assert calls == [1]
        assert [kind.split()[0] for kind in double.live() if "graph" in kind] == ["executable"]
        graph.close()
        slot.submit(stream, picture(9))
        assert (slot.finish() == 255 - picture(9)).all()
    assert double.live() == []


def capture_or_else(cuda, stream, slot):
    """What a session does: a graph where it can be had, and the reason where not."""
    try:
        graph = cuda.capture(stream, lambda: slot.work(stream))
    except CaptureError as error:
        return (lambda: slot.work(stream)), error.reason
    return (lambda: graph.launch(stream)), ""


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        (Faults(), ""),
        (Faults(no_capture=True), "the engine refuses to run: 900"),
        (Faults(returns={"cudaStreamBeginCapture": 900}), r"cudaStreamBeginCapture failed: .* \(900\)"),
        (
            Faults(returns={"cudaGraphInstantiateWithFlags": 2}),
            r"out of GPU memory \(cudaGraphInst.*\(2\): out of memory; \d+ of",
        ),
        (Faults(returns={"cudaGraphGetNodes": 1}), r"cudaGraphGetNodes failed: .* \(1\)"),
    ],
)
def test_where_capture_fails_the_stream_goes_on_without_a_graph(faults, reason):
    double = CudartDouble(faults=faults)
    with CudaRuntime.open(double) as cuda:
        stream, slot = cuda.stream(), Slot(cuda, double)
        run, why = capture_or_else(cuda, stream, slot)
        assert re.match(reason, why)
        assert bool(why) == bool(reason)
        assert not double.capturing()
        assert double.last_error == 0
        slot.source.host[:] = picture(8)
        run()
        slot.done.record(stream)
        assert (slot.finish() == 255 - picture(8)).all()
    assert double.live() == []


def test_work_that_waits_cannot_be_captured():
    double = CudartDouble()
    with CudaRuntime.open(double) as cuda:
        stream, slot = cuda.stream(), Slot(cuda, double)

        def waits():
            slot.work(stream)
            stream.synchronize()

        for work in (waits, lambda: cuda.buffer(SHAPE, np.uint8)):
            with pytest.raises(CaptureError, match="cannot be captured") as caught:
                cuda.capture(stream, work)
            assert "cudaErrorStreamCaptureUnsupported (900)" in caught.value.reason
            assert not double.capturing()
        slot.submit(stream, picture(1))
        assert (slot.finish() == 255 - picture(1)).all()
    assert double.live() == []


def test_work_that_hides_its_failure_is_found_at_the_end_of_the_capture():
    double = CudartDouble(faults=Faults(no_capture=True))
    with CudaRuntime.open(double) as cuda:
        stream, slot = cuda.stream(), Slot(cuda, double)
        with pytest.raises(CaptureError) as caught:
            cuda.capture(stream, lambda: double.enqueue(stream.handle, slot.engine.run))
        assert "cudaErrorStreamCaptureInvalidated (901)" in caught.value.reason


def test_work_on_another_stream_is_no_graph():
    double = CudartDouble()
    with CudaRuntime.open(double) as cuda:
        stream, other, slot = cuda.stream(), cuda.stream(), Slot(cuda, double)
        with pytest.raises(CaptureError, match="nothing was put into the stream"):
            cuda.capture(stream, lambda: slot.work(other))
    assert double.live() == []


def test_an_error_of_the_caller_stays_what_it_is_and_ends_the_capture():
    double = CudartDouble()
    with CudaRuntime.open(double) as cuda:
        stream, slot = cuda.stream(), Slot(cuda, double)
        with pytest.raises(ZeroDivisionError):
            cuda.capture(stream, lambda: (slot.work(stream), 1 // 0))
        assert not double.capturing()
        assert not [kind for kind in double.live() if "graph" in kind]
        slot.submit(stream, picture(1))
        assert (slot.finish() == 255 - picture(1)).all()


def test_a_capture_inside_a_capture_leaves_the_outer_one_alone():
    double = CudartDouble()
    with CudaRuntime.open(double) as cuda:
        stream, slot = cuda.stream(), Slot(cuda, double)
        inner = []

        def outer():
            slot.work(stream)
            with pytest.raises(CaptureError) as caught:
                cuda.capture(stream, lambda: None)
            inner.append(caught.value.reason)

        graph = cuda.capture(stream, outer)
        assert "cudaErrorIllegalState (401)" in inner[0]
        slot.source.host[:] = picture(2)
        graph.launch(stream)
        stream.synchronize()
        assert (slot.target.host == 255 - picture(2)).all()
