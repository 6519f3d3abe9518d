"""Every error that bisenet-edge raises on purpose.

    BisenetEdgeError          exit 1: what went wrong, got, expected, next step
    ├── UsageError            exit 2: an option, name or URI that is not understood
    ├── ConfigError           a TOML file that does not say what it should
    ├── DatasetError          images or labels that are missing, unreadable or out of range
    ├── CheckpointError       weights that are missing, corrupt or for another network
    ├── CalibrationError      an INT8 calibration that cannot be trusted
    ├── ArtifactError         an artifact that is incomplete, changed or of another schema
    ├── ExportError           a graph that differs from the network it was exported from
    ├── BackendError          an inference engine that is absent or fails
    ├── SourceError           a camera, video or folder that cannot be read
    │   └── SourceLostError   a camera or stream that worked and has stalled or ended: open it again
    ├── SinkError             an output that cannot be written
    ├── DeliveryError         a device that cannot be reached, or on which a deployment failed
    └── MissingDependencyError     an optional package that is not installed

The command line is the one place that turns them into text and an exit code.
"""

from __future__ import annotations

import difflib
from typing import Iterable


class BisenetEdgeError(Exception):
    """An error with a remedy.

    Args:
        what: one sentence: what went wrong.
        got: the offending value, as the user would recognise it.
        expected: what would have been accepted.
        fix: the next step, a command where there is one.
    """

    exit_code = 1

    def __init__(self, what: str, *, got: object = "", expected: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.got = str(got)
        self.expected = expected
        self.fix = fix

    def __str__(self) -> str:
        lines = [self.what]
        for label, text in (("got", self.got), ("expected", self.expected), ("next", self.fix)):
            if text:
                lines.append(f"  {label + ':':<10}{text}")
        return "\n".join(lines)


class UsageError(BisenetEdgeError):
    """An option, a name or a URI that is not understood (exit 2)."""

    exit_code = 2


class ConfigError(BisenetEdgeError):
    """A TOML file with an unknown key, a missing key or a value of the wrong type."""


class DatasetError(BisenetEdgeError):
    """Images or labels that are missing, unreadable or out of range."""


class CheckpointError(BisenetEdgeError):
    """Weights that are missing, corrupt or made for another network."""


class CalibrationError(BisenetEdgeError):
    """An INT8 calibration that cannot be trusted: no images, or ranges that are not finite."""


class ArtifactError(BisenetEdgeError):
    """An artifact that is incomplete, changed since it was written, or of another schema."""


class ExportError(BisenetEdgeError):
    """A graph whose masks differ from those of the network it was exported from."""


class BackendError(BisenetEdgeError):
    """An inference engine that cannot be opened or fails while running."""


class SourceError(BisenetEdgeError):
    """A camera, video or folder that cannot be read."""


class SourceLostError(SourceError):
    """A camera or stream that worked and has stalled, ended or been unplugged; opening it again may help."""


class SinkError(BisenetEdgeError):
    """An output that cannot be written."""


class DeliveryError(BisenetEdgeError):
    """A device that cannot be reached, or on which a deployment failed."""


class MissingDependencyError(BisenetEdgeError):
    """A package that this step needs and that is not installed."""


def unknown_name(kind: str, got: str, choices: Iterable[str]) -> UsageError:
    """Build the error for a name that is not one of `choices`, with the nearest one proposed."""
    known = sorted(choices)
    near = difflib.get_close_matches(got, known, n=1, cutoff=0.5)
    fix = f"did you mean '{near[0]}'?" if near else f"choose one of: {', '.join(known)}"
    return UsageError(f"unknown {kind}", got=repr(got), expected=", ".join(known), fix=fix)
