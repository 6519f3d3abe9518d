"""Which GStreamer elements this machine has."""

from __future__ import annotations

import shutil
import subprocess
from functools import lru_cache
from typing import Iterable, List

from bisenet_edge.runtime.gstreamer.binding import find_gst

INSPECT = "gst-inspect-1.0"
LAUNCH = "gst-launch-1.0"


@lru_cache(maxsize=None)
def has_element(factory: str) -> bool:
    """Whether an element is installed: asked inside this process, else of `gst-inspect-1.0`."""
    gst = find_gst()
    if gst is not None:
        return gst.ElementFactory.find(factory) is not None
    if shutil.which(INSPECT) is None:
        return False
    done = subprocess.run(
        [INSPECT, "--exists", factory], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return done.returncode == 0


def missing_elements(factories: Iterable[str]) -> List[str]:
    """Those that are not installed, in the order given."""
    return [name for name in factories if not has_element(name)]


def has_launch() -> bool:
    """Whether `gst-launch-1.0` is there to run pipelines in a process of its own."""
    return shutil.which(LAUNCH) is not None
