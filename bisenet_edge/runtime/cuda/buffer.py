"""One input or output of an engine: an array for the CPU and an address for the GPU.

An integrated GPU (Jetson) has its memory in common with the CPU: *mapped* host memory is one allocation with
an address on either side, and nothing is copied. On a discrete GPU it would be read over PCIe at every
access; there the host has *pinned* memory, the device has its own, and copies go through a stream.

Source: CUDA for Tegra application note, "Memory Selection": from compute capability 7.2 (Xavier) on, pinned
and mapped memory is I/O-coherent and stays cached on the CPU; before it is uncached, and slow to read.
"""

from __future__ import annotations

import ctypes
import math
from contextlib import suppress
from ctypes import byref, c_void_p
from typing import Dict, Tuple

import numpy as np

from bisenet_edge.errors import BackendError
from bisenet_edge.runtime.cuda import symbols
from bisenet_edge.runtime.cuda.library import Cudart
from bisenet_edge.runtime.cuda.resource import Resource, run_all
from bisenet_edge.runtime.cuda.stream import Stream


class IoBuffer(Resource):
    """Memory of one input or output. Made by `CudaRuntime.buffer`.

    Args:
        cudart: the library.
        live: the open resources of the runtime.
        shape: of the array.
        dtype: of the array.
        mapped: one allocation for CPU and GPU instead of two and copies.

    Raises:
        CudaError: out of memory, or CUDA fails otherwise; nothing stays allocated.
        BackendError: an array without elements, or of Python objects.

    Attributes:
        mapped: as given.
        nbytes: size, in bytes.
    """

    kind = "CUDA buffer"

    def __init__(
        self,
        cudart: Cudart,
        live: Dict[Resource, None],
        shape: Tuple[int, ...],
        dtype: np.dtype,
        mapped: bool,
    ) -> None:
        super().__init__(cudart, live)
        self.mapped = mapped
        self.nbytes = math.prod(shape) * dtype.itemsize
        if self.nbytes <= 0 or min(shape, default=1) < 0 or dtype.hasobject:
            raise BackendError(
                "no memory can be made for this array",
                got=f"{dtype} {list(shape)}",
                expected="numbers, and at least one of them",
            )
        self._host_address = c_void_p()
        self._device_address = c_void_p()
        try:
            self._allocate()
        except BackendError:
            with suppress(BackendError):
                self._free()
            raise
        address = self._host_address.value or 0
        memory = np.ctypeslib.as_array((ctypes.c_uint8 * self.nbytes).from_address(address))
        self._host = memory.view(dtype).reshape(shape)
        self._host[...] = 0
        self._opened()

    def _allocate(self) -> None:
        flags = symbols.HOST_ALLOC_MAPPED if self.mapped else symbols.HOST_ALLOC_DEFAULT
        self._cudart.call("cudaHostAlloc", byref(self._host_address), self.nbytes, flags)
        if self.mapped:
            address = byref(self._device_address)
            self._cudart.call("cudaHostGetDevicePointer", address, self._host_address, 0)
        else:
            self._cudart.call("cudaMalloc", byref(self._device_address), self.nbytes)

    @property
    def host(self) -> np.ndarray:
        """The array, zeros at first. Valid until `close`: copy what is to outlive the buffer.

        Raises:
            BackendError: the buffer is closed.
        """
        self.check_open()
        return self._host

    @property
    def device(self) -> int:
        """Address for the GPU, aligned to 256 bytes at least.

        Raises:
            BackendError: the buffer is closed.
        """
        self.check_open()
        return self._device_address.value or 0

    def upload(self, stream: Stream) -> None:
        """Put the copy from `host` to the GPU into a stream; mapped memory needs none.

        `host` must not be written before the stream has come past it.

        Raises:
            CudaError: CUDA refuses.
            BackendError: the buffer or the stream is closed.
        """
        self._copy(self._device_address, self._host_address, symbols.HOST_TO_DEVICE, stream)

    def download(self, stream: Stream) -> None:
        """Put the copy from the GPU to `host` into a stream; mapped memory needs none.

        `host` may be read when the stream has come past it (an event, or `Stream.synchronize`), mapped or
        not.

        Raises:
            CudaError: CUDA refuses.
            BackendError: the buffer or the stream is closed.
        """
        self._copy(self._host_address, self._device_address, symbols.DEVICE_TO_HOST, stream)

    def _copy(self, to: c_void_p, source: c_void_p, kind: int, stream: Stream) -> None:
        self.check_open()
        handle = stream.argument
        if not self.mapped:
            self._cudart.call("cudaMemcpyAsync", to, source, self.nbytes, kind, handle)

    def _free(self) -> None:
        run_all(self._free_device, self._free_host)

    def _free_device(self) -> None:
        if not self.mapped and self._device_address.value is not None:
            self._cudart.call("cudaFree", self._device_address)

    def _free_host(self) -> None:
        if self._host_address.value is not None:
            self._cudart.call("cudaFreeHost", self._host_address)
