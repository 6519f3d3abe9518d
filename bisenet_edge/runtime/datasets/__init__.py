"""Data sets by URI: `cityscapes:PATH`, `camvid:PATH`, `coco-stuff:PATH`, `folder:PATH`, `synthetic:`.

Reading is strict: a picture without a label, a label value that the classes do not have or a file
that cannot be decoded is an error that names the file, never a silently shorter data set. `survey` meets
the same faults, and counts them instead of stopping at the first.
"""

from bisenet_edge.runtime.datasets.files import IMAGE_SUFFIXES, FileDataset, read_image, sample_sha256
from bisenet_edge.runtime.datasets.folder import read_labels_toml
from bisenet_edge.runtime.datasets.opening import SCHEMES, SPLITS, open_dataset
from bisenet_edge.runtime.uris import parse_int, parse_options

__all__ = [
    "IMAGE_SUFFIXES",
    "SCHEMES",
    "SPLITS",
    "FileDataset",
    "open_dataset",
    "parse_int",
    "parse_options",
    "read_image",
    "read_labels_toml",
    "sample_sha256",
]
