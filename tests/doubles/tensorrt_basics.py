"""The small classes: loggers, callbacks that the user derives from, dimensions, memory."""

from __future__ import annotations

import datetime
import mmap
import sys
from typing import Any

from tensorrt_enum import QUALIFIER
from tensorrt_world import SEVERITIES


def pure(owner: str, name: str, result: object = None) -> Any:
    """A method that a derived class must have: what the bindings do when it has not."""

    def method(self: Any, *_: object, **__: object) -> object:
        words = f'Tried to call pure virtual function "{owner}::{name}"'
        print(f"[ERROR] Exception caught in {name}(): {words}", file=sys.stderr)
        return result

    return method


class ILogger:
    log = pure("ILogger", "log")


class Logger:
    def __init__(self: Any, min_severity: Any) -> None:
        self._s["min_severity"] = min_severity

    def get_min_severity(self: Any) -> Any:
        return self._s["min_severity"]

    def set_min_severity(self: Any, value: Any) -> None:
        self._s["min_severity"] = value

    def log(self: Any, severity: Any, msg: str) -> None:
        if severity <= self._s["min_severity"]:
            now = datetime.datetime.now().strftime("%m/%d/%Y-%H:%M:%S")  # local time, as the real one
            print(f"[{now}] [TRT] [{SEVERITIES[int(severity)]}] {msg}")  # to stdout, as the real one


class IProfiler:
    report_layer_time = pure("IProfiler", "report_layer_time")


class Profiler:
    def report_layer_time(self: Any, layer_name: str, ms: float) -> None:
        print(f"{layer_name}: {ms}ms")


class IProgressMonitor:
    phase_start = pure("IProgressMonitor", "phase_start")
    step_complete = pure("IProgressMonitor", "step_complete", result=False)
    phase_finish = pure("IProgressMonitor", "phase_finish")


class Dims:
    """A sequence of at most eight integers; equal to a tuple or list, to nothing else, not even itself."""

    def __init__(self: Any, shape: Any = ()) -> None:
        if len(shape) > 8:
            raise ValueError(f"Input length {len(shape)}. Max expected length is 8")
        self._s["shape"] = [item.__index__() for item in shape]

    def __len__(self: Any) -> int:
        return len(self._s["shape"])

    def __getitem__(self: Any, index: Any) -> Any:
        try:
            found = self._s["shape"][index]
        except IndexError:
            raise IndexError("Out of bounds") from None
        return tuple(found) if isinstance(index, slice) else found

    def __setitem__(self: Any, index: Any, value: int) -> None:
        self._s["shape"][index] = value

    def __eq__(self: Any, other: object) -> bool:
        if not isinstance(other, (list, tuple)):
            raise TypeError(
                "__eq__(): incompatible function arguments. The following argument types are supported:\n"
                f"    1. (self: {QUALIFIER}Dims, arg0: list) -> bool\n"
                f"    2. (self: {QUALIFIER}Dims, arg0: tuple) -> bool\n\nInvoked with: {self!r}, {other!r}"
            )
        return self._s["shape"] == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self: Any) -> str:
        return repr(tuple(self._s["shape"]))

    __str__ = __repr__


class HostMemory(mmap.mmap):
    """What a build or a cache gives: bytes behind the buffer protocol, and nothing else of `bytes`.

    Derived from `mmap` because Python before 3.12 has no other way to give a buffer.
    """

    _dtype: Any = None

    def __new__(cls, content: bytes) -> HostMemory:
        made = super().__new__(cls, -1, max(1, len(content)))
        mmap.mmap.write(made, content)
        return made

    def __getattribute__(self, name: str) -> Any:
        if name == "nbytes":
            return mmap.mmap.__len__(self)
        if name == "dtype":
            return type(self)._dtype
        if name.startswith("__"):
            return super().__getattribute__(name)
        raise AttributeError(f"'{QUALIFIER}IHostMemory' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: object) -> None:
        if name in ("nbytes", "dtype"):
            raise AttributeError("property of 'IHostMemory' object has no setter")
        raise AttributeError(f"'{QUALIFIER}IHostMemory' object has no attribute '{name}'")

    def __len__(self) -> int:
        raise TypeError(f"object of type '{QUALIFIER}IHostMemory' has no len()")

    def __getitem__(self, _: Any) -> Any:
        raise TypeError(f"'{QUALIFIER}IHostMemory' object is not subscriptable")

    def __iter__(self) -> Any:
        raise TypeError(f"'{QUALIFIER}IHostMemory' object is not iterable")

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<{QUALIFIER}IHostMemory object at {id(self):#x}>"


def make_host_memory(dtype: Any) -> type:
    """The class `IHostMemory` of one version."""
    body = {"_dtype": dtype, "__module__": QUALIFIER[:-1], "__qualname__": "IHostMemory"}
    return type("IHostMemory", (HostMemory,), body)


BEHAVIOURS = {
    "ILogger": ILogger,
    "Logger": Logger,
    "IProfiler": IProfiler,
    "Profiler": Profiler,
    "IProgressMonitor": IProgressMonitor,
    "Dims": Dims,
}
