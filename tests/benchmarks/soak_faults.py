"""What the soak test throws at a run: a camera that fails, sinks that fail, and clients that mean harm.

Every frame of the camera is filled with a shade that tells its number, so that a mask of another frame
would be seen.
"""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from typing import Any, ClassVar

import numpy as np

from bisenet_edge.artifact import Artifact
from bisenet_edge.errors import SourceError, SourceLostError
from bisenet_edge.frame import Frame
from bisenet_edge.runtime.backends.base import Session
from bisenet_edge.runtime.sinks import Sink
from bisenet_edge.runtime.sources import Source

SIZES_HW = ((360, 640), (480, 640), (720, 1280), (360, 640), (300, 400))
SHADES = 11
TAG = 64
"""Side of the square, top left, that carries the shade: large enough to survive being scaled."""


class FaultyCamera(Source):
    """One connection to a camera: 30 frames per second until the next fault.

    Attributes:
        given: frames that all connections have given out.
        faults: how many there were, by kind.
    """

    live = True
    given = 0
    faults: ClassVar[dict[str, int]] = {}

    def __init__(self, fps: float, between_faults_s: float, chance: random.Random) -> None:
        size_hw = chance.choice(SIZES_HW)
        super().__init__("soak://camera", fps=fps, size_hw=size_hw, count=None)
        self._chance = chance
        self._period_s = 1 / fps
        self._texture = np.random.default_rng(1).integers(0, 255, (*size_hw, 3), np.uint8)
        self._next_s = time.monotonic()
        self._fault_s = self._next_s + between_faults_s * chance.uniform(0.5, 1.5)
        self._ahead_ns = 0

    @classmethod
    def opener(cls, fps: float, between_faults_s: float, seed: int) -> Any:
        """For `ReopeningSource`: every third opening fails."""
        chance = random.Random(seed)
        opened = [0]

        def open_camera(interrupted: threading.Event) -> FaultyCamera:
            opened[0] += 1
            if opened[0] % 3 == 0:
                cls.note("opening failed")
                raise SourceError("the camera is not there", got="soak://camera")
            camera = cls(fps, between_faults_s, chance)
            camera._interrupted = interrupted
            return camera

        return open_camera

    @classmethod
    def note(cls, fault: str) -> None:
        cls.faults[fault] = cls.faults.get(fault, 0) + 1

    def _read(self, index: int, out: np.ndarray | None) -> np.ndarray | None:
        self._next_s += self._period_s
        if self._interrupted.wait(max(0.0, self._next_s - time.monotonic())):
            return None
        if time.monotonic() >= self._fault_s:
            self._fail()
        image = out if out is not None and out.shape == self._texture.shape else self._texture.copy()
        image[:] = self._texture
        image[:TAG, :TAG] = FaultyCamera.given % SHADES
        FaultyCamera.given += 1
        return image

    def _captured_ns(self) -> int:
        ahead_ns, self._ahead_ns = self._ahead_ns, 0
        return time.monotonic_ns() + ahead_ns

    def _fail(self) -> None:
        fault = self._chance.choice(("unplugged", "unplugged", "stall", "corrupt", "clock jumps"))
        self.note(fault)
        self._fault_s = time.monotonic() + 5
        if fault == "unplugged":
            raise SourceLostError("the camera is gone", got="soak://camera")
        if fault == "stall":
            self._interrupted.wait(1.0)
            self._next_s = time.monotonic()
        elif fault == "corrupt":
            self.corrupt += 1
        else:
            self._ahead_ns = 300_000_000


class ShadeSession(Session):
    """In place of a network: the mask is the shade that the frame carries; takes about as long as one."""

    backend = "shade"

    def __init__(self, artifact: Artifact, wait_s: float) -> None:
        super().__init__(artifact, "int8")
        self._wait_s = wait_s

    def _infer(self, frame: np.ndarray, mask: np.ndarray) -> None:
        mask[:] = frame[4, 4, 0]
        time.sleep(self._wait_s)


class CheckingSink(Sink):
    """Compares each mask with the shade of its frame.

    Attributes:
        wrong: masks that showed another frame.
        size_hw: of the newest frame.
        sizes: of all frames.
    """

    def __init__(self) -> None:
        super().__init__("check://")
        self.wrong = 0
        self.size_hw = (0, 0)
        self.sizes: set[tuple[int, int]] = set()

    def write(self, frame: Frame, mask: np.ndarray) -> None:
        self.size_hw = (mask.shape[0], mask.shape[1])
        self.sizes.add(self.size_hw)
        self.wrong += bool(mask.shape != frame.image.shape[:2] or mask[2, 2] != frame.image[2, 2, 0])


class SlowSink(Sink):
    """Takes up to 200 ms for a frame, and once in a while two seconds."""

    def __init__(self, seed: int) -> None:
        super().__init__("slow://")
        self._chance = random.Random(seed)

    def write(self, frame: Frame, mask: np.ndarray) -> None:
        time.sleep(2.0 if self._chance.random() < 0.01 else self._chance.uniform(0, 0.2))


class DoomedSink(Sink):
    """Its disk is full after a while."""

    def __init__(self, lasts_s: float) -> None:
        super().__init__("doomed://")
        self._end_s = time.monotonic() + lasts_s

    def write(self, frame: Frame, mask: np.ndarray) -> None:
        if time.monotonic() > self._end_s:
            raise OSError(28, "No space left on device")


def attack(port: int, seed: int) -> None:
    """Clients of the preview that mean harm, one after another; runs in a process of its own until killed."""
    chance = random.Random(seed)
    attacks = (_half_open, _garbage, _slow_reader, _crowd)
    while True:
        with contextlib.suppress(OSError):
            chance.choice(attacks)(port)
        time.sleep(chance.uniform(0.5, 3.0))


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def _half_open(port: int) -> None:
    with _connect(port) as client:
        client.sendall(b"GET /stream.mjpg HT")
        time.sleep(3)


def _garbage(port: int) -> None:
    with _connect(port) as client:
        client.sendall(bytes(random.Random(0).randrange(256) for _ in range(65536)))


def _slow_reader(port: int) -> None:
    with _connect(port) as client:
        client.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        for _ in range(20):
            client.recv(256)
            time.sleep(0.2)


def _crowd(port: int) -> None:
    clients = []
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            with contextlib.suppress(OSError):
                clients.append(stack.enter_context(_connect(port)))
        for client in clients:
            with contextlib.suppress(OSError):
                client.sendall(b"GET /status.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        time.sleep(1)
