"""A stand-in for libcudart 11, 12 or 13, for tests where there is no GPU.

    double = CudartDouble(12, integrated=True)
    with CudaRuntime.open(double) as cuda: ...
    assert double.live() == []

It is stricter than CUDA wherever CUDA forgives what is a mistake:
- Nothing that is put into a stream runs before somebody waits for it (`cudaStreamSynchronize`,
  `cudaEventSynchronize`, `cudaDeviceSynchronize`), asks (`cudaEventQuery` runs one piece of work, then
  answers) or a test says `run_some()`. So a wait that is missing shows as wrong data. Fresh memory is
  filled with 0xCD, freed memory with 0xDD.
- Device addresses are never host addresses, not even of mapped memory.
- `MisuseError` is raised, not an error code returned, for what would be undefined or silently slow: addresses
  and handles that are not alive, the default stream, memory freed or streams destroyed while work is queued,
  copies from memory that is not pinned.

A double of an engine uses `enqueue(stream_handle, work)` to put its work into a stream, and
`view(device_address, nbytes)` inside that work to read and write memory.
"""

# ruff: noqa: N802 (functions have their CUDA names)

from __future__ import annotations

import ctypes
from collections import Counter
from functools import partial
from typing import Any

from cudart_double_base import ERRORS, Faults, MisuseError, give
from cudart_double_memory import Memory

from bisenet_edge.runtime.cuda import symbols

__all__ = ["NO_DRIVER", "CudartDouble", "Faults", "MisuseError"]

VERSIONS = {11: (11, 4), 12: (12, 6), 13: (13, 2)}
PROPERTIES_BYTES = {11: 728, 12: 1032, 13: 1008}
NO_DRIVER = (0, 0)
WITHOUT_DEVICE = ("cudaGetLastError", "cudaDriverGetVersion")
NOT_WHILE_CAPTURING = (
    "cudaMalloc",
    "cudaFree",
    "cudaHostAlloc",
    "cudaFreeHost",
    "cudaDeviceSynchronize",
    "cudaStreamSynchronize",
)


class CudartDouble(Memory):
    """One GPU and the functions of one libcudart.

    Args:
        major: 11, 12 or 13; functions that this major lacks are absent.
        driver: CUDA version of the driver; None = the library's, `NO_DRIVER` = there is none. A driver of
            an older major is insufficient.
        integrated: whether the GPU shares the CPU's memory.
        compute_capability: of the GPU.
        name: of the GPU.
        total_mb: memory of the GPU, in 2^20 bytes; pinned host memory counts where it is integrated.
        faults: what goes wrong.

    Attributes:
        calls: how often each function was called.
        attributes: what cudaDeviceGetAttribute says, by number; a test may change them.
        last_error: what cudaGetLastError would return.
    """

    def __init__(
        self,
        major: int = 12,
        *,
        driver: tuple[int, int] | None = None,
        integrated: bool = False,
        compute_capability: tuple[int, int] = (8, 7),
        name: str = "GPU of the double",
        total_mb: int = 7620,
        faults: Faults | None = None,
    ) -> None:
        super().__init__(total_mb << 20, integrated)
        self.major = major
        self.driver = VERSIONS[major] if driver is None else driver
        self.name, self.compute_capability, self.integrated = name, compute_capability, integrated
        self.faults = faults or Faults()
        self.attributes = {
            symbols.MULTIPROCESSORS: 8,
            symbols.INTEGRATED: int(integrated),
            symbols.CAN_MAP_HOST_MEMORY: 1,
            symbols.COMPUTE_CAPABILITY_MAJOR: compute_capability[0],
            symbols.COMPUTE_CAPABILITY_MINOR: compute_capability[1],
        }
        self.calls: Counter[str] = Counter()
        self.last_error = 0
        for function, arguments in self._functions():
            setattr(self, function, partial(self._call, function, arguments))
        self.cudaGetErrorName = lambda code: ERRORS.get(code, ("unrecognized error code",))[0].encode()
        self.cudaGetErrorString = lambda code: ERRORS.get(code, ("", "unrecognized error code"))[1].encode()

    def _functions(self) -> list[tuple[str, tuple[Any, ...]]]:
        properties = symbols.PROPERTIES if self.major == 12 else symbols.PROPERTIES[1:]
        return [*symbols.CALLS.items(), *((name, symbols.PROPERTIES_ARGUMENTS) for name in properties)]

    # What doubles of engines and tests use

    def live(self) -> list[str]:
        """What has been given out and not taken back, in words; empty when nothing leaks."""
        named = {
            "host memory": self._host,
            "device memory": {a: m for a, m in self._device.items() if a not in self._mapped_addresses()},
            "stream": self._streams,
            "event": self._events,
            "graph": self._graphs,
            "executable graph": self._executables,
        }
        return [f"{kind} {handle:#x}" for kind, held in named.items() for handle in held]

    # How calls come in

    def _call(self, name: str, kinds: tuple[Any, ...], *arguments: Any) -> int:
        self.calls[name] += 1
        if len(arguments) != len(kinds):
            raise MisuseError(f"{name} takes {len(kinds)} arguments, got {len(arguments)}")
        for kind, argument in zip(kinds, arguments):
            kind.from_param(argument)  # ctypes.ArgumentError, as from the library itself
        if name in NOT_WHILE_CAPTURING and self.capturing():
            for stream in self._streams.values():
                stream.invalidated = stream.captured is not None
            return self._remember(900)
        frees = name.startswith("cudaFree") or name.endswith(("Destroy", "EndCapture"))
        refusal = self._refusal(name)
        if refusal and not frees:
            return self._remember(refusal)
        code = getattr(self, f"_{name}")(*arguments)
        return self._remember(refusal or code) if name != "cudaGetLastError" else code

    def _refusal(self, name: str) -> int:
        if name in self.faults.returns:
            return self.faults.returns[name]
        if name not in WITHOUT_DEVICE:
            without_driver = self.driver[0] < self.major
            if without_driver and (name != "cudaRuntimeGetVersion" or self.major == 11):
                return 35
            if self.faults.no_device and name != "cudaRuntimeGetVersion":
                return 100
            if self._sticky:
                return self._sticky
        return 0

    def _remember(self, code: int) -> int:
        self.last_error = code or self.last_error
        return code

    # Errors, versions, the device

    def _cudaGetLastError(self) -> int:
        code, self.last_error = self.last_error, self._sticky
        return code

    def _cudaRuntimeGetVersion(self, version: Any) -> int:
        return give(version, ctypes.c_int, VERSIONS[self.major][0] * 1000 + VERSIONS[self.major][1] * 10)

    def _cudaDriverGetVersion(self, version: Any) -> int:
        return give(version, ctypes.c_int, self.driver[0] * 1000 + self.driver[1] * 10)

    def _cudaGetDeviceCount(self, count: Any) -> int:
        return give(count, ctypes.c_int, 1)

    def _cudaSetDevice(self, device: int) -> int:
        return 0 if device == 0 else 1

    def _cudaDeviceGetAttribute(self, value: Any, attribute: int, device: int) -> int:
        if attribute not in self.attributes or device != 0:
            return 1
        return give(value, ctypes.c_int, self.attributes[attribute])

    def _cudaGetDeviceProperties(self, properties: Any, device: int, size: int = 0) -> int:
        # By its old name CUDA 12 gives the old layout.
        size = size or PROPERTIES_BYTES[11 if self.major == 12 else self.major]
        if isinstance(properties, ctypes.Array) and ctypes.sizeof(properties) < size:
            raise MisuseError(f"cudaDeviceProp has {size} bytes, not {ctypes.sizeof(properties)}")
        name = self.name.encode()
        ctypes.memmove(properties, name + bytes(256 - len(name)) + b"\xab" * (size - 256), size)
        return 0

    def _cudaGetDeviceProperties_v2(self, properties: Any, device: int) -> int:
        return self._cudaGetDeviceProperties(properties, device, PROPERTIES_BYTES[12])
