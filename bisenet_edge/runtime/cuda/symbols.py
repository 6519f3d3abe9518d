"""The functions of libcudart that are called, and the numbers they take.

Source: cuda_runtime_api.h and driver_types.h of CUDA 11.8, 12.9 and 13.5, where every function below has the
same signature and every number the same meaning. All are in the library since CUDA 11.4 (JetPack 5).
`cudaGraphInstantiate` is not here because its signature changed in CUDA 12.
"""

from __future__ import annotations

from ctypes import (
    POINTER,
    c_char_p,
    c_float,
    c_int,
    c_size_t,
    c_uint,
    c_ulonglong,
    c_void_p,
)
from typing import Any, Dict, Tuple

HANDLE = c_void_p
"""cudaStream_t, cudaEvent_t, cudaGraph_t, cudaGraphExec_t: pointers to what only CUDA knows."""

CALLS: Dict[str, Tuple[Any, ...]] = {
    "cudaGetLastError": (),
    "cudaRuntimeGetVersion": (POINTER(c_int),),
    "cudaDriverGetVersion": (POINTER(c_int),),
    "cudaGetDeviceCount": (POINTER(c_int),),
    "cudaSetDevice": (c_int,),
    "cudaDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cudaDeviceSynchronize": (),
    "cudaMemGetInfo": (POINTER(c_size_t), POINTER(c_size_t)),
    "cudaMalloc": (POINTER(c_void_p), c_size_t),
    "cudaFree": (c_void_p,),
    "cudaHostAlloc": (POINTER(c_void_p), c_size_t, c_uint),
    "cudaHostGetDevicePointer": (POINTER(c_void_p), c_void_p, c_uint),
    "cudaFreeHost": (c_void_p,),
    "cudaMemcpyAsync": (c_void_p, c_void_p, c_size_t, c_int, HANDLE),
    "cudaStreamCreateWithFlags": (POINTER(HANDLE), c_uint),
    "cudaStreamSynchronize": (HANDLE,),
    "cudaStreamDestroy": (HANDLE,),
    "cudaEventCreateWithFlags": (POINTER(HANDLE), c_uint),
    "cudaEventRecord": (HANDLE, HANDLE),
    "cudaEventSynchronize": (HANDLE,),
    "cudaEventQuery": (HANDLE,),
    "cudaEventElapsedTime": (POINTER(c_float), HANDLE, HANDLE),
    "cudaEventDestroy": (HANDLE,),
    "cudaStreamBeginCapture": (HANDLE, c_int),
    "cudaStreamEndCapture": (HANDLE, POINTER(HANDLE)),
    "cudaGraphGetNodes": (HANDLE, POINTER(HANDLE), POINTER(c_size_t)),
    "cudaGraphInstantiateWithFlags": (POINTER(HANDLE), HANDLE, c_ulonglong),
    "cudaGraphLaunch": (HANDLE, HANDLE),
    "cudaGraphExecDestroy": (HANDLE,),
    "cudaGraphDestroy": (HANDLE,),
}
"""Function -> argument types. Each returns a cudaError_t (int)."""

TEXTS: Dict[str, Tuple[Any, ...]] = {"cudaGetErrorName": (c_int,), "cudaGetErrorString": (c_int,)}
"""Functions that return text (char *)."""

TEXT = c_char_p

PROPERTIES = ("cudaGetDeviceProperties_v2", "cudaGetDeviceProperties")
"""Tried in this order: CUDA 12 has both (its header means the first), 11 and 13 have the second only."""

PROPERTIES_ARGUMENTS: Tuple[Any, ...] = (c_void_p, c_int)

PROPERTIES_BYTES = 8192
"""cudaDeviceProp has 728 to 1032 bytes, another layout in each major; in all it begins with the name."""

NAME_BYTES = 256

# cudaError_t
SUCCESS = 0
OUT_OF_MEMORY = 2
INSUFFICIENT_DRIVER = 35
NO_DEVICE = 100
NOT_READY = 600

# cudaDeviceAttr
MULTIPROCESSORS = 16
INTEGRATED = 18
CAN_MAP_HOST_MEMORY = 19
COMPUTE_CAPABILITY_MAJOR = 75
COMPUTE_CAPABILITY_MINOR = 76

# Flags
HOST_ALLOC_DEFAULT = 0
HOST_ALLOC_MAPPED = 2
STREAM_NON_BLOCKING = 1
EVENT_DEFAULT = 0
EVENT_DISABLE_TIMING = 2

# cudaMemcpyKind
HOST_TO_DEVICE = 1
DEVICE_TO_HOST = 2

# cudaStreamCaptureMode
CAPTURE_THREAD_LOCAL = 1
