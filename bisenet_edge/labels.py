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

# The colours of `getCMap` of the COCO-Stuff authors' API (nightrome/cocoapi, cocostuffhelper.py): "jet" with
# its brightness times 0.7, shuffled; their black for "unlabeled". Two classes share (0, 0, 178) there too.
COCO_STUFF = LabelSet(
    "coco-stuff",
    (
        "banner", "blanket", "branch", "bridge", "building-other", "bush", "cabinet", "cage", "cardboard",
        "carpet", "ceiling-other", "ceiling-tile", "cloth", "clothes", "clouds", "counter", "cupboard",
        "curtain", "desk-stuff", "dirt", "door-stuff", "fence", "floor-marble", "floor-other",
        "floor-stone", "floor-tile", "floor-wood", "flower", "fog", "food-other", "fruit",
        "furniture-other", "grass", "gravel", "ground-other", "hill", "house", "leaves", "light", "mat",
        "metal", "mirror-stuff", "moss", "mountain", "mud", "napkin", "net", "paper", "pavement", "pillow",
        "plant-other", "plastic", "platform", "playingfield", "railing", "railroad", "river", "road",
        "rock", "roof", "rug", "salad", "sand", "sea", "shelf", "sky-other", "skyscraper", "snow",
        "solid-other", "stairs", "stone", "straw", "structural-other", "table", "tent", "textile-other",
        "towel", "tree", "vegetable", "wall-brick", "wall-concrete", "wall-other", "wall-panel",
        "wall-stone", "wall-tile", "wall-wood", "water-other", "waterdrops", "window-blind", "window-other",
        "wood", "unlabeled",
    ),
    (
        (54, 178, 118), (0, 85, 178), (150, 178, 22), (107, 0, 0), (0, 0, 89), (0, 117, 178),
        (47, 178, 124), (178, 116, 0), (0, 0, 178), (79, 178, 92), (134, 0, 0), (22, 178, 150),
        (178, 87, 0), (178, 146, 0), (0, 5, 178), (0, 0, 125), (0, 53, 178), (0, 132, 178), (111, 178, 60),
        (178, 131, 0), (0, 29, 178), (178, 109, 0), (178, 35, 0), (0, 148, 178), (9, 172, 163), (0, 0, 178),
        (178, 124, 0), (178, 102, 0), (0, 156, 175), (178, 43, 0), (0, 0, 170), (178, 94, 0), (0, 0, 134),
        (67, 178, 105), (99, 178, 73), (0, 37, 178), (86, 178, 86), (15, 178, 156), (0, 0, 152),
        (178, 21, 0), (0, 124, 178), (0, 61, 178), (178, 50, 0), (0, 109, 178), (137, 178, 35),
        (0, 13, 178), (0, 101, 178), (0, 0, 116), (0, 45, 178), (41, 178, 131), (0, 0, 161), (178, 72, 0),
        (0, 0, 143), (116, 0, 0), (28, 178, 143), (170, 6, 0), (156, 178, 15), (89, 0, 0), (143, 178, 28),
        (73, 178, 99), (118, 178, 54), (92, 178, 79), (152, 0, 0), (178, 153, 0), (98, 0, 0), (178, 65, 0),
        (60, 178, 111), (169, 175, 3), (105, 178, 67), (178, 13, 0), (163, 178, 9), (3, 164, 169),
        (125, 0, 0), (175, 168, 0), (178, 138, 0), (178, 28, 0), (35, 178, 137), (0, 140, 178), (0, 0, 98),
        (131, 178, 41), (0, 77, 178), (0, 0, 107), (0, 93, 178), (143, 0, 0), (178, 58, 0), (161, 0, 0),
        (0, 69, 178), (178, 160, 0), (178, 80, 0), (0, 21, 178), (124, 178, 47), (0, 0, 0),
    ),
)  # fmt: skip
"""The 91 stuff classes (ids 92..182 of nightrome/cocostuff labels.txt, in order); all else is "unlabeled"."""
