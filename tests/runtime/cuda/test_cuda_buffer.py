"""Inputs and outputs of an engine, on doubles: data really goes both ways, and nothing leaks."""

from __future__ import annotations

import numpy as np
import pytest
from cudart_double import CudartDouble, Faults
from toy_engine import SHAPE, Inverter, picture

from bisenet_edge.errors import BackendError, UsageError
from bisenet_edge.runtime.cuda import CudaError, CudaRuntime

MAJORS = (11, 12, 13)
VARIABLE = "BISENET_EDGE_CUDA_MEMORY"


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.mark.parametrize("major", MAJORS)
@pytest.mark.parametrize(
    ("integrated", "capability", "mapped"),
    [
        (True, (8, 7), True),  # Orin
        (True, (7, 2), True),  # Xavier, the first to keep mapped memory cached
        (True, (11, 0), True),  # Thor
        (True, (6, 2), False),  # TX2
        (True, (5, 3), False),  # Nano
        (False, (8, 9), False),
        (False, (9, 0), False),
    ],
)
def test_data_goes_both_ways_in_the_memory_that_suits_the_gpu_on_the_double(
    major, integrated, capability, mapped
):
    double = CudartDouble(major, integrated=integrated, compute_capability=capability)
    with CudaRuntime.open(double) as cuda:
        stream = cuda.stream()
        source, target = cuda.buffer(SHAPE, np.uint8), cuda.buffer(SHAPE, np.uint8)
        assert (source.mapped, target.mapped) == (mapped, mapped)
        assert not source.host.any()
        engine = Inverter(double, source, target)
        for value in (1, 2):
            source.host[:] = picture(value)
            source.upload(stream)
            engine.enqueue(stream)
            target.download(stream)
            assert not (target.host == 255 - picture(value)).any()  # nothing ran yet
            stream.synchronize()
            assert (target.host == 255 - picture(value)).all()
        assert double.calls["cudaMemcpyAsync"] == (0 if mapped else 4)
    assert double.live() == []


@pytest.mark.parametrize("dtype", [np.uint8, "int32", np.float16, np.dtype("float32")])
def test_arrays_have_the_shape_and_dtype_asked_for(dtype):
    double = CudartDouble()
    with CudaRuntime.open(double) as cuda:
        buffer, stream = cuda.buffer([2, 3, 4], dtype), cuda.stream()
        assert (buffer.host.shape, buffer.host.dtype) == ((2, 3, 4), np.dtype(dtype))
        assert buffer.nbytes == buffer.host.nbytes == 24 * np.dtype(dtype).itemsize
        assert buffer.device % 256 == 0
        buffer.host[...] = np.arange(24).reshape(2, 3, 4)
        buffer.upload(stream)
        stream.synchronize()
        on_device = double.view(buffer.device, buffer.nbytes).view(dtype)
        assert on_device.tolist() == list(range(24))


def test_a_scalar_has_an_array_too():
    with CudaRuntime.open(CudartDouble()) as cuda:
        assert cuda.buffer((), np.float32).host.shape == ()


@pytest.mark.parametrize(
    ("shape", "dtype"), [((0, 3), np.uint8), ((-1, 3), np.uint8), ((-1, -3), np.uint8), ((2,), object)]
)
def test_an_array_without_numbers_is_refused(shape, dtype):
    double = CudartDouble()
    with CudaRuntime.open(double) as cuda, pytest.raises(BackendError, match="no memory can be made"):
        cuda.buffer(shape, dtype)
    assert double.live() == []


@pytest.mark.parametrize("integrated", [True, False])
def test_the_kind_of_memory_can_be_told(integrated, monkeypatch):
    with CudaRuntime.open(CudartDouble(integrated=integrated)) as cuda:
        assert cuda.buffer(SHAPE, np.uint8).mapped == integrated
        assert cuda.buffer(SHAPE, np.uint8, "mapped").mapped
        assert not cuda.buffer(SHAPE, np.uint8, memory="pinned").mapped
    for told, other in (("mapped", "pinned"), ("pinned", "mapped")):
        monkeypatch.setenv(VARIABLE, told)
        with CudaRuntime.open(CudartDouble(integrated=integrated)) as cuda:
            assert cuda.buffer(SHAPE, np.uint8).mapped == (told == "mapped")
            assert cuda.buffer(SHAPE, np.uint8, other).mapped == (other == "mapped")


def test_a_kind_of_memory_that_is_not_known_is_refused(monkeypatch):
    with CudaRuntime.open(CudartDouble()) as cuda, pytest.raises(UsageError) as caught:
        cuda.buffer(SHAPE, np.uint8, "managed")
    assert caught.value.expected == "mapped, pinned"
    monkeypatch.setenv(VARIABLE, "mappd")
    with pytest.raises(UsageError, match=f"value of {VARIABLE}") as caught:
        CudaRuntime.open(CudartDouble())
    assert caught.value.fix == "did you mean 'mapped'?"


def test_a_gpu_that_cannot_map_gets_pinned_memory_unless_mapped_was_told():
    double = CudartDouble(integrated=True)
    double.attributes[19] = 0
    with CudaRuntime.open(double) as cuda:
        assert not cuda.buffer(SHAPE, np.uint8).mapped
        with pytest.raises(BackendError, match="cannot map host memory") as caught:
            cuda.buffer(SHAPE, np.uint8, "mapped")
    assert caught.value.fix == f"export {VARIABLE}=pinned"


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_out_of_memory_tells_what_there_is_and_keeps_nothing(nth):
    double = CudartDouble(total_mb=100, faults=Faults(out_of_memory_at=nth))
    with CudaRuntime.open(double) as cuda:
        with pytest.raises(CudaError) as caught:
            for _ in range(2):
                cuda.buffer((30, 1 << 20), np.uint8)
        left = len(double.live())
        assert left == (0 if nth <= 2 else 2)  # the first buffer, whole
    error = caught.value
    assert (error.code, error.call) == (2, "cudaHostAlloc" if nth % 2 else "cudaMalloc")
    free = 100 if nth <= 2 else 70
    told = f"cudaErrorMemoryAllocation (2): out of memory; {free} of 100 MB are free; 30.0 MB were asked for"
    assert error.got == told
    assert error.fix
    assert double.live() == []
    assert double.last_error == 0


def test_out_of_memory_on_a_board_counts_what_is_mapped():
    double = CudartDouble(integrated=True, total_mb=100)
    with CudaRuntime.open(double) as cuda:
        cuda.buffer((60, 1 << 20), np.uint8)
        with pytest.raises(CudaError, match="cudaHostAlloc failed") as caught:
            cuda.buffer((60, 1 << 20), np.uint8)
    assert "40 of 100 MB are free; 60.0 MB were asked for" in caught.value.got


def test_memory_that_cannot_be_mapped_is_given_back():
    double = CudartDouble(integrated=True, faults=Faults(returns={"cudaHostGetDevicePointer": 999}))
    with CudaRuntime.open(double) as cuda:
        with pytest.raises(CudaError, match="cudaHostGetDevicePointer failed"):
            cuda.buffer(SHAPE, np.uint8)
        assert double.live() == []


def test_when_one_half_cannot_be_freed_the_other_is():
    double = CudartDouble(faults=Faults(returns={"cudaFree": 999}))
    with CudaRuntime.open(double) as cuda:
        buffer = cuda.buffer(SHAPE, np.uint8)
        with pytest.raises(CudaError, match="cudaFree failed"):
            buffer.close()
        assert (double.calls["cudaFree"], double.calls["cudaFreeHost"]) == (1, 1)
        buffer.close()
        assert double.calls["cudaFree"] == 1
