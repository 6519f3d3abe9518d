"""A program for tests: the device's command line, with a live source of numbered frames in place of a camera.

The source "slow-to-open" says "opening" on stdout and takes a minute; the sink "hanging" never returns from
its third frame.
"""

from __future__ import annotations

import sys
import threading
import time

from pipeline_doubles import ListSink, NumberSource

from bisenet_edge.cli import device
from bisenet_edge.runtime import launch

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


if __name__ == "__main__":
    launch.open_source = open_camera
    launch.open_sink = lambda uri, *more, **named: (
        ListSink(hang, uri) if uri == "hanging" else open_sink(uri, *more, **named)
    )
    sys.exit(device.main(sys.argv[1:]))
