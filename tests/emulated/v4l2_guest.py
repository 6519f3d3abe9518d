"""Runs inside the emulated machine: reads /dev/video0 with every backend, unplugs it, and says what came."""

from __future__ import annotations

import json
import os
import threading
import time
import traceback
from pathlib import Path

DRIVER = Path("/sys/bus/platform/drivers/vivid")
LINK = Path("/dev/v4l/by-path/platform-vivid.0-video-index0")


def link_camera() -> str:
    """Do udev's work: a link to the camera by its place, whatever number it has got."""
    camera = max(Path("/dev").glob("video*"))
    LINK.parent.mkdir(parents=True, exist_ok=True)
    LINK.unlink(missing_ok=True)
    LINK.symlink_to(camera)
    return str(camera)


def tell(name: str, **values: object) -> None:
    print("RESULT " + json.dumps({"name": name, **values}), flush=True)


def read(backend: str) -> None:
    from bisenet_edge.runtime.sources import open_source

    start_s = time.monotonic()
    with open_source(f"v4l2:///dev/video0?width=640&height=360&stall=60&backend={backend}") as source:
        opened_s = time.monotonic() - start_s
        frames, out = [], None
        for _ in range(8):
            frames.append(source.read(out))
            out = frames[-1].image
        times = [frame.captured_ns for frame in frames]
        tell(
            backend,
            shapes=sorted({frame.image.shape for frame in frames}),
            indices=[frame.index for frame in frames],
            clock=source.clock,
            fps=source.fps,
            in_order=times == sorted(times),
            newest_age_ms=round((time.monotonic_ns() - times[-1]) / 1e6, 1),
            spread=int(out.max()) - int(out.min()),
            opened_s=round(opened_s, 1),
        )


def unplug(backend: str) -> None:
    """Take the driver off its device while a frame is waited for, and give it back."""
    from bisenet_edge.runtime.sources import open_source

    events: list[str] = []
    with open_source(f"v4l2://{link_camera()}?stall=30&backend={backend}", on_event=events.append) as source:
        before = [source.read().index for _ in range(3)]
        (device,) = (path.name for path in DRIVER.iterdir() if path.name.startswith("vivid."))
        (DRIVER / "unbind").write_text(device)
        gone = not list(Path("/dev").glob("video*"))

        def plug_in() -> None:
            (DRIVER / "bind").write_text(device)
            link_camera()

        threading.Timer(2, plug_in).start()
        after: list[int] = []
        threading.Timer(90, source.interrupt).start()
        while len(after) < 3:
            frame = source.read()
            if frame is None:
                break
            if source.reopened:
                after.append(frame.index)
        tell(
            f"unplug {backend}",
            gone=gone,
            before=before,
            after=after,
            reopened=source.reopened,
            events=events,
        )


def main() -> None:
    from bisenet_edge.runtime.sources.v4l2 import choose_format, offered_fourccs

    tell(
        "machine",
        arch=os.uname().machine,
        formats=offered_fourccs("/dev/video0"),
        chosen=choose_format("/dev/video0"),
    )
    for step, backend in [(s, b) for s in (read, unplug) for b in ("opencv", "gi", "gst-launch")]:
        try:
            step(backend)
        except Exception:  # noqa: BLE001, told to the host
            tell(f"{step.__name__} {backend} failed", error=traceback.format_exc()[-1500:])


main()
os._exit(0)  # timers
