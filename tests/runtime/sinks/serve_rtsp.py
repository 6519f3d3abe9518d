"""Serve a stream from a process that sees the system's PyGObject: serve_rtsp.py URI; ends with stdin."""

from __future__ import annotations

import select
import sys
import time

import numpy as np
from pictures import road_and_car, sink_at

from bisenet_edge.frame import Frame
from bisenet_edge.runtime.sinks import RtspSink

HW = (240, 320)


def main() -> None:
    sink = sink_at(sys.argv[1], 25.0)
    assert isinstance(sink, RtspSink)
    sizes, index, longest_s = [HW, (480, 640)], 0, 0.0
    while not select.select([sys.stdin], [], [], 0.04)[0]:
        hw = sizes[index // 20 % 2]  # the source changes its size now and then
        image, mask = np.full((*hw, 3), 100, np.uint8), road_and_car(hw)
        start_s = time.monotonic()
        sink.write(Frame(image, index, time.monotonic_ns()), mask)
        longest_s = max(longest_s, time.monotonic() - start_s) if index else 0.0
        if index == 0:
            print(sink.address, flush=True)
        index += 1
    sink.close()
    print(index, longest_s, flush=True)


if __name__ == "__main__":
    main()
