"""What all objects of one TensorRT double share: the device, the faults, the log, what was built."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass, field
from typing import Any

from tensorrt_binding import Binder, BoundObject
from tensorrt_enum import fresh
from tensorrt_listing import Listing

from bisenet_edge.runtime.cuda import symbols

SEVERITIES = "FEWIV"
MIB = 1 << 20


@dataclass
class Faults:
    """What shall go wrong. May be changed while the double is in use.

    Attributes:
        unsupported: an operator that this TensorRT's parser does not know ("Resize").
        parse: words with which parsing fails.
        out_of_memory: the build finds no memory.
        workspace_needed: bytes; a build with a smaller workspace limit finds no implementation.
        no_implementation: an ONNX node for which the build finds none.
        null_plan: the build gives None and logs nothing.
        build_steps: progress steps added to the build.
        null_engine: deserialising gives None and logs nothing.
        null_context: no memory for an execution context.
        execute_after: this many runs succeed, later ones fail; None: none fails.
        bad_json: the inspector's text is cut off in the middle.
        memory: bytes of the device, the limit of the workspace unless one is set.
    """

    unsupported: str = ""
    parse: str = ""
    out_of_memory: bool = False
    workspace_needed: int = 0
    no_implementation: str = ""
    null_plan: bool = False
    build_steps: int = 0
    null_engine: bool = False
    null_context: bool = False
    execute_after: int | None = None
    bad_json: bool = False
    memory: int = 8192 * MIB


@dataclass(frozen=True)
class Build:
    """One call of `build_serialized_network`, as it was asked for.

    Attributes:
        network_flags: names of the network's creation flags.
        strongly_typed: whether types come from the graph alone.
        flags: names of the builder flags that were set.
        pool_limits: pool name -> bytes, those that were set.
        level: builder_optimization_level.
        verbosity: name of the profiling verbosity.
        compatibility: name of the hardware compatibility level.
        opset: of the ONNX file.
        timed, cached: layers that were timed, and those whose timing the cache knew.
        succeeded: whether there is a plan.
    """

    network_flags: tuple[str, ...]
    strongly_typed: bool
    flags: tuple[str, ...]
    pool_limits: dict[str, int]
    level: int
    verbosity: str
    compatibility: str
    opset: int
    timed: int
    cached: int
    succeeded: bool


@dataclass
class World:
    """The state behind one double.

    Attributes:
        api: listing of its version.
        cudart: the double of CUDA's runtime: the device, its memory and streams.
        faults: what shall go wrong.
        namespace: name -> class or enumeration.
        builds: what was built, in order.
        messages: (severity name, text), everything that was logged to any logger.
        runs: how often an engine was run.
    """

    api: Listing
    cudart: Any
    faults: Faults
    namespace: dict[str, Any] = field(default_factory=dict)
    builds: list[Build] = field(default_factory=list)
    messages: list[tuple[str, str]] = field(default_factory=list)
    runs: int = 0

    @property
    def release(self) -> tuple[int, ...]:
        return self.api.release

    @property
    def capability(self) -> tuple[int, int]:
        """The GPU's compute capability."""
        attributes = self.cudart.attributes
        return attributes[symbols.COMPUTE_CAPABILITY_MAJOR], attributes[symbols.COMPUTE_CAPABILITY_MINOR]

    def find_gpu(self, logger: Any, where: str) -> None:
        """Start with the GPU, as builders and runtimes do.

        Raises:
            TypeError: there is none, in the words of the bindings for a null pointer.
        """
        count = ctypes.c_int()
        code = self.cudart.cudaGetDeviceCount(ctypes.byref(count))
        if code or not count.value:
            text = f"API Usage Error (CUDA initialization failure with error: {code or 100})"
            self.error(logger, f"{where}::{where}", 6, text)
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def bind(self, behaviours: dict[str, type]) -> None:
        """Make every class of the listing, bases first."""
        binder = Binder(self.api, self.namespace)
        waiting = list(self.api.members)
        while waiting:
            name = waiting.pop(0)
            base = self.api.bases.get(name, "")
            if base in self.api.members and base not in self.namespace:
                waiting.append(name)
                continue
            kind = binder.make_class(name, behaviours.get(name))
            kind._world = self  # type: ignore[attr-defined]
            self.namespace[name] = kind

    def make(self, name: str, /, **state: object) -> Any:
        """An object that has no constructor, as a method returns it."""
        made = BoundObject.__new__(self.namespace[name])
        object.__setattr__(made, "_made", True)
        made._s.update(state)
        return made

    def enum(self, name: str, member: str) -> Any:
        return getattr(self.namespace[name], member)

    def log(self, logger: Any, severity: str, text: str) -> None:
        """Send a message to a logger, as the library does from C++."""
        self.messages.append((severity, text))
        member = self.enum("ILogger.Severity", severity)
        standard = self.namespace["Logger"]
        if isinstance(logger, standard):
            standard.log(logger, member, text)  # what a subclass of Logger overrides is never called
        else:
            call_back("log", logger.log, fresh(member), text)

    def error(self, logger: Any, where: str, code: int, text: str) -> None:
        """Log an error in the words of this release.

        Args:
            logger: who is told.
            where: "IRuntime::deserializeCudaEngine"; before 10.6 only the function is told.
            code: number of the error.
            text: what went wrong, with the kind of error and brackets where they differ from the code's
                usual kind: "Serialization (...)".
        """
        kind = {2: "OutOfMemory", 3: "API Usage Error"}.get(code, "Internal Error")
        if not text.endswith(")") or " (" not in text:
            text = f"{kind} ({text})"
        if self.release >= (10, 6):
            self.log(logger, "ERROR", f"{where}: Error Code {code}: {text}")
            return
        owner, _, function = where.partition("::")
        file = owner[1].lower() + owner[2:]
        self.log(logger, "ERROR", f"{code}: [{file}.cpp::{function}::66] Error Code {code}: {text}")


def dotted(version: tuple[int, ...]) -> str:
    """(8, 7) as "8.7"."""
    return ".".join(map(str, version))


def call_back(name: str, function: Any, *args: object) -> Any:
    """Call into Python as the bindings do: what is raised there is printed, and nothing is returned."""
    try:
        return function(*args)
    except BaseException as error:  # noqa: BLE001 - the real bindings swallow KeyboardInterrupt too
        print(f"[ERROR] Exception caught in {name}(): {error}", file=sys.stderr)
        return None
