"""Opening and describing a GPU, and the errors of every call, on doubles of the three majors."""

from __future__ import annotations

from contextlib import closing
from ctypes import CFUNCTYPE, c_int

import numpy as np
import pytest
from cudart_double import NO_DRIVER, CudartDouble, Faults, MisuseError
from toy_engine import SHAPE, Inverter, picture

from bisenet_edge.errors import BackendError
from bisenet_edge.runtime.cuda import CudaDevice, CudaError, CudaRuntime, symbols

MAJORS = (11, 12, 13)


@pytest.mark.parametrize("major", MAJORS)
def test_a_gpu_is_described_on_each_major_of_the_double(major):
    double = CudartDouble(
        major, integrated=True, compute_capability=(8, 7), name="Orin", total_mb=7620, driver=(13, 0)
    )
    with CudaRuntime.open(double) as cuda:
        assert cuda.device == CudaDevice("Orin", (8, 7), True, 8)
        assert cuda.versions == ({11: (11, 4), 12: (12, 6), 13: (13, 2)}[major], (13, 0))
        assert cuda.memory_mb() == (7620, 7620)
        with closing(cuda.buffer((1 << 20,), np.uint8)):
            assert cuda.memory_mb() == (7619, 7620)
    assert double.last_error == 0


def test_cuda_12_is_asked_for_properties_by_their_new_name():
    asked = {}
    for major in MAJORS:
        double = CudartDouble(major)
        CudaRuntime.open(double).close()
        asked[major] = [name for name in double.calls if "Properties" in name]
        assert hasattr(double, "cudaGetDeviceProperties_v2") == (major == 12)
    old = ["cudaGetDeviceProperties"]
    assert asked == {11: old, 12: ["cudaGetDeviceProperties_v2"], 13: old}


@pytest.mark.parametrize("major", MAJORS)
def test_without_a_driver_the_error_says_what_to_do_everywhere(major):
    double = CudartDouble(major, driver=NO_DRIVER)
    with pytest.raises(CudaError) as caught:
        CudaRuntime.open(double)
    error = caught.value
    assert (error.call, error.code, error.name) == ("cudaGetDeviceCount", 35, "cudaErrorInsufficientDriver")
    assert "cudaErrorInsufficientDriver (35): CUDA driver version is insufficient" in error.got
    assert "no driver" in error.got
    assert error.what == "the NVIDIA driver is missing or too old (cudaGetDeviceCount failed)"
    for remedy in ("apt install nvidia-jetpack", "docker run --runtime nvidia", "nvidia-smi"):
        assert remedy in error.fix
    assert double.live() == []


def test_a_driver_that_is_too_old_is_told_with_both_versions():
    with pytest.raises(CudaError) as caught:
        CudaRuntime.open(CudartDouble(13, driver=(12, 2)))
    assert "the driver serves CUDA 12.2, CudartDouble is CUDA 13.2" in caught.value.got


def test_without_a_device_the_error_says_what_to_do_everywhere():
    with pytest.raises(CudaError) as caught:
        CudaRuntime.open(CudartDouble(faults=Faults(no_device=True)))
    assert (caught.value.code, caught.value.name) == (100, "cudaErrorNoDevice")
    assert caught.value.what == "there is no NVIDIA GPU (cudaGetDeviceCount failed)"
    for remedy in ("group video", "docker run --runtime nvidia", "CUDA_VISIBLE_DEVICES"):
        assert remedy in caught.value.fix


def test_a_count_of_no_devices_is_the_same_error():
    double = CudartDouble()
    double.cudaGetDeviceCount = lambda count: 0
    with pytest.raises(CudaError) as caught:
        CudaRuntime.open(double)
    assert caught.value.name == "cudaErrorNoDevice"


def test_a_library_older_than_cuda_11_4_is_refused_by_the_names_it_lacks():
    double = CudartDouble(11)
    del double.cudaGraphInstantiateWithFlags
    with pytest.raises(BackendError, match="lacks functions") as caught:
        CudaRuntime.open(double)
    assert "CudartDouble: no cudaGraphInstantiateWithFlags" in caught.value.got
    assert "11.4" in caught.value.expected


def use_everything(library, double):
    with CudaRuntime.open(library) as cuda:
        stream, events = cuda.stream(), [cuda.event(timing=True), cuda.event(timing=True)]
        source, target = (cuda.buffer(SHAPE, np.uint8) for _ in range(2))
        engine = Inverter(double, source, target)

        def frame():
            source.upload(stream)
            engine.enqueue(stream)
            target.download(stream)

        events[0].record(stream)
        frame()
        stream.synchronize()
        graph = cuda.capture(stream, frame)
        source.host[:] = picture(7)
        graph.launch(stream)
        events[1].record(stream)
        while not events[1].done():
            pass
        events[1].synchronize()
        assert events[1].elapsed_ms(events[0]) > 0
        assert (target.host == 255 - picture(7)).all()


CHECKED = [name for name in symbols.CALLS if name not in ("cudaGetLastError", "cudaMemGetInfo")]


@pytest.mark.parametrize("integrated", [True, False])
@pytest.mark.parametrize("name", [*CHECKED, "cudaGetDeviceProperties_v2"])
def test_the_code_of_every_call_is_checked(name, integrated):
    double = CudartDouble(integrated=integrated, faults=Faults(returns={name: 999}))
    unused = ("cudaMalloc", "cudaFree", "cudaMemcpyAsync") if integrated else ("cudaHostGetDevicePointer",)
    if name in unused:
        use_everything(double, double)
        assert double.calls[name] == 0
    else:
        with pytest.raises(BackendError) as caught:
            use_everything(double, double)
        assert name in str(caught.value)
        assert "cudaErrorUnknown (999): unknown error" in caught.value.got
        assert double.last_error == 0  # the next library to ask finds nothing
    assert double.live() == []
    assert not double.capturing()


def test_memory_info_is_checked_too():
    double = CudartDouble(faults=Faults(returns={"cudaMemGetInfo": 999}))
    with CudaRuntime.open(double) as cuda, pytest.raises(CudaError, match="cudaMemGetInfo failed"):
        cuda.memory_mb()


class ThroughC:
    """The double behind C function pointers of our signatures: ctypes converts as for the library."""

    def __init__(self, double):
        self.double = double
        self.raised = []
        self.cudaGetErrorName = double.cudaGetErrorName
        self.cudaGetErrorString = double.cudaGetErrorString
        for name, arguments in [
            *symbols.CALLS.items(),
            (symbols.PROPERTIES[0], symbols.PROPERTIES_ARGUMENTS),
        ]:
            setattr(self, name, CFUNCTYPE(c_int, *arguments)(self.caught(getattr(double, name))))

    def caught(self, function):
        def call(*arguments):
            try:
                return function(*arguments)
            except MisuseError as error:
                self.raised.append(error)
                return 999

        return call


@pytest.mark.parametrize("integrated", [True, False])
def test_all_of_it_works_through_c_calls_on_a_double(integrated):
    double = CudartDouble(integrated=integrated)
    library = ThroughC(double)
    use_everything(library, double)
    assert library.raised == []
    assert double.live() == []
