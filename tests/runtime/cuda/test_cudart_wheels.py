"""The real libcudart of three majors, from NVIDIA's wheels: all but what needs a GPU."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys

import pytest

from bisenet_edge.errors import BackendError
from bisenet_edge.runtime.cuda import CudaError, CudaRuntime, symbols
from bisenet_edge.runtime.cuda.discovery import SONAMES, find_cudart, wheel_folders
from bisenet_edge.runtime.cuda.library import Cudart

WHEELS = {
    11: "nvidia-cuda-runtime-cu11>=11.7,<12",
    12: "nvidia-cuda-runtime-cu12>=12,<13",
    13: "nvidia-cuda-runtime>=13,<14",
}
NO_GPU = (35, 100)


@pytest.fixture(params=WHEELS, ids=lambda major: f"cuda{major}")
def library(request):
    """(major, path of the real libcudart)."""
    for folder in wheel_folders():
        if (folder / SONAMES[request.param]).is_file():
            return request.param, str(folder / SONAMES[request.param])
    pytest.skip(f"{SONAMES[request.param]} is not installed: pip install '{WHEELS[request.param]}'")


def without_gpu(path):
    code = Cudart(ctypes.CDLL(path)).code("cudaGetDeviceCount", ctypes.byref(ctypes.c_int()))
    if code == 0:
        pytest.skip("there is a GPU here: unset it to see the error, CUDA_VISIBLE_DEVICES=-1 pytest ...")
    assert code in NO_GPU


def test_every_function_is_in_the_library(library):
    major, path = library
    cudart = Cudart(ctypes.CDLL(path), path)
    assert cudart.path == path
    assert cudart.properties == symbols.PROPERTIES[0 if major == 12 else 1]
    assert set(cudart._functions) == {*symbols.CALLS, cudart.properties}


def test_the_caller_keeps_the_argument_types_of_his_own_library(library):
    loaded = ctypes.CDLL(library[1])
    Cudart(loaded)
    assert loaded.cudaMalloc.argtypes is None


# In a process of its own: a wrong signature may well crash it.
CALL_ALL = """
import ctypes, json, sys
from ctypes import byref
from bisenet_edge.runtime.cuda import symbols
from bisenet_edge.runtime.cuda.library import Cudart

cudart = Cudart(ctypes.CDLL(sys.argv[1]))
codes = {}
for name, kinds in symbols.CALLS.items():
    # Pointers to something, addresses of nothing, and zeros.
    pointed = [kind._type_ for kind in kinds]
    values = [byref(kind()) if not isinstance(kind, str) else None if kind == "P" else 0 for kind in pointed]
    codes[name] = cudart.code(name, *values)
buffer = ctypes.create_string_buffer(symbols.PROPERTIES_BYTES)
codes["properties"] = cudart.code(cudart.properties, buffer, 0)
codes["name"] = cudart.failure("cudaSetDevice", 35).name
print(json.dumps(codes))
"""


def test_every_function_takes_our_arguments_and_says_that_there_is_no_driver(library):
    without_gpu(library[1])
    done = subprocess.run(
        [sys.executable, "-c", CALL_ALL, library[1]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    codes = json.loads(done.stdout)
    assert codes.pop("name") == "cudaErrorInsufficientDriver"
    assert codes.pop("properties") in NO_GPU
    assert set(codes) == set(symbols.CALLS)
    always = {"cudaRuntimeGetVersion", "cudaDriverGetVersion", "cudaGetLastError"}
    assert {name for name, code in codes.items() if code not in NO_GPU} <= always


def test_without_a_gpu_opening_names_the_error(library):
    without_gpu(library[1])
    with pytest.raises(CudaError) as caught:
        CudaRuntime.open(ctypes.CDLL(library[1]))
    error = caught.value
    assert isinstance(error, BackendError)
    assert (error.call, error.code in NO_GPU) == ("cudaGetDeviceCount", True)
    assert error.name in ("cudaErrorInsufficientDriver", "cudaErrorNoDevice")
    assert f"{error.name} ({error.code}): " in error.got
    assert "docker run --runtime nvidia" in error.fix


def test_the_library_is_found_without_being_told(library):
    without_gpu(library[1])
    with pytest.raises(CudaError, match="cudaGetDeviceCount failed") as caught:
        CudaRuntime.open(find_cudart())
    assert "libcudart.so." in caught.value.got
