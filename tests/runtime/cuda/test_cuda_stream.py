"""Streams and events, on a double whose work runs as late as it can."""

from __future__ import annotations

import numpy as np
import pytest
from cudart_double import CudartDouble, Faults
from toy_engine import SHAPE, Slot, picture

from bisenet_edge.errors import BackendError
from bisenet_edge.runtime.cuda import CudaError, CudaRuntime

MAJORS = (11, 12, 13)


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
