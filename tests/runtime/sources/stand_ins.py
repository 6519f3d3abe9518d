"""Stand-ins for a Jetson's GStreamer elements, inside one process, and a program that reads through them.

The exact pipeline texts are parsed, negotiate NVMM memory and run. What they stand for is only said by
NVIDIA's documents: properties, caps and formats are as strict as those; the pictures come from
videotestsrc and are converted in software.

    python stand_ins.py URI [FRAMES]   prints one line of JSON
"""

from __future__ import annotations

import json
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstBase", "1.0")
from gi.repository import GObject, Gst, GstApp, GstBase  # noqa: E402, F401

Gst.init(None)
NVMM = "memory:NVMM"


def memory_filter(name: str, sink: str, src: str, to_nvmm: bool) -> None:
    """Register an element that passes pictures on and changes only what their caps say of the memory."""

    class Filter(GstBase.BaseTransform):
        __gtype_name__ = "StandIn" + name
        __gstmetadata__ = (name, "Filter", name, "tests")
        __gsttemplates__ = tuple(
            Gst.PadTemplate.new(pad, direction, Gst.PadPresence.ALWAYS, Gst.Caps.from_string(text))
            for pad, direction, text in (
                ("sink", Gst.PadDirection.SINK, sink),
                ("src", Gst.PadDirection.SRC, src),
            )
        )

        def __init__(self) -> None:
            super().__init__()
            self.set_passthrough(False)
            self.set_in_place(True)

        def do_transform_caps(self, direction, caps, wanted):
            nvmm = to_nvmm if direction == Gst.PadDirection.SINK else not to_nvmm
            out = Gst.Caps.new_empty()
            for index in range(caps.get_size()):
                features = Gst.CapsFeatures.new_single(NVMM) if nvmm else Gst.CapsFeatures.new_empty()
                out.append_structure_full(caps.get_structure(index).copy(), features)
            return wanted.intersect_full(out, Gst.CapsIntersectMode.FIRST) if wanted else out

        def do_transform_ip(self, buffer):
            return Gst.FlowReturn.OK

    Gst.Element.register(None, name, 0, Filter)


RAW = "video/x-raw"
memory_filter("standintonvmm", RAW, f"{RAW}({NVMM})", True)
memory_filter("standinfromnvmm", f"{RAW}({NVMM})", RAW, False)


class StandInBin(Gst.Bin):
    """Elements in a row with the pads of the first and last of them, which are named i and o."""

    def build(self, text: str, pads: tuple[str, ...]) -> None:
        inner = Gst.parse_bin_from_description(text, False)
        self.add(inner)
        for pad in pads:
            name = "i" if pad == "sink" else "o"
            ghost = Gst.GhostPad.new(pad, inner.get_by_name(name).get_static_pad(pad))
            inner.add_pad(ghost)
            self.add_pad(Gst.GhostPad.new(pad, ghost))


class Argus(StandInBin):
    __gstmetadata__ = ("nvarguscamerasrc", "Source", "stand-in", "tests")
    sensor_id = GObject.Property(type=int, default=0, nick="sensor-id")

    def __init__(self) -> None:
        super().__init__()
        self.build(
            "videotestsrc pattern=colors is-live=true ! video/x-raw,format=NV12 ! standintonvmm name=o",
            ("src",),
        )


class Converter(StandInBin):
    """nvvidconv: one side must be NVMM, and it cannot make BGR."""

    __gstmetadata__ = ("nvvidconv", "Filter", "stand-in", "tests")
    flip_method = GObject.Property(type=int, default=0, minimum=0, maximum=7, nick="flip-method")
    interpolation_method = GObject.Property(
        type=int, default=0, minimum=0, maximum=6, nick="interpolation-method"
    )
    TO_NVMM = "videoconvert name=i ! videoscale ! video/x-raw,format=NV12 ! standintonvmm name=o"
    FROM_NVMM = (
        "standinfromnvmm name=i ! videoconvert ! videoscale ! "
        "capsfilter name=o caps=video/x-raw,format={BGRx,RGBA,NV12,I420}"
    )

    def __init__(self) -> None:
        super().__init__()
        # The pipeline "raw ! nvvidconv ! NVMM ! nvvidconv ! raw" needs both; only the text knows which.
        first_of_two = Converter.left_to_nvmm > 0
        Converter.left_to_nvmm -= 1
        self.build(self.TO_NVMM if first_of_two else self.FROM_NVMM, ("sink", "src"))

    left_to_nvmm = 0


class Decoder(StandInBin):
    """nvv4l2decoder: motion JPEG only with mjpeg=1, else H.264 (the real one: H.265, too)."""

    __gstmetadata__ = ("nvv4l2decoder", "Decoder", "stand-in", "tests")
    enable_max_performance = GObject.Property(type=bool, default=False, nick="enable-max-performance")

    TEXT = "capsfilter name=i caps={} ! {} ! videoconvert ! video/x-raw,format=NV12 ! standintonvmm name=o"

    def __init__(self) -> None:
        super().__init__()
        self._mjpeg = False
        self.build(self.TEXT.format("video/x-h264,stream-format=byte-stream", "avdec_h264"), ("sink", "src"))

    @GObject.Property(type=bool, default=False, nick="mjpeg")
    def mjpeg(self) -> bool:
        return self._mjpeg

    @mjpeg.setter  # type: ignore[no-redef]
    def mjpeg(self, value: bool) -> None:
        self._mjpeg = value
        if value:
            self.remove(self.children[0])
            for pad in list(self.pads):
                self.remove_pad(pad)
            self.build(self.TEXT.format("image/jpeg,parsed=true", "jpegdec"), ("sink", "src"))


class V4l2(StandInBin):
    """v4l2src: a camera with motion JPEG and YUY2."""

    __gstmetadata__ = ("v4l2src", "Source", "stand-in", "tests")
    device = GObject.Property(type=str, default="")

    def __init__(self) -> None:
        super().__init__()
        made = "videoconvert ! video/x-raw,format=YUY2" if V4l2.pixels == "yuyv" else "jpegenc"
        self.build(f"videotestsrc pattern=colors is-live=true ! {made} ! identity name=o", ("src",))

    pixels = "mjpeg"


def register_all() -> None:
    registry = Gst.Registry.get()
    real = registry.lookup_feature("v4l2src")
    if real is not None:
        registry.remove_feature(real)
    stand_ins = {
        "nvarguscamerasrc": Argus,
        "nvvidconv": Converter,
        "nvv4l2decoder": Decoder,
        "v4l2src": V4l2,
    }
    for name, kind in stand_ins.items():
        Gst.Element.register(None, name, 0, kind)


def main(uri: str, frames: int = 5) -> None:
    from bisenet_edge.runtime.sources import open_source, targets

    register_all()
    if "format=yuyv" in uri:
        V4l2.pixels, Converter.left_to_nvmm = "yuyv", 1
    targets.choose_format = lambda device, wanted: V4l2.pixels  # there is no device to ask
    shapes, indices, ages_ns, buffers = set(), [], [], set()
    import time

    with open_source(uri) as source:
        out = None
        for _ in range(frames):
            frame = source.read(out)
            assert frame is not None
            ages_ns.append(time.monotonic_ns() - frame.captured_ns)
            out = frame.image
            buffers.add(out.ctypes.data)
            shapes.add(out.shape)
            indices.append(frame.index)
        said = {
            "shapes": sorted(shapes),
            "indices": indices,
            "youngest_ns": min(ages_ns),
            "oldest_ns": max(ages_ns),
            "buffers": len(buffers),
            "clock": source.clock,
            "fps": source.fps,
            "live": source.live,
            "colours": len({tuple(p) for p in out[::8, ::8].reshape(-1, 3).tolist()}),
        }
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
