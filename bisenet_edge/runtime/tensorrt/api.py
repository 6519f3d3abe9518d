"""The TensorRT that is installed: its version, how its networks are typed, and what it logs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, List, Tuple

from bisenet_edge.errors import BackendError, MissingDependencyError

INT8, FP16, FP32 = "int8", "fp16", "fp32"
PRECISIONS = (INT8, FP16, FP32)

OLDEST = (8, 5)
STRONG_SINCE = (10, 12)
"""Weak typing is deprecated from here on, and gone in 11. TensorRT 10.3, JetPack 6's, builds the weakly
typed flavour, as 8.x does."""
STRONG_MODELS = {INT8: "int8-typed", FP16: "fp16-typed", FP32: "fp32"}
WEAK_MODELS = {INT8: "int8", FP16: "fp32", FP32: "fp32"}
LEAST_INT8 = ((6, 1), (7, 0))
"""Compute capabilities with INT8 dot products: 6.1, and 7.0 and newer. Nano (5.3) and TX2 (6.2) have none."""
KEPT_MESSAGES = 200


@dataclass(frozen=True)
class TensorRt:
    """The module `tensorrt`, and what depends on its version.

    Attributes:
        trt: the module.
        version: its version as numbers: (10, 3, 0).
        log: the logger that every object of it is given.
    """

    trt: Any
    version: Tuple[int, ...]
    log: Any

    @property
    def text(self) -> str:
        return ".".join(map(str, self.version))

    @property
    def strong(self) -> bool:
        """Whether networks are built strongly typed: types come from the graph, not from builder flags."""
        return self.version >= STRONG_SINCE

    def model_of(self, precision: str) -> str:
        """The artifact's flavour that an engine of this precision is built from."""
        return (STRONG_MODELS if self.strong else WEAK_MODELS)[precision]


def load() -> TensorRt:
    """Import TensorRT.

    Raises:
        MissingDependencyError: it is not installed, or not for this Python.
        BackendError: it is older than 8.5, or its libraries cannot be loaded.
    """
    try:
        import tensorrt as trt
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "TensorRT is not installed for this Python",
            got=f"no module '{error.name}'",
            expected="JetPack's own, in the system's Python (a venv needs --system-site-packages)",
            fix="sudo apt-get install -y python3-libnvinfer   (on a PC: pip install tensorrt)",
        ) from error
    except (ImportError, OSError) as error:
        raise BackendError(
            "TensorRT is installed, but its libraries cannot be loaded",
            got=str(error),
            expected="libnvinfer of the version that the Python package was made for",
            fix="sudo apt-get install --reinstall -y libnvinfer-bin python3-libnvinfer",
        ) from error
    version = parse_version(str(trt.__version__))
    if version < OLDEST:
        raise BackendError(
            "this TensorRT is too old",
            got=str(trt.__version__),
            expected="8.5 or newer (JetPack 5 or newer)",
            fix="update JetPack; Jetson Nano and TX2 end at JetPack 4 and are not supported",
        )
    return TensorRt(trt, version, make_log(trt))


def parse_version(text: str) -> Tuple[int, ...]:
    """Read "10.13.3.9" as (10, 13, 3, 9); what follows the numbers ("10.0.0b6") is left out."""
    found = re.match(r"\d+(\.\d+)*", text)
    if not found:
        raise BackendError("cannot read TensorRT's version", got=repr(text), expected="numbers and dots")
    return tuple(int(part) for part in found.group().split("."))


def has_int8(compute_capability: Tuple[int, int]) -> bool:
    """Whether a GPU computes INT8 convolutions faster than floating-point ones."""
    return compute_capability == LEAST_INT8[0] or compute_capability >= LEAST_INT8[1]


def make_log(trt: Any) -> Any:
    """A logger that keeps errors and warnings, so that a failure can be told with its reason.

    The class is made here because its base is the module's.
    """

    class Log(trt.ILogger):
        """Attributes: `errors`, `warnings`: the newest 200 messages of each, oldest first."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: List[str] = []
            self.warnings: List[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self._keep(self.errors, msg)
            elif severity == trt.ILogger.WARNING:
                self._keep(self.warnings, msg)

        @staticmethod
        def _keep(messages: List[str], msg: str) -> None:
            messages.append(msg)
            del messages[:-KEPT_MESSAGES]

    return Log()
