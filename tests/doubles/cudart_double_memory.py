"""The memory of `cudart_double`: pinned, mapped and on the device."""
# ruff: noqa: N802 (functions have their CUDA names)

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from cudart_double_base import MisuseError, give, known, number
from cudart_double_work import Work

from bisenet_edge.runtime.cuda import symbols

FRESH, FREED = 0xCD, 0xDD
FIRST_ADDRESS = 0x7F_0000_0000
"""Far from where a process has its memory."""


class Memory(Work):
    """Allocations and copies."""

    def __init__(self, total_bytes: int, integrated: bool) -> None:
        super().__init__()
        self.total_bytes = total_bytes
        self._integrated = integrated
        self._allocations = 0
        self._next_address = FIRST_ADDRESS
        self._host: dict[int, np.ndarray] = {}
        self._device: dict[int, np.ndarray] = {}
        self._device_of_host: dict[int, int] = {}
        self._freed: list[np.ndarray] = []  # kept, so that a late look reads 0xDD instead of crashing

    def view(self, device_address: int, nbytes: int) -> np.ndarray:
        """uint8 [nbytes]: device memory, to read and write. Raises MisuseError if it is not alive."""
        for base, memory in self._device.items():
            start = device_address - base
            if start >= 0 and start + nbytes <= len(memory):
                return memory[start : start + nbytes]
        for base, memory in self._host.items():
            if 0 <= device_address - base < len(memory):
                raise MisuseError(f"{device_address:#x} is a host address; an engine needs IoBuffer.device")
        raise MisuseError(f"{nbytes} bytes at {device_address:#x} are not device memory, or no longer")

    def _used_bytes(self) -> int:
        pinned = self._host if self._integrated else {}
        mapped = self._mapped_addresses()
        device = [m for address, m in self._device.items() if address not in mapped]
        return sum(map(len, (*device, *pinned.values())))

    def _mapped_addresses(self) -> set[int]:
        return set(self._device_of_host.values())

    def _cudaMemGetInfo(self, free: Any, total: Any) -> int:
        give(free, ctypes.c_size_t, self.total_bytes - self._used_bytes())
        return give(total, ctypes.c_size_t, self.total_bytes)

    def _allocate(self, nbytes: int) -> np.ndarray | None:
        if nbytes <= 0:
            raise MisuseError(f"an allocation of {nbytes} bytes")
        self._allocations += 1
        too_much = self._used_bytes() + nbytes > self.total_bytes
        if too_much or self._allocations == self.faults.out_of_memory_at:
            return None
        return np.full(nbytes, FRESH, np.uint8)

    def _place(self, memory: np.ndarray) -> int:
        """A device address; between two allocations lie at least 512 bytes that belong to nobody."""
        address = self._next_address
        self._next_address += (len(memory) + 1023) // 512 * 512
        self._device[address] = memory
        return address

    def _cudaMalloc(self, address: Any, nbytes: Any) -> int:
        memory = self._allocate(number(nbytes))
        return 2 if memory is None else give(address, ctypes.c_void_p, self._place(memory))

    def _cudaFree(self, address: Any) -> int:
        if number(address) in self._mapped_addresses():
            raise MisuseError("cudaFree of the device address of host memory")
        self._release(self._device, number(address), "device memory")
        return 0

    def _cudaHostAlloc(self, address: Any, nbytes: Any, flags: int) -> int:
        memory = self._allocate(number(nbytes))
        if memory is None:
            return 2
        self._host[memory.ctypes.data] = memory
        if flags == symbols.HOST_ALLOC_MAPPED:
            self._device_of_host[memory.ctypes.data] = self._place(memory)
        return give(address, ctypes.c_void_p, memory.ctypes.data)

    def _cudaHostGetDevicePointer(self, address: Any, host: Any, flags: int) -> int:
        if flags != 0 or number(host) not in self._device_of_host:
            return 1
        return give(address, ctypes.c_void_p, self._device_of_host[number(host)])

    def _cudaFreeHost(self, address: Any) -> int:
        self._release(self._host, number(address), "host memory")
        self._device.pop(self._device_of_host.pop(number(address), -1), None)
        return 0

    def _release(self, held: dict[int, np.ndarray], address: int, kind: str) -> None:
        known(held, address, kind)
        if self.queued and not self._sticky:
            raise MisuseError(f"{kind} {address:#x} is freed while work is queued")
        memory = held.pop(address)
        memory[:] = FREED
        self._freed.append(memory)

    def _cudaMemcpyAsync(self, to: Any, source: Any, nbytes: Any, kind: int, stream: Any) -> int:
        target, origin, count = number(to), number(source), number(nbytes)
        if kind == symbols.HOST_TO_DEVICE:
            views = (partial(self.view, target, count), partial(self._pinned, origin, count))
        elif kind == symbols.DEVICE_TO_HOST:
            views = (partial(self._pinned, target, count), partial(self.view, origin, count))
        else:
            return 1
        for view in views:
            view()  # raise at the call what would be raised when it runs
        work = partial(_copy, *views)
        self._put(known(self._streams, number(stream), "stream"), work)
        return 0

    def _pinned(self, address: int, nbytes: int) -> np.ndarray:
        for base, memory in self._host.items():
            if base <= address and address + nbytes <= base + len(memory):
                return memory[address - base : address - base + nbytes]
        raise MisuseError(f"{nbytes} bytes at {address:#x} are not pinned host memory")


def _copy(target: Callable[[], np.ndarray], source: Callable[[], np.ndarray]) -> None:
    target()[:] = source()
