"""A program for tests: the device's command line, with a live source of numbered frames in place of a camera.

The source "slow-to-open" says "opening" on stdout and takes a minute. The sink "hanging" never returns from
its third frame, and for the sink "full" the disk is full then. With TEST_ENGINE=hanging the engine says "in
a frame" on stdout and never returns, from its close neither.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import time

from pipeline_doubles import EchoSession, ListSink, NumberSource

from bisenet_edge.cli import device
from bisenet_edge.runtime.pipeline import launch

FRAMES_PER_S = 200
open_sink = launch.open_sink


def open_camera(uri, size=None, *, on_event):
    if uri == "slow-to-open":
        print("opening", flush=True)
        time.sleep(60)
    source = NumberSource(10**9, live=True, size_of=lambda index: (48, 80))
    source._before = lambda index: source.interrupted.wait(1 / FRAMES_PER_S) and None
    return source


def hang(index):
    if index == 2:
        threading.Event().wait()


def fill(index):
    if index == 2:
        raise OSError(errno.ENOSPC, "No space left on device")


class HangingSession(EchoSession):
    def _infer(self, frame, mask):
        print("in a frame", flush=True)
        threading.Event().wait()

    def close(self):
        threading.Event().wait()


BEHAVIOURS = {"hanging": hang, "full": fill}


def open_any_sink(uri, *more, **named):
    if uri in BEHAVIOURS:
        return ListSink(BEHAVIOURS[uri], uri)
    return open_sink(uri, *more, **named)


if __name__ == "__main__":
    launch.open_source = open_camera
    launch.open_sink = open_any_sink
    if os.environ.get("TEST_ENGINE") == "hanging":
        launch.open_session = lambda *_, **__: HangingSession()
    sys.exit(device.main(sys.argv[1:]))
