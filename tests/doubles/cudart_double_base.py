"""What the parts of `cudart_double` share: faults, misuse, and how values come out of ctypes and go back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ERRORS = {
    0: ("cudaSuccess", "no error"),
    1: ("cudaErrorInvalidValue", "invalid argument"),
    2: ("cudaErrorMemoryAllocation", "out of memory"),
    35: ("cudaErrorInsufficientDriver", "CUDA driver version is insufficient for CUDA runtime version"),
    100: ("cudaErrorNoDevice", "no CUDA-capable device is detected"),
    400: ("cudaErrorInvalidResourceHandle", "invalid resource handle"),
    401: ("cudaErrorIllegalState", "the operation cannot be performed in the present state"),
    600: ("cudaErrorNotReady", "device not ready"),
    719: ("cudaErrorLaunchFailure", "unspecified launch failure"),
    900: ("cudaErrorStreamCaptureUnsupported", "operation not permitted when stream is capturing"),
    901: ("cudaErrorStreamCaptureInvalidated", "operation failed due to a previous error during capture"),
    907: (
        "cudaErrorCapturedEvent",
        "operation not permitted on an event last recorded in a capturing stream",
    ),
    999: ("cudaErrorUnknown", "unknown error"),
}


class MisuseError(AssertionError):
    """A mistake of the program under test that CUDA itself would not report, or not always."""


@dataclass(frozen=True)
class Faults:
    """What goes wrong.

    Attributes:
        returns: function -> the code it always returns, having done nothing (but what frees, and what ends a
            capture, does so).
        out_of_memory_at: which cudaMalloc or cudaHostAlloc fails, from 1.
        no_capture: work of an engine cannot be captured.
        launch_at: which piece of an engine's work fails when it runs, from 1; from then on all calls fail.
        no_device: the driver is there, a GPU is not.
    """

    returns: Mapping[str, int] = field(default_factory=dict)
    out_of_memory_at: int = 0
    no_capture: bool = False
    launch_at: int = 0
    no_device: bool = False


def number(argument: Any) -> int:
    """An int, or the value of a ctypes integer or address (NULL: 0)."""
    value = getattr(argument, "value", argument)
    return 0 if value is None else int(value)


def give(argument: Any, kind: Any, value: Any) -> int:
    """Write what a function returns through a pointer (byref, a POINTER, or an address); returns 0."""
    if hasattr(argument, "_obj"):
        argument._obj.value = value
    elif hasattr(argument, "contents"):
        argument.contents.value = value
    else:
        kind.from_address(argument).value = value
    return 0


def known(held: Mapping[int, Any], handle: int, kind: str) -> Any:
    """What a handle or an address stands for. Raises MisuseError if it is not alive."""
    if handle not in held:
        raise MisuseError(f"{handle:#x} is no {kind}, or no longer")
    return held[handle]
