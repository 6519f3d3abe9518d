"""What the paper prints about speed, to stand beside what we measure.

Source: Yu et al., "BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation", ECCV 2018,
arXiv 1808.00897, table 5 (speed, NVIDIA Titan X). It times the network alone, on images of three sizes,
without decoding, resizing or colouring; "Res18" and "Xception39" are its names for the two context paths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Optional

from bisenet_edge.frame import Size

PAPER = "BiSeNet, ECCV 2018, table 5"
PAPER_DEVICE = "NVIDIA Titan X"


@dataclass(frozen=True)
class PaperSpeed:
    """One printed cell: time of one image in whole milliseconds, and images per second."""

    model: str
    size: Size
    time_ms: float
    fps: float

    def to_json(self) -> Dict[str, Any]:
        return {"source": PAPER, "device": PAPER_DEVICE, "time_ms": self.time_ms, "fps": self.fps}


# A second text that quotes the paper's table agrees on Xception39 at 640x360 and 1280x720.
# Unconfirmed, for want of a second text: the other four (time and fps do agree), and the table's number.
PRINTED = (
    PaperSpeed("bisenet-xception39", Size(640, 360), 5.0, 203.5),
    PaperSpeed("bisenet-xception39", Size(1280, 720), 12.0, 82.3),
    PaperSpeed("bisenet-xception39", Size(1920, 1080), 24.0, 41.4),
    PaperSpeed("bisenet-resnet18", Size(640, 360), 8.0, 129.4),
    PaperSpeed("bisenet-resnet18", Size(1280, 720), 21.0, 47.9),
    PaperSpeed("bisenet-resnet18", Size(1920, 1080), 43.0, 23.0),
)


def paper_speed(model: str, size: Size) -> Optional[PaperSpeed]:
    """The printed speed of a network at a size, None where the paper prints none."""
    for printed in PRINTED:
        if (printed.model, printed.size) == (model, size):
            return printed
    return None
