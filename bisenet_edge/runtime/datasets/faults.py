"""What can be wrong with a data set's files, one name per kind: `train` stops, `data check` counts."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from bisenet_edge.errors import DatasetError


class Fault(Enum):
    """A kind of fault; the value is how a table calls it."""

    NO_SPLIT = "split that cannot be opened"
    NO_LABEL = "picture without a label"
    NO_PICTURE = "label without a picture"
    SAME_NAME = "two pictures of one name"
    BROKEN_PICTURE = "picture that cannot be decoded"
    BROKEN_LABEL = "label that cannot be decoded"
    JPEG_LABEL = "label in a lossy or other format than PNG"
    COLOURS = "label of colours instead of ids"
    DEEP_LABEL = "label of 16 bits per pixel"
    UNKNOWN_COLOUR = "label with a colour of no class"
    OFF_BY_ONE = "label whose ids start at 1"
    OUT_OF_RANGE = "label with a value of no class"
    OTHER_SIZE = "label of another size than its picture"
    ALL_VOID = "label that is void everywhere"
    LEAK = "picture that is in two splits"


class FileFaultError(DatasetError):
    """A fault of one file, or of several of one kind, told by the first.

    Args:
        fault: the kind.
        path: the first file that has it.
        what, got, expected, fix: as in `BisenetEdgeError`.
        count: how many files.
    """

    def __init__(  # noqa: PLR0913 (an error is all its words)
        self,
        fault: Fault,
        path: Path,
        what: str,
        *,
        got: object = "",
        expected: str = "",
        fix: str = "",
        count: int = 1,
    ) -> None:
        super().__init__(what, got=got, expected=expected, fix=fix)
        self.fault = fault
        self.path = path
        self.count = count
