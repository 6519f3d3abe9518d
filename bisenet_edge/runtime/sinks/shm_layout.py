"""The bytes of a `shm://` segment; described for readers in docs/shm/README.md, which a test compares.

All numbers are in the byte order of the machine, each at a multiple of its own size, so that a processor
reads and writes it whole.
"""

from __future__ import annotations

import numpy as np

MAGIC = b"BSNEMASK"
VERSION = 1
HEADER_BYTES = 4096
SLOT_HEADER_BYTES = 64
PAGE_BYTES = 4096
LABELS_OFFSET = 256
LIVE, CLOSED, REPLACED = 1, 2, 3

HEADER = np.dtype(
    {
        "names": [
            "magic", "version", "slots", "slot_bytes", "mask_offset", "frame_offset", "max_pixels", "state",
            "labels_bytes", "published", "alive_ns",
        ],
        "formats": ["S8", "u4", "u4", "u8", "u4", "u4", "u8", "u4", "u4", "u8", "u8"],
        "offsets": [0, 8, 12, 16, 24, 28, 32, 40, 44, 64, 72],
        "itemsize": LABELS_OFFSET,
    }
)  # fmt: skip
"""
published: masks published so far; mask n (counted from 1) stands in slot (n - 1) % slots.
state: LIVE, CLOSED (the writer has ended) or REPLACED (open the name again).
alive_ns: CLOCK_MONOTONIC when the writer last wrote a mask or was told how the run is doing.
"""

SLOT = np.dtype(
    {
        "names": ["generation", "frame_index", "captured_ns", "published_ns", "height", "width"],
        "formats": ["u8", "u8", "u8", "u8", "u4", "u4"],
        "offsets": [0, 8, 16, 24, 32, 36],
        "itemsize": SLOT_HEADER_BYTES,
    }
)
"""generation: 2n when mask n stands here whole; 2n - 1 while it is being written; 0 = never used."""


def up_to(count: int, multiple: int) -> int:
    """`count` rounded up to a multiple."""
    return -(-count // multiple) * multiple
