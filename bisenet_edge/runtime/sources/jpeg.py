"""Whether a JPEG is whole: decoders fill what is missing with grey and say nothing."""

from __future__ import annotations

import re

_START, _SCAN, _END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
# In a scan 0xFF stands only before a stuffed 0, a restart marker, the end marker or another 0xFF
# (ITU-T T.81, B.1.1.5); here until the end marker.
_FOREIGN_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7\xd9]")


def has_its_end(data: bytes) -> bool:
    """Whether the end marker comes after the last scan: a file that was cut has none.

    Inside a scan neither marker can occur. A thumbnail and bytes after the end do no harm.
    """
    return data.rfind(_END) > data.rfind(_SCAN)


def is_whole_frame(data: bytes) -> bool:
    """Whether a camera's frame has its start, its end, and nothing foreign in its last scan.

    A flipped bit that stays a legal code is not seen: only decoding would tell, and decoders keep quiet.
    """
    scan = data.rfind(_SCAN)
    end = data.find(_END, scan)
    if not data.startswith(_START) or scan < 0 or end < 0:
        return False
    return _FOREIGN_MARKER.search(data, scan + 2, end) is None
