"""The ids that a PNG stores, whatever colours it shows them in.

OpenCV turns a palette PNG into colours and stretches grey values of fewer than 8 bits to 0..255; a label
file means the stored numbers. They are decoded as if the file were a grey one: the pixel data of a palette
PNG and of a grey PNG of the same depth are the same bytes (PNG specification, sections 4.4 and 11.2.1), only
the header differs.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Iterator, Optional, Tuple

import cv2
import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6  # colour types
_HEADER = struct.Struct(">IIBBBBB")  # width, height, depth, colour type, compression, filter, interlace
_HEADER_AT = len(SIGNATURE) + 8  # after the length and the name of the first chunk


@dataclass(frozen=True)
class PngHeader:
    """How a PNG stores its pixels: bits per value, and its colour type (the constants above)."""

    depth: int
    colour_type: int


def png_header(data: bytes) -> Optional[PngHeader]:
    """The header of an encoded picture; None when it is not a PNG."""
    if not data.startswith(SIGNATURE) or len(data) < _HEADER_AT + _HEADER.size:
        return None
    _, _, depth, colour_type, _, _, _ = _HEADER.unpack_from(data, _HEADER_AT)
    return PngHeader(depth, colour_type)


def stored_values(data: bytes, header: PngHeader) -> Optional[np.ndarray]:
    """Decode a grey or palette PNG of at most 8 bits to its stored values, uint8 [H, W]; None when broken."""
    if header.colour_type == PALETTE:
        data = _as_grey(data)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 2:
        return None
    if header.depth < 8:
        image = image // (255 // ((1 << header.depth) - 1))
    return np.asarray(image, np.uint8)


def _as_grey(data: bytes) -> bytes:
    """The same pixel data under a grey header, without the chunks that only a palette PNG may have."""
    parts = [SIGNATURE]
    for name, content in _chunks(data):
        if name == b"IHDR":
            fields = list(_HEADER.unpack(content))
            fields[3] = GREY
            parts.append(_chunk(name, _HEADER.pack(*fields)))
        elif name in (b"IDAT", b"IEND"):
            parts.append(_chunk(name, content))
    return b"".join(parts)


def _chunks(data: bytes) -> Iterator[Tuple[bytes, bytes]]:
    at = len(SIGNATURE)
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
