"""Class names, colours and the ignore index of the data sets that BiSeNet is trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Tuple

import numpy as np

from bisenet_edge.errors import ConfigError

IGNORE_INDEX = 255
"""Label value of pixels that count in no loss and no metric; never a value of a predicted mask."""


@dataclass(frozen=True)
class LabelSet:
    """The classes of a network.

    Attributes:
        name: short name ("camvid").
        names: C class names; position = train id.
        palette: C colours, (red, green, blue), 0..255.
    """

    name: str
    names: Tuple[str, ...]
    palette: Tuple[Tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        if not self.names or len(self.names) != len(self.palette) or len(self.names) >= IGNORE_INDEX:
            raise ConfigError(
                f"label set '{self.name}' is not usable",
                got=f"{len(self.names)} names, {len(self.palette)} colours",
                expected=f"1 to {IGNORE_INDEX - 1} names and as many colours",
            )

    def __len__(self) -> int:
        return len(self.names)

    def bgr_table(self) -> np.ndarray:
        """Colour look-up table for OpenCV: uint8 [256, 3], BGR; unknown ids are black."""
        table = np.zeros((256, 3), np.uint8)
        table[: len(self)] = np.asarray(self.palette, np.uint8)[:, ::-1]
        return table

    def to_json(self) -> Dict[str, Any]:
        return {
            "name": self.name,
            "names": list(self.names),
            "palette_rgb": [list(colour) for colour in self.palette],
            "ignore_index": IGNORE_INDEX,
        }

    @classmethod
    def from_json(cls, value: Dict[str, Any]) -> LabelSet:
        palette = tuple((int(r), int(g), int(b)) for r, g, b in value["palette_rgb"])
        return cls(str(value["name"]), tuple(str(n) for n in value["names"]), palette)


# Colours of the SegNet tutorial (CamVid) and of the Cityscapes scripts, so that masks look as
# people of the field expect them.
CAMVID = LabelSet(
    "camvid",
    (
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "sign",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    ),
    (
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
)
"""The 11 CamVid classes in the order of the SegNet tutorial; 11 in its files is void."""

CITYSCAPES = LabelSet(
    "cityscapes",
    (
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign",
        "vegetation",
        "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    ),
    (
        (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153),
        (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60),
        (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
    ),
)  # fmt: skip
"""The 19 Cityscapes train ids."""
