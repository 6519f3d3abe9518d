"""What TensorRT's log means: which node, what went wrong, what to do.

TensorRT answers a failed build with None and lines of log. The patterns below are its own words, as found
in users' reports for 8.x to 10.x; what none of them knows is told as it was logged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Sequence, Tuple

from bisenet_edge.errors import BackendError

SHOWN_LINES = 3


@dataclass(frozen=True)
class _Meaning:
    pattern: str
    what: str
    expected: str
    fix: str


# The first that matches counts: out of memory is also logged as "no implementation for node".
_BUILD = (
    _Meaning(
        r"OutOfMemory|out of memory|insufficient workspace|insufficient memory|cudaErrorMemoryAllocation",
        "TensorRT ran out of memory while it built the engine",
        "free memory for the builder: it tries kernels beside each other",
        "close other programs, add swap, or give it a limit: --workspace-mb 256 --opt-level 2",
    ),
    _Meaning(
        r"No importer registered for op|Unsupported (ONNX )?(operation|operator|op)\b|UNSUPPORTED_NODE|"
        r"Plugin not found",
        "this TensorRT does not know an operation of the graph",
        "only operations of graphs made by bisenet-edge export",
        "export the artifact again, or update JetPack; see also: bisenet-edge lint",
    ),
    _Meaning(
        r"Could not find any implementation for node",
        "TensorRT has no kernel for a node of the graph",
        "a kernel for every node in the precision asked for",
        "try more of them: --opt-level 5, or build without INT8: --precision fp16",
    ),
    _Meaning(
        r"opset|ai\.onnx",
        "this TensorRT cannot read the graph's opset",
        "opset 17 or older for TensorRT 8",
        "export the artifact again with this version of bisenet-edge",
    ),
)
_LOAD = (
    _Meaning(
        r"[Vv]ersion tag does not match|not compatible with this version|kSERIALIZATION_VERSION|"
        r"expecting library version|stdVersionRead",
        "an engine was made by another version of TensorRT",
        "an engine that this TensorRT built",
        "build it here: bisenet-edge compile",
    ),
    _Meaning(
        r"incompatible device|different (GPU|device|compute)|compute capability|SM mismatch",
        "an engine was made for another GPU",
        "an engine that was built on this device",
        "build it here: bisenet-edge compile",
    ),
    _Meaning(
        r"OutOfMemory|out of memory",
        "not enough memory to load an engine",
        "free memory on the device",
        "close other programs: free -m",
    ),
    _Meaning(
        r"[Mm]agic ?[Tt]ag|MAGIC_TAG|corrupt|truncat|[Cc]hecksum|plan size",
        "an engine file is damaged",
        "the file as it was written",
        "build it again: bisenet-edge compile --rebuild",
    ),
)


def build_failure(errors: Sequence[str], subject: str) -> BackendError:
    """The error for a build that gave nothing.

    Args:
        errors: what TensorRT logged, oldest first.
        subject: what was built, for the reader.
    """
    return _failure(_BUILD, errors, subject, "TensorRT could not build the engine", "bisenet-edge doctor")


def load_failure(errors: Sequence[str], subject: str) -> BackendError:
    """The error for a plan that this TensorRT does not take."""
    fix = "build it again: bisenet-edge compile --rebuild"
    return _failure(_LOAD, errors, subject, "TensorRT cannot load an engine", fix)


def _failure(
    meanings: Tuple[_Meaning, ...], errors: Sequence[str], subject: str, what: str, fix: str
) -> BackendError:
    text = "\n".join(errors)
    node = _node(text)
    logged = " | ".join(line.strip() for line in errors[-SHOWN_LINES:]) or "nothing was logged"
    got = f"{subject}{f', node {node}' if node else ''}: {logged}"
    for meaning in meanings:
        if re.search(meaning.pattern, text):
            return BackendError(meaning.what, got=got, expected=meaning.expected, fix=meaning.fix)
    return BackendError(what, got=got, fix=fix)


def _node(text: str) -> str:
    """The node that a message names; "" when none does."""
    for pattern in (
        r"implementation for node (.+?)(?: due to|\.?\)|\.?$|\.\s)",
        r"While parsing node number \d+ \[\w+ -> \"?([^\"\]]+)",
        r"[Nn]ode[ :]+'?([\w./:-]+)'?",
    ):
        found = re.search(pattern, text, re.MULTILINE)
        if found:
            return found.group(1).strip()
    return ""
