"""Reader of the masks that `bisenet-edge run SOURCE shm://NAME` publishes. Python 3.8, numpy, Linux.

    python3 read_masks.py NAME [COUNT]     print how much of each mask every class covers

Layout: README.md. SPDX-License-Identifier: Apache-2.0
"""

import json
import mmap
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Dict, NamedTuple, Optional

import numpy as np

HEADER_BYTES, VERSION = 4096, 1
LIVE, CLOSED, REPLACED = 1, 2, 3
PUBLISHED_WORD, STATE_AT, LABELS_AT = 64 // 8, 40, 256


class Mask(NamedTuple):
    """One mask, where it stands in the shared memory.

    number: counted from 1. ids: uint8 [h, w], class ids. picture: uint8 [h, w, 3], BGR, or None.
    Both are views; copy what you want to keep, then ask `MaskReader.still_whole`.
    """

    number: int
    frame_index: int
    captured_ns: int
    published_ns: int
    ids: np.ndarray
    picture: Optional[np.ndarray]


class EndedError(Exception):
    """The writer has ended."""


class MaskReader:
    """Looks for the newest mask; never waits, never disturbs the writer.

    Raises:
        FileNotFoundError: there is no writer of that name yet.
        ValueError: the file has another layout.
    """

    def __init__(self, name: str) -> None:
        self._path = Path("/dev/shm") / name
        self.last = 0
        self._open()

    def _open(self) -> None:
        with self._path.open("rb") as file:
            self._memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        magic, version, self._slots, self._slot_bytes = struct.unpack_from("=8sIIQ", self._memory, 0)
        if magic != b"BSNEMASK" or version != VERSION:
            raise ValueError(f"{self._path} has another layout: {magic!r}, version {version}")
        self._mask_offset, self._frame_offset = struct.unpack_from("=II", self._memory, 24)
        length = struct.unpack_from("=I", self._memory, 44)[0]
        self.labels: Dict = json.loads(self._memory[LABELS_AT : LABELS_AT + length].decode())
        self._words = memoryview(self._memory).cast("Q")  # one read of it is one load of 8 bytes

    def look(self) -> Optional[Mask]:
        """The newest mask; None if there is none since the last call.

        Raises:
            EndedError: the writer has ended.
        """
        while True:
            number = self._words[PUBLISHED_WORD]
            if number in (0, self.last):
                state = struct.unpack_from("=I", self._memory, STATE_AT)[0]
                if state == CLOSED:
                    raise EndedError(str(self._path))
                if state == REPLACED:
                    self._open()
                    self.last = 0
                return None
            _fence()
            mask = self._at(number)
            if mask is not None:
                self.last = number
                return mask

    def _at(self, number: int) -> Optional[Mask]:
        start = HEADER_BYTES + (number - 1) % self._slots * self._slot_bytes
        if self._words[start // 8] != 2 * number:
            return None
        _fence()
        index, captured_ns, published_ns, h, w = struct.unpack_from("=QQQII", self._memory, start + 8)
        if not self._is(number):
            return None  # the size, too, may come from two masks
        ids = np.frombuffer(self._memory, np.uint8, h * w, start + self._mask_offset).reshape(h, w)
        picture = None
        if self._frame_offset:
            pixels = np.frombuffer(self._memory, np.uint8, 3 * h * w, start + self._frame_offset)
            picture = pixels.reshape(h, w, 3)
        return Mask(number, index, captured_ns, published_ns, ids, picture)

    def still_whole(self, mask: Mask) -> bool:
        """Whether a mask has not been overwritten since `look`. Ask after using it."""
        return self._is(mask.number)

    def _is(self, number: int) -> bool:
        _fence()
        start = HEADER_BYTES + (number - 1) % self._slots * self._slot_bytes
        return self._words[start // 8] == 2 * number


_LOCKS = (threading.Lock(), threading.Lock())


def _fence() -> None:
    """Keep loads in order on ARM: Python has no barrier, but a lock freed and the next one taken are one."""
    for lock in _LOCKS:
        lock.acquire()
        lock.release()


def open_when_there(name: str) -> MaskReader:
    """Wait for a writer."""
    while True:
        try:
            return MaskReader(name)
        except FileNotFoundError:
            time.sleep(0.01)


def main() -> None:
    """Print a line per mask."""
    reader = open_when_there(sys.argv[1])
    left = int(sys.argv[2]) if len(sys.argv) > 2 else -1
    while left:
        try:
            mask = reader.look()
        except EndedError:
            return
        if mask is None:
            time.sleep(0.001)
            continue
        counts = np.bincount(mask.ids.ravel(), minlength=256)
        size = mask.ids.shape
        if not reader.still_whole(mask):
            continue  # it was overwritten while we counted
        names = reader.labels["names"]
        areas = " ".join(f"{names[i]}:{counts[i] / counts.sum():.3f}" for i in np.flatnonzero(counts))
        age_ms = (time.monotonic_ns() - mask.captured_ns) / 1e6
        print(f"frame {mask.frame_index} {size[1]}x{size[0]} age {age_ms:.1f} ms {areas}", flush=True)
        left -= 1


if __name__ == "__main__":
    main()
