"""The double is as strict as it says: a mistake cannot pass on it."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_void_p

import numpy as np
import pytest
from cudart_double import CudartDouble, Faults, MisuseError
from toy_engine import SHAPE, Inverter, picture

from bisenet_edge.runtime.cuda import CudaRuntime, symbols


@pytest.fixture
def double():
    return CudartDouble()


@pytest.fixture
def cuda(double):
    with CudaRuntime.open(double) as cuda:
        yield cuda


def pointer(value):
    return c_void_p(value)


def test_a_host_address_is_no_device_address(double):
    integrated = CudartDouble(integrated=True)
    for each in (double, integrated):
        with CudaRuntime.open(each) as cuda:
            buffer = cuda.buffer(SHAPE, np.uint8)
            address = buffer.host.ctypes.data
            assert buffer.device != address
            with pytest.raises(MisuseError, match="is a host address; an engine needs"):
                each.view(address, buffer.nbytes)


def test_memory_can_be_seen_from_within_and_not_beyond(double, cuda):
    first, second = cuda.buffer((100,), np.uint8), cuda.buffer((100,), np.uint8)
    double.view(first.device + 10, 5)[:] = [1, 2, 3, 4, 5]
    assert double.view(first.device, 100)[9:16].tolist() == [0xCD, 1, 2, 3, 4, 5, 0xCD]
    for address, nbytes in ((first.device, 101), (first.device + 100, 1), (second.device - 1, 1), (0, 1)):
        with pytest.raises(MisuseError, match="not device memory"):
            double.view(address, nbytes)
    address = first.device
    first.close()
    with pytest.raises(MisuseError, match="not device memory, or no longer"):
        double.view(address, 1)


def test_freed_memory_reads_as_such(cuda):
    buffer = cuda.buffer((100,), np.uint8)
    kept = buffer.host
    buffer.close()
    assert (kept == 0xDD).all()


def test_freeing_twice_or_what_is_not_there_raises(double, cuda):
    buffer, stream, event = cuda.buffer(SHAPE, np.uint8), cuda.stream(), cuda.event()
    device, host = buffer.device, buffer.host.ctypes.data
    handles = (stream.handle, event.argument.value)
    for piece in (buffer, stream, event):
        piece.close()
    for free, address in (
        (double.cudaFree, device),
        (double.cudaFreeHost, host),
        (double.cudaFree, 0x1234),
        (double.cudaStreamDestroy, handles[0]),
        (double.cudaEventDestroy, handles[1]),
        (double.cudaStreamDestroy, 0x99),
        (double.cudaGraphDestroy, 0x99),
        (double.cudaGraphExecDestroy, 0x99),
    ):
        with pytest.raises(MisuseError):
            free(pointer(address))


def test_the_device_address_of_mapped_memory_is_not_freed_as_such():
    double = CudartDouble(integrated=True)
    with CudaRuntime.open(double) as cuda, pytest.raises(MisuseError, match="of host memory"):
        double.cudaFree(pointer(cuda.buffer(SHAPE, np.uint8).device))


def test_nothing_is_freed_under_queued_work(double, cuda):
    buffer, stream = cuda.buffer(SHAPE, np.uint8), cuda.stream()
    buffer.upload(stream)
    for free, address in (
        (double.cudaFree, buffer.device),
        (double.cudaFreeHost, buffer.host.ctypes.data),
        (double.cudaStreamDestroy, stream.handle),
    ):
        with pytest.raises(MisuseError, match="while work is queued"):
            free(pointer(address))


def test_copies_are_between_pinned_and_device_memory_on_a_stream(double, cuda):
    buffer, stream = cuda.buffer(SHAPE, np.uint8), cuda.stream()
    pageable = np.zeros(buffer.nbytes, np.uint8)
    device, host, handle = buffer.device, buffer.host.ctypes.data, stream.handle
    for to, source, nbytes, kind, where, told in (
        (device, pageable.ctypes.data, 24, symbols.HOST_TO_DEVICE, handle, "not pinned"),
        (device, host, 25, symbols.HOST_TO_DEVICE, handle, "not device memory"),
        (host, device, 24, symbols.HOST_TO_DEVICE, handle, "host address"),
        (device, host, 24, symbols.HOST_TO_DEVICE, 0, "is no stream"),
    ):
        with pytest.raises(MisuseError, match=told):
            double.cudaMemcpyAsync(pointer(to), pointer(source), nbytes, kind, pointer(where))
    assert double.queued == 0


def test_streams_that_wait_for_the_default_one_and_captures_of_all_threads_are_refused(double, cuda):
    with pytest.raises(MisuseError, match="default stream"):
        double.cudaStreamCreateWithFlags(byref(c_void_p()), 0)
    with pytest.raises(MisuseError, match="other threads"):
        double.cudaStreamBeginCapture(pointer(cuda.stream().handle), 0)


def test_arguments_are_checked_as_ctypes_does(double):
    with pytest.raises(MisuseError, match="takes 2 arguments, got 1"):
        double.cudaMalloc(byref(c_void_p()))
    with pytest.raises((ctypes.ArgumentError, TypeError)):
        double.cudaFree(1.5)
    with pytest.raises((ctypes.ArgumentError, TypeError)):
        double.cudaMalloc(byref(ctypes.c_int()), 10)


def test_work_runs_when_it_is_waited_for_and_not_before(double, cuda):
    stream, source, target = cuda.stream(), cuda.buffer(SHAPE, np.uint8), cuda.buffer(SHAPE, np.uint8)
    source.host[:] = picture(1)
    source.upload(stream)
    Inverter(double, source, target).enqueue(stream)
    target.download(stream)
    assert (double.queued, double.run_some()) == (3, 1)
    assert (double.view(source.device, 24) == picture(1).ravel()).all()
    assert (double.view(target.device, 24) == 0xCD).all()
    assert (double.queued, double.run_some(10), double.queued) == (2, 2, 0)
    assert (target.host == 255 - picture(1)).all()


def test_work_that_raises_is_heard_where_it_is_waited_for(double, cuda):
    stream = cuda.stream()
    double.enqueue(stream.handle, lambda: double.view(0x10, 1))
    with pytest.raises(MisuseError, match="0x10"):
        stream.synchronize()
    with pytest.raises(MisuseError, match="is no stream"):
        double.enqueue(0, lambda: None)


def test_work_under_capture_waits_for_its_launch(double, cuda):
    stream, ran = cuda.stream(), []
    graph = cuda.capture(stream, lambda: double.enqueue(stream.handle, lambda: ran.append(1)))
    stream.synchronize()
    assert ran == []
    for _ in range(3):
        graph.launch(stream)
    stream.synchronize()
    assert ran == [1, 1, 1]


def test_the_ledger_names_what_is_alive(double, cuda):
    assert double.live() == []
    pieces = [cuda.stream(), cuda.event(), cuda.buffer(SHAPE, np.uint8)]
    pieces.append(cuda.capture(pieces[0], lambda: pieces[2].upload(pieces[0])))
    kinds = sorted(line.rsplit(" ", 1)[0] for line in double.live())
    assert kinds == ["device memory", "event", "executable graph", "host memory", "stream"]


def test_a_failed_launch_is_final():
    double = CudartDouble(faults=Faults(launch_at=1))
    cuda = CudaRuntime.open(double)
    stream = cuda.stream()
    assert double.enqueue(stream.handle, lambda: None) == 0
    assert double.cudaStreamSynchronize(pointer(stream.handle)) == 719
    assert double.cudaMalloc(byref(c_void_p()), 10) == 719
    assert double.enqueue(stream.handle, lambda: None) == 719
    assert (double.cudaGetLastError(), double.cudaGetLastError()) == (719, 719)
