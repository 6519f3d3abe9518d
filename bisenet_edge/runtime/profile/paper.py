"""What the paper prints about speed, to stand beside what we measure.

Source: Yu et al., "BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation", ECCV 2018,
arXiv 1808.00897, table 5 (speed, NVIDIA Titan X and Titan XP). It times the network alone, on images of three
sizes, without decoding, resizing or colouring; "Res18" and "Xception39" are its names for the context paths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Optional

from bisenet_edge.frame import Size

PAPER = "BiSeNet, ECCV 2018, table 5"
PAPER_DEVICE = "NVIDIA Titan X"
PAPER_DEVICE_XP = "NVIDIA Titan XP"


@dataclass(frozen=True)
class PaperSpeed:
    """One printed cell: time of one image in whole milliseconds, and images per second."""

    model: str
    size: Size
    time_ms: float
    fps: float
    device: str = PAPER_DEVICE

    def to_json(self) -> Dict[str, Any]:
        return {"source": PAPER, "device": self.device, "time_ms": self.time_ms, "fps": self.fps}


# A second text that quotes the paper's table agrees on Xception39 at 640x360 and 1280x720.
# Unconfirmed, for want of a second text: the others (time and fps do agree), and the table's number. The rows
# of SegNet and ENet are those of ENet's own paper (table 2, Titan X).
PRINTED = (
    PaperSpeed("segnet", Size(640, 360), 69.0, 14.6),
    PaperSpeed("segnet", Size(1280, 720), 289.0, 3.5),
    PaperSpeed("segnet", Size(1920, 1080), 637.0, 1.6),
    PaperSpeed("enet", Size(640, 360), 7.0, 135.4),
    PaperSpeed("enet", Size(1280, 720), 21.0, 46.8),
    PaperSpeed("enet", Size(1920, 1080), 46.0, 21.6),
    PaperSpeed("bisenet-xception39", Size(640, 360), 5.0, 203.5),
    PaperSpeed("bisenet-xception39", Size(1280, 720), 12.0, 82.3),
    PaperSpeed("bisenet-xception39", Size(1920, 1080), 24.0, 41.4),
    PaperSpeed("bisenet-resnet18", Size(640, 360), 8.0, 129.4),
    PaperSpeed("bisenet-resnet18", Size(1280, 720), 21.0, 47.9),
    PaperSpeed("bisenet-resnet18", Size(1920, 1080), 43.0, 23.0),
)

# From memory of the same table: unconfirmed, for want of a second text (time and fps do agree).
PRINTED_XP = tuple(
    PaperSpeed(model, size, time_ms, fps, PAPER_DEVICE_XP)
    for model, size, time_ms, fps in (
        ("bisenet-xception39", Size(640, 360), 4.0, 285.2),
        ("bisenet-xception39", Size(1280, 720), 8.0, 124.1),
        ("bisenet-xception39", Size(1920, 1080), 18.0, 57.3),
        ("bisenet-resnet18", Size(640, 360), 5.0, 205.7),
        ("bisenet-resnet18", Size(1280, 720), 13.0, 78.8),
        ("bisenet-resnet18", Size(1920, 1080), 29.0, 34.4),
    )
)


def paper_speed(model: str, size: Size, device: str = PAPER_DEVICE) -> Optional[PaperSpeed]:
    """The printed speed of a network at a size, None where the paper prints none.

    Args:
        model: name of the network.
        size: of the image.
        device: `PAPER_DEVICE` or `PAPER_DEVICE_XP`.
    """
    for printed in PRINTED if device == PAPER_DEVICE else PRINTED_XP:
        if (printed.model, printed.size) == (model, size):
            return printed
    return None
