"""libcudart with the code of every call checked."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_int, c_size_t
from typing import Any, Callable, Dict, Tuple

from bisenet_edge.errors import BackendError
from bisenet_edge.runtime.cuda import symbols
from bisenet_edge.runtime.cuda.failures import CudaError

MB = 1 << 20


class Cudart:
    """The functions of one libcudart.

    Args:
        library: a loaded `ctypes.CDLL`, or an object with the same functions as attributes.
        path: where it was found, for messages.

    Raises:
        BackendError: the library lacks functions: it is older than CUDA 11.4.
    """

    def __init__(self, library: Any, path: str = "") -> None:
        self.path = path or str(getattr(library, "_name", "") or type(library).__name__)
        missing = [name for name in (*symbols.CALLS, *symbols.TEXTS) if not hasattr(library, name)]
        properties = [name for name in symbols.PROPERTIES if hasattr(library, name)]
        if missing or not properties:
            raise BackendError(
                "this CUDA runtime library lacks functions",
                got=f"{self.path}: no {', '.join(missing or symbols.PROPERTIES)}",
                expected="CUDA 11.4 or newer (JetPack 5 or newer)",
            )
        self.properties = properties[0]
        """Which of `symbols.PROPERTIES` is called."""
        calls = {**symbols.CALLS, self.properties: symbols.PROPERTIES_ARGUMENTS}
        self._functions: Dict[str, Callable[..., int]] = {
            name: _function(library, name, arguments, c_int) for name, arguments in calls.items()
        }
        self._texts: Dict[str, Callable[[int], bytes]] = {
            name: _function(library, name, arguments, symbols.TEXT)
            for name, arguments in symbols.TEXTS.items()
        }

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function.

        Raises:
            CudaError: it returned another code than cudaSuccess.
        """
        code = self._functions[name](*arguments)
        if code != symbols.SUCCESS:
            raise self.failure(name, code, arguments)

    def code(self, name: str, *arguments: Any) -> int:
        """Call a function and return its code, for those where a code is an answer."""
        return self._functions[name](*arguments)

    def failure(self, name: str, code: int, arguments: Tuple[Any, ...] = ()) -> CudaError:
        """The error for a code that the function `name` returned.

        CUDA's record of the last error is cleared: whoever asks for it next would take it for his own.
        """
        code_name = self._texts["cudaGetErrorName"](code).decode("ascii", "replace")
        told = self._texts["cudaGetErrorString"](code).decode("utf-8", "replace")
        self._functions["cudaGetLastError"]()
        if code == symbols.OUT_OF_MEMORY:
            told += self._memory_left()
            if name in ("cudaMalloc", "cudaHostAlloc"):
                told += f"; {arguments[1] / MB:.1f} MB were asked for"
        if code == symbols.INSUFFICIENT_DRIVER:
            told += self._driver_and_library()
        return CudaError(name, code, code_name, told)

    def version(self, name: str) -> Tuple[int, int]:
        """What `cudaRuntimeGetVersion` or `cudaDriverGetVersion` says: (12, 6).

        Raises:
            CudaError: CUDA 11 says nothing where there is no driver.
        """
        found = c_int()
        self.call(name, byref(found))
        return _version(found.value)

    def _memory_left(self) -> str:
        free, total = c_size_t(), c_size_t()
        if self._functions["cudaMemGetInfo"](byref(free), byref(total)) != symbols.SUCCESS:
            return "; how much memory there is cannot be told"
        return f"; {free.value // MB} of {total.value // MB} MB are free"

    def _driver_and_library(self) -> str:
        driver, runtime = c_int(), c_int()
        self._functions["cudaDriverGetVersion"](byref(driver))
        # CUDA 11 does not even tell its own version without a driver.
        told = self._functions["cudaRuntimeGetVersion"](byref(runtime)) == symbols.SUCCESS
        self._functions["cudaGetLastError"]()
        serves = (
            "the driver serves CUDA {}.{}".format(*_version(driver.value)) if driver.value else "no driver"
        )
        version = " is CUDA {}.{}".format(*_version(runtime.value)) if told else ""
        return f"; {serves}, {self.path}{version}"


def _version(number: int) -> Tuple[int, int]:
    """12060 -> (12, 6)."""
    return number // 1000, number % 1000 // 10


def _function(library: Any, name: str, arguments: Tuple[Any, ...], result: Any) -> Callable[..., Any]:
    if not isinstance(library, ctypes.CDLL):
        return getattr(library, name)
    # By index ctypes makes a function of our own: who else uses this library keeps his argument types.
    function = library[name]
    function.argtypes = arguments
    function.restype = result
    return function
