"""A GPU opened for work: what it is, and everything that is made on it."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from ctypes import byref, c_int, c_size_t
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Callable, Dict, Optional, Tuple, Type

import numpy as np

from bisenet_edge.errors import BackendError, unknown_name
from bisenet_edge.runtime.cuda import symbols
from bisenet_edge.runtime.cuda.buffer import IoBuffer
from bisenet_edge.runtime.cuda.discovery import find_cudart
from bisenet_edge.runtime.cuda.graph import Graph, capture
from bisenet_edge.runtime.cuda.library import MB, Cudart
from bisenet_edge.runtime.cuda.resource import Resource, run_all
from bisenet_edge.runtime.cuda.stream import Event, Stream

MEMORY_VARIABLE = "BISENET_EDGE_CUDA_MEMORY"
"""Environment variable: "mapped" or "pinned" instead of what suits the GPU."""

MEMORY_KINDS = ("mapped", "pinned")

COHERENT_SINCE = (7, 2)
"""Compute capability from which an integrated GPU leaves mapped memory cached on the CPU (Xavier)."""


@dataclass(frozen=True)
class CudaDevice:
    """A GPU.

    Attributes:
        name: as the driver calls it ("Orin", "NVIDIA H100").
        compute_capability: (8, 7) on Orin.
        integrated: its memory is the CPU's.
        multiprocessors: how many.
    """

    name: str
    compute_capability: Tuple[int, int]
    integrated: bool
    multiprocessors: int


class CudaRuntime:
    """Device 0, as CUDA_VISIBLE_DEVICES orders them. `open` it, and `close` it when done.

    Streams, events, buffers and graphs that are still open are closed with it, the newest first. Not
    thread-safe; each method raises CudaError when CUDA fails, and BackendError after `close`.

    Attributes:
        device: what the GPU is.
        versions: (of the library, the newest that the driver serves), each like (12, 6).
        library: path of libcudart.
    """

    def __init__(self, cudart: Cudart) -> None:
        self._memory = _known_memory(os.environ.get(MEMORY_VARIABLE, ""), f"value of {MEMORY_VARIABLE}")
        self._cudart = cudart
        self._live: Dict[Resource, None] = {}
        self._open = True
        self.library = cudart.path
        count = c_int()
        cudart.call("cudaGetDeviceCount", byref(count))
        if count.value == 0:
            raise cudart.failure("cudaGetDeviceCount", symbols.NO_DEVICE)
        cudart.call("cudaSetDevice", 0)
        self.versions = (cudart.version("cudaRuntimeGetVersion"), cudart.version("cudaDriverGetVersion"))
        self.device = CudaDevice(
            name=self._name(),
            compute_capability=(
                self._attribute(symbols.COMPUTE_CAPABILITY_MAJOR),
                self._attribute(symbols.COMPUTE_CAPABILITY_MINOR),
            ),
            integrated=bool(self._attribute(symbols.INTEGRATED)),
            multiprocessors=self._attribute(symbols.MULTIPROCESSORS),
        )

    @classmethod
    def open(cls, library: Optional[Any] = None) -> CudaRuntime:
        """Open the GPU.

        Args:
            library: libcudart as `ctypes.CDLL` or an object with its functions; None = find it.

        Raises:
            BackendError: no libcudart.
            CudaError: no driver, one that is too old, or no GPU.
            UsageError: `BISENET_EDGE_CUDA_MEMORY` is neither "mapped" nor "pinned".
        """
        return cls(find_cudart() if library is None else Cudart(library))

    def memory_mb(self) -> Tuple[int, int]:
        """(free, total) memory of the GPU in 2^20 bytes; on a Jetson that of the whole board."""
        self._check_open()
        free, total = c_size_t(), c_size_t()
        self._cudart.call("cudaMemGetInfo", byref(free), byref(total))
        return free.value // MB, total.value // MB

    def stream(self) -> Stream:
        """A new stream; it does not wait for the default one."""
        self._check_open()
        return Stream(self._cudart, self._live)

    def event(self, timing: bool = False) -> Event:
        """A new event; with `timing` it can tell the time between two."""
        self._check_open()
        return Event(self._cudart, self._live, timing)

    def buffer(self, shape: Tuple[int, ...], dtype: Any, memory: str = "") -> IoBuffer:
        """Memory for an input or an output of an engine, zeros at first.

        Args:
            shape: of the array.
            dtype: of the array, anything that numpy takes.
            memory: "mapped", "pinned", or "" = what `BISENET_EDGE_CUDA_MEMORY` says, else mapped on an
                integrated GPU of compute capability 7.2 or more and pinned elsewhere.

        Raises:
            UsageError: another kind of memory.
            BackendError: no elements, or a GPU that cannot map host memory.
        """
        self._check_open()
        mapped = self._is_mapped(_known_memory(memory, "kind of CUDA memory") or self._memory)
        return IoBuffer(self._cudart, self._live, tuple(shape), np.dtype(dtype), mapped)

    def capture(self, stream: Stream, work: Callable[[], None]) -> Graph:
        """Record what `work` puts into `stream`, to launch it as a whole.

        `work` is called once and nothing of it runs yet. It may put work into `stream` only, must neither
        wait nor allocate, and should have run once before, because engines allocate at the first run. The
        graph keeps the addresses: the buffers must outlive it.

        Raises:
            CaptureError: this work cannot be captured (`reason` says why); the stream is as before, and
                `work` can go on being called for each frame.
        """
        self._check_open()
        return capture(self._cudart, self._live, stream, work)

    def close(self) -> None:
        """Close all that is open, the newest first. May be called twice.

        Raises:
            CudaError: the first failure, after all has been tried.
        """
        self._open = False
        run_all(*(resource.close for resource in reversed(list(self._live))))

    def __enter__(self) -> CudaRuntime:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if error is None:
            self.close()
            return
        # Once a kernel has failed every call does: the first failure is the one to tell.
        with suppress(BackendError):
            self.close()

    def _check_open(self) -> None:
        if not self._open:
            raise BackendError("this CUDA runtime is closed", got=self.device.name)

    def _is_mapped(self, memory: str) -> bool:
        if memory == "pinned":
            return False
        device = self.device
        suits = device.integrated and device.compute_capability >= COHERENT_SINCE
        if not (suits or memory == "mapped"):
            return False
        if self._attribute(symbols.CAN_MAP_HOST_MEMORY):
            return True
        if memory:
            raise BackendError(
                "this GPU cannot map host memory", got=device.name, fix=f"export {MEMORY_VARIABLE}=pinned"
            )
        return False

    def _attribute(self, which: int) -> int:
        value = c_int()
        self._cudart.call("cudaDeviceGetAttribute", byref(value), which, 0)
        return value.value

    def _name(self) -> str:
        properties = ctypes.create_string_buffer(symbols.PROPERTIES_BYTES)
        self._cudart.call(self._cudart.properties, properties, 0)
        return properties.raw[: symbols.NAME_BYTES].split(b"\0")[0].decode("utf-8", "replace")


def _known_memory(name: str, kind: str) -> str:
    if name and name not in MEMORY_KINDS:
        raise unknown_name(kind, name, MEMORY_KINDS)
    return name
