"""Streams, events and graphs, on a double whose work runs as late as it can."""

from __future__ import annotations

import re
import tracemalloc

import numpy as np
import pytest
from cudart_double import CudartDouble, Faults
from toy_engine import SHAPE, Inverter, picture

from bisenet_edge.errors import BackendError
from bisenet_edge.runtime.cuda import CaptureError, CudaError, CudaRuntime

MAJORS = (11, 12, 13)


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


@pytest.mark.parametrize("integrated", [True, False])
@pytest.mark.parametrize("major", MAJORS)
def test_two_frames_are_in_flight_on_one_stream_of_the_double(major, integrated):
    double = CudartDouble(major, integrated=integrated)
    with CudaRuntime.open(double) as cuda:
        stream, slots = cuda.stream(), [Slot(cuda, double) for _ in range(2)]
        slots[0].submit(stream, picture(0))
        for index in range(1, 6):
            slots[index % 2].submit(stream, picture(index))
            before, behind = slots[(index - 1) % 2], slots[index % 2]
            queued = double.queued
            assert (before.finish() == 255 - picture(index - 1)).all()
            # Waiting for the one frame leaves the other, all of it, in the queue.
            assert double.queued == queued // 2
            assert not (behind.target.host == 255 - picture(index)).any()
        assert (slots[1].finish() == 255 - picture(5)).all()
        assert double.queued == 0
    assert double.live() == []


def test_a_missing_wait_shows_as_wrong_data_on_the_double():
    double = CudartDouble(integrated=True)
    with CudaRuntime.open(double) as cuda:
        stream, slot = cuda.stream(), Slot(cuda, double)
        slot.submit(stream, picture(1))
        slot.source.host[:] = picture(2)  # too early: the frame is not done
        assert (slot.finish() == 255 - picture(2)).all()


def test_an_event_is_done_when_its_stream_has_come_to_it():
    double = CudartDouble()
    with CudaRuntime.open(double) as cuda:
        stream, slot = cuda.stream(), Slot(cuda, double)
        assert slot.done.done()  # never recorded
        slot.submit(stream, picture(3))
        answers = []
        while not answers or not answers[-1]:
            answers.append(slot.done.done())
        assert answers == [False, False, False, True]
        assert (slot.target.host == 255 - picture(3)).all()
        assert double.last_error == 0


def test_an_event_recorded_again_means_the_later_point():
    double = CudartDouble()
    with CudaRuntime.open(double) as cuda:
        stream, event, buffer = cuda.stream(), cuda.event(), cuda.buffer(SHAPE, np.uint8)
        event.record(stream)
        buffer.upload(stream)
        event.record(stream)
        double.run_some()
        assert not event.done()
        event.synchronize()
        assert event.done()


def test_time_between_events_is_that_of_the_work_between_them():
    double = CudartDouble()
    with CudaRuntime.open(double) as cuda:
        stream, slot = cuda.stream(), Slot(cuda, double)
        start, end = cuda.event(timing=True), cuda.event(timing=True)
        start.record(stream)
        slot.work(stream)
        end.record(stream)
        with pytest.raises(CudaError, match="cudaEventElapsedTime") as caught:
            end.elapsed_ms(start)
        assert caught.value.name == "cudaErrorNotReady"
        end.synchronize()
        assert end.elapsed_ms(start) == pytest.approx(3.0)
        assert start.elapsed_ms(start) == 0.0
        for pair in ((slot.done, start), (start, slot.done)):
            with pytest.raises(BackendError, match="keeps no time") as refused:
                pair[0].elapsed_ms(pair[1])
            assert refused.value.fix == "make both with event(timing=True)"
        with pytest.raises(CudaError) as caught:
            end.elapsed_ms(cuda.event(timing=True))  # never recorded
        assert caught.value.code == 400


def test_a_failure_on_the_gpu_is_told_where_it_is_waited_for():
    for wait in ("stream", "event", "query"):
        double = CudartDouble(faults=Faults(launch_at=2))
        with pytest.raises(CudaError) as caught, CudaRuntime.open(double) as cuda:
            stream, slot = cuda.stream(), Slot(cuda, double)
            slot.submit(stream, picture(1))
            slot.finish()
            slot.submit(stream, picture(2))
            if wait == "stream":
                stream.synchronize()
            elif wait == "event":
                slot.done.synchronize()
            else:
                while not slot.done.done():
                    pass
        names = {
            "stream": "cudaStreamSynchronize",
            "event": "cudaEventSynchronize",
            "query": "cudaEventQuery",
        }
        assert (caught.value.call, caught.value.code) == (names[wait], 719)
        assert double.live() == []


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
