"""The bytes of a plan: what the double keeps of an engine, with what the real one checks in front."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

MAGIC = b"ftrt"
FOOTER = b"trtf"
HEADER = struct.Struct("<4sQQI")  # magic, size of the whole plan, size of the description, checksum


def write_plan(description: dict[str, Any], model: bytes) -> bytes:
    """A plan: header, description as JSON, the ONNX model, footer."""
    text = json.dumps(description).encode()
    body = text + model
    size = HEADER.size + len(body) + len(FOOTER)
    return HEADER.pack(MAGIC, size, len(text), zlib.crc32(body)) + body + FOOTER


def read_plan(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Description and model.

    Raises:
        ValueError: the assertion that fails, in TensorRT's words.
    """
    if not content:
        raise ValueError("Cannot deserialize empty blob.")
    if len(content) < HEADER.size or not content.startswith(MAGIC):
        raise ValueError("Serialization assertion header.magicTag == kEXPECTED_MAGIC_TAG failed.")
    _, size, length, checksum = HEADER.unpack_from(content)
    if size != len(content):
        raise ValueError("Serialization assertion plan.header.size == blobSize failed.")
    body = content[HEADER.size : -len(FOOTER)]
    if zlib.crc32(body) != checksum or not content.endswith(FOOTER):
        raise ValueError("Serialization assertion postDeserializationCheck() failed.")
    return json.loads(body[:length]), body[length:]
