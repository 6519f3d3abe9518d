"""H.264 encoders of GStreamer as data: a list of words for `gst-launch-1.0` or `Gst.parse_launch`.

An encoder that is installed need not work: a Jetson Orin Nano has the plugin of NVIDIA's encoder and no
encoder in the chip. So one is chosen by encoding a few frames with it.
"""

from __future__ import annotations

import subprocess
from functools import lru_cache
from typing import Dict, Optional, Tuple

from bisenet_edge.frame import Size

LAUNCH = "gst-launch-1.0"
INSTALL = "sudo apt-get install -y gstreamer1.0-tools gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly"
TRIAL_FRAMES = 3
TRIAL_TIMEOUT_S = 20.0

# From BGRx (what NVIDIA's converter takes, and rows that need no padding) to H.264. Names and properties:
# gst-inspect-1.0 of GStreamer 1.22 and, for the first, NVIDIA's "Accelerated GStreamer" guide of Jetson Linux
# (not run on a Jetson).
_ENCODERS: Dict[str, str] = {
    "nvv4l2h264enc": "nvvidconv ! video/x-raw(memory:NVMM),format=NV12 ! "
    "nvv4l2h264enc maxperf-enable=true insert-sps-pps=true idrinterval={gop} bitrate={bitrate}",
    "x264enc": "videoconvert ! video/x-raw,format=I420 ! "
    "x264enc speed-preset={preset} pass=qual quantizer=23 key-int-max={gop}{tune}",
    "openh264enc": "videoconvert ! video/x-raw,format=I420 ! "
    "openh264enc complexity=low gop-size={gop} bitrate={bitrate}",
}
BITS_PER_PIXEL = 0.12  # streets at 30 FPS; what encoders without a quality setting are given


def raw_caps(size: Size, fps: float) -> str:
    """Caps of the pictures that `encode` takes."""
    return f"video/x-raw,format=BGRx,width={size.width},height={size.height},framerate={rate(fps)}"


def rate(fps: float) -> str:
    """A frame rate as GStreamer writes it: "30/1", "29970/1000"."""
    return f"{round(fps)}/1" if fps == round(fps) else f"{round(fps * 1000)}/1000"


def encode(encoder: str, size: Size, fps: float, *, low_latency: bool) -> str:
    """Elements from BGRx to H.264, joined by `!`.

    Args:
        encoder: one that `find_encoder` gave.
        size: of the pictures, both sides even.
        fps: frames per second; there is a key frame every second.
        low_latency: no frame waits for later ones: a viewer sees it at once, a crash loses none.
    """
    return _ENCODERS[encoder].format(
        gop=max(1, round(fps)),
        bitrate=max(200_000, round(size.width * size.height * fps * BITS_PER_PIXEL)),
        preset="superfast" if low_latency else "veryfast",
        tune=" tune=zerolatency" if low_latency else "",
    )


@lru_cache(maxsize=16)
def find_encoder(size: Size) -> Optional[str]:
    """The first encoder that can encode pictures of this size on this machine; None if none can.

    Tried: NVIDIA's, x264, OpenH264. Takes 0.1 to 0.3 s for each.
    """
    return next((name for name in _ENCODERS if _works(name, size)), None)


def _works(encoder: str, size: Size) -> bool:
    trial = (
        f"videotestsrc num-buffers={TRIAL_FRAMES} ! {raw_caps(size, 30)} ! "
        f"{encode(encoder, size, 30, low_latency=True)} ! fakesink"
    )
    try:
        done = subprocess.run(
            [LAUNCH, "-q", *trial.split()],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TRIAL_TIMEOUT_S,
            check=False,
        )
    except (FileNotFoundError, PermissionError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def container(suffix: str, *, fragmented: bool) -> Tuple[str, ...]:
    """Words of the element that makes an MP4 or MKV of H.264.

    A fragmented MP4 carries its index in pieces of one second, so that it plays wherever it is cut off;
    Matroska always does.
    """
    if suffix == ".mkv":
        return ("matroskamux",)
    return ("mp4mux", "fragment-duration=1000", "streamable=true") if fragmented else ("mp4mux",)
