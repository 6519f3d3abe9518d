"""Software pipelines run by the real GStreamer, in this process and over a pipe."""

from __future__ import annotations

import subprocess
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from cameras import until

from bisenet_edge.errors import MissingDependencyError, SourceError, SourceLostError, UsageError
from bisenet_edge.frame import Size
from bisenet_edge.runtime.gstreamer import Pipeline, caps, element
from bisenet_edge.runtime.gstreamer.binding import PipelineError, RunningPipeline
from bisenet_edge.runtime.sources import VideoSource, open_source, opening
from bisenet_edge.runtime.sources.appsink import AppsinkReader
from bisenet_edge.runtime.sources.captures import SOFTWARE, Capture
from bisenet_edge.runtime.sources.pipe import PipeReader
from bisenet_edge.runtime.sources.stream import StreamPlan
from bisenet_edge.runtime.sources.targets import Target

BOTH = ["gi", "gst-launch"]
END = (element("videoconvert"), caps("video/x-raw", format="BGRx"))
pytestmark = pytest.mark.usefixtures("gst", "gst_launch")


def write_video(path: Path, frames: int = 20) -> None:
    writer = cv2.VideoWriter(str(path), int.from_bytes(b"mp4v", "little"), 25, (160, 96))
    for index in range(frames):
        writer.write(np.full((96, 160, 3), 12 * index, np.uint8))
    writer.release()


@pytest.mark.parametrize("backend", BOTH)
def test_a_video_file_is_read_whole(backend: str, tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4")
    with open_source(f"file://{tmp_path}/a.mp4?backend={backend}") as source:
        assert (source.live, source.count, source.fps, source.size_hw) == (False, 20, 25, (96, 160))
        frames = list(iter(source.read, None))
        assert source.read() is None
    with open_source(str(tmp_path / "a.mp4")) as source:
        assert isinstance(source, VideoSource), "OpenCV reads files where there is no Jetson's decoder"
        expected = list(iter(source.read, None))
    assert [frame.index for frame in frames] == list(range(20))
    for got, want in zip(frames, expected):
        assert np.abs(got.image.astype(int) - want.image).max() <= 6  # two decoders' colour conversion


@pytest.mark.parametrize("backend", BOTH)
def test_delivered_size_and_flip(backend: str, tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4")
    with open_source(f"file://{tmp_path}/a.mp4?out=64x96&flip=1&backend={backend}") as source:
        assert source.size_hw == (96, 64)
        assert len(list(iter(source.read, None))) == 20


@pytest.mark.parametrize("backend", BOTH)
@pytest.mark.parametrize(
    "name",
    [
        "a b.mp4",
        "x ! fakesink.mp4",
        '"q" !.mp4',
        "it's.mp4",
        "back\\slash.mp4",
        "new\nline.mp4",
        "\\\\.mp4",
        "ü;(x).mp4",
    ],
)
def test_a_file_name_never_becomes_an_element(backend: str, name: str, tmp_path: Path) -> None:
    write_video(tmp_path / "plain.mp4", 3)
    (tmp_path / "plain.mp4").rename(tmp_path / name)
    quoted = name.replace("%", "%25").replace("?", "%3F")
    with open_source(f"file://{tmp_path}/{quoted}?backend={backend}") as source:
        assert len(list(iter(source.read, None))) == 3


def test_odd_widths_have_no_padding_left(tmp_path: Path) -> None:
    for reader_of in (
        lambda p: AppsinkReader(p, live=False, dated=False),
        lambda p: PipeReader(p, live=False),
    ):
        camera = Pipeline.of(
            element("videotestsrc", num_buffers=2, pattern="gradient"),
            caps("video/x-raw", width=67, height=35, format="BGRx"),
        )
        reader = reader_of(camera)
        image = None
        for _ in range(100):
            image = image if image is not None else reader.poll(None, 0.2)
        reader.close()
        assert image.shape == (35, 67, 3)
        assert (np.ptp(image, axis=1) == 0).all(), "every row of the gradient has one colour"


def test_frames_of_a_running_camera_need_no_new_memory() -> None:
    camera = Pipeline.of(
        element("videotestsrc", is_live=True, pattern="ball"),
        caps("video/x-raw", width=640, height=480, format="BGRx"),
    )
    reader = AppsinkReader(camera, live=True, dated=True)
    out = None
    while out is None:
        out = reader.poll(None, 1)
    tracemalloc.start()
    for _ in range(20):
        image = reader.poll(out, 1)
        assert image is None or image is out
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    reader.close()
    assert peak < 200_000, "a frame has 921600 bytes"


def test_h264_with_flipped_bytes_ends_nothing(tmp_path: Path, gst_launch: str) -> None:
    path = tmp_path / "a.h264"
    made = (
        "videotestsrc num-buffers=90 pattern=ball ! video/x-raw,width=320,height=240 ! x264enc key-int-max=10"
    )
    made += (
        f" tune=zerolatency ! h264parse ! video/x-h264,stream-format=byte-stream ! filesink location={path}"
    )
    subprocess.run([gst_launch, "-q", *made.split()], check=True, timeout=60)
    data = bytearray(path.read_bytes())
    random = np.random.default_rng(0)
    for place in random.integers(2000, len(data), 120):
        data[int(place)] ^= int(random.integers(1, 256))
    path.write_bytes(bytes(data))
    stream = Pipeline.of(
        element("filesrc", location=str(path)), element("h264parse"), element("avdec_h264"), *END
    )
    reader = AppsinkReader(stream, live=False, dated=False)
    frames = 0
    while not reader.ended:
        frames += reader.poll(None, 1) is not None
    reader.close()
    assert frames + reader.corrupt > 70


def target_of(uri: str, *parts: object) -> Target:
    pipeline = Pipeline.of(*parts, *END)  # type: ignore[arg-type]
    return Target(StreamPlan(uri, clock="camera"), [Capture(SOFTWARE, pipeline, dated=True)], None)


@pytest.mark.parametrize("backend", BOTH)
def test_a_camera_that_is_unplugged_and_back(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A real pipeline that fails as v4l2src does when its device is gone; then no device; then another one.
    monkeypatch.setattr("bisenet_edge.runtime.sources.reopening.FIRST_WAIT_S", 0.05)
    camera = element("videotestsrc", is_live=True)
    size = caps("video/x-raw", width=64, height=48)
    targets = iter(
        [
            target_of("v4l2://0", camera, size, element("identity", error_after=5)),
            SourceError("a camera cannot be opened", got="/dev/video0: No such file or directory"),
            target_of("v4l2://0", camera, caps("video/x-raw", width=96, height=64)),
        ]
    )

    def next_target(*_: object) -> Target:
        target = next(targets)
        if isinstance(target, SourceError):
            raise target
        return target

    monkeypatch.setitem(opening.LIVE_TARGETS, "v4l2", next_target)
    events: list[str] = []
    with open_source(f"v4l2://0?backend={backend}", on_event=events.append) as source:
        assert source.clock == ("camera" if backend == "gi" else "arrival")
        frames: list = []
        until(lambda: source.reopened == 1 and len(frames) > 8, lambda: frames.append(source.read()))
    shapes = [frame.image.shape[:2] for frame in frames]
    assert shapes == sorted(shapes)
    assert set(shapes) == {(48, 64), (64, 96)}
    assert [frame.index for frame in frames] == list(range(len(frames)))
    times = [frame.captured_ns for frame in frames]
    assert times == sorted(times)
    assert "Failed after iterations as requested" in events[0]
    assert "No such file or directory; trying again in" in events[1]
    assert "back after loss" in events[2]
    assert len(events) == 3


@pytest.mark.parametrize("backend", BOTH)
def test_a_camera_that_ends_is_lost(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = target_of("v4l2://0", element("videotestsrc", is_live=True, num_buffers=3))
    monkeypatch.setitem(opening.LIVE_TARGETS, "v4l2", lambda *_: target)
    with open_source(f"v4l2://0?backend={backend}") as source, pytest.raises(SourceLostError, match="ended"):
        until(lambda: False, source._source.read)


def test_pipelines_that_cannot_be_built_or_started() -> None:
    with pytest.raises(PipelineError, match="nosuchelement"):
        RunningPipeline(Pipeline.of(element("nosuchelement"), element("fakesink")))
    pipeline = RunningPipeline(Pipeline.of(element("filesrc", location="/no/such"), element("fakesink")))
    with pytest.raises(PipelineError, match=r"Resource not found"):
        pipeline.start()
    pipeline.stop()


@pytest.mark.parametrize(
    ("has_gi", "has_launch", "reader"),
    [(True, True, "AppsinkReader"), (False, True, "PipeReader"), (False, False, "OpenCvReader")],
)
def test_the_best_backend_that_is_installed_is_chosen(
    has_gi: bool, has_launch: bool, reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    for name in ("AppsinkReader", "PipeReader", "OpenCvReader"):
        monkeypatch.setattr(opening, name, lambda *_, name=name, **__: made.append(name))
    real = opening.find_gst()
    monkeypatch.setattr(opening, "find_gst", lambda: real if has_gi else None)
    monkeypatch.setattr(opening, "has_launch", lambda: has_launch)
    with pytest.raises(AttributeError):  # the doubles give no reader
        open_source("rtsp://127.0.0.1:9/a")
    assert made == [reader]


@pytest.mark.parametrize(
    "uri",
    [
        "rtsp://me:geheim@127.0.0.1:9/a",
        "rtsp://geheim@127.0.0.1:9/a",
        "http://127.0.0.1:9/a?token=geheim",
    ],
)
@pytest.mark.parametrize("asked", ["auto", "gst-launch"])
def test_no_login_is_put_where_every_user_of_the_machine_sees_it(
    uri: str, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*_: object, **__: object) -> None:
        raise AssertionError("gst-launch-1.0 was started with the login")

    monkeypatch.setattr(opening, "find_gst", lambda: None)
    monkeypatch.setattr(opening, "has_launch", lambda: True)
    monkeypatch.setattr(opening, "missing_elements", lambda factories: [])
    monkeypatch.setattr(opening, "PipeReader", started)
    uri += f"{'&' if '?' in uri else '?'}backend={asked}"
    with pytest.raises(
        MissingDependencyError, match=r"(?s)shown to every user.*backend=opencv.*python3-gi"
    ) as caught:
        open_source(uri)
    if "me:" in uri or "token" in uri:
        assert "geheim" not in str(caught.value)


def test_backends_that_are_asked_for_and_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bisenet_edge.runtime.gstreamer.binding.find_gst", lambda: None)
    monkeypatch.setattr(opening, "has_launch", lambda: False)
    with pytest.raises(MissingDependencyError, match=r"(?s)Python binding.*apt-get install"):
        open_source("rtsp://cam/a?backend=gi")
    with pytest.raises(MissingDependencyError, match=r"(?s)no gst-launch-1.0.*apt-get install"):
        open_source("rtsp://cam/a?backend=gst-launch")
    with pytest.raises(UsageError, match=r"(?s)OpenCV cannot follow 'latency'.*apt-get install"):
        open_source("rtsp://cam/a?backend=opencv&latency=20")
    with pytest.raises(MissingDependencyError, match="on a Jetson only"):
        open_source("csi://0?backend=opencv")


def test_what_fits_into_the_network_is_delivered_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    from bisenet_edge.runtime.sources import targets
    from bisenet_edge.runtime.sources.options import split_options

    def text(uri: str) -> str:
        place, options = split_options(uri, "csi", uri[len("csi://") :])
        return targets.csi_target(uri, place, options, Size(512, 512)).captures[0].pipeline.text

    assert text("csi://0").endswith("nvvidconv flip-method=0 ! video/x-raw,format=BGRx")
    assert text("csi://0?scale=network").endswith("video/x-raw,width=512,height=288,format=BGRx")
    assert text("csi://0?scale=network&flip=3").endswith("video/x-raw,width=288,height=512,format=BGRx")


def test_options_that_a_file_cannot_have(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 2)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((40, 40, 3), np.uint8))
    with pytest.raises(UsageError, match="did you mean 'out'"):
        open_source(f"file://{tmp_path}/a.mp4?ot=64x64")
    with pytest.raises(UsageError, match="only a video file"):
        open_source(f"file://{tmp_path}/a.png?flip=1")
    with pytest.raises(UsageError, match="reads a file as it is"):
        open_source(f"file://{tmp_path}/a.mp4?flip=1&backend=opencv")
    with pytest.raises(SourceError, match="does not exist"):
        open_source(f"file://{tmp_path}/b.mp4?flip=1")
    with open_source(f"file://{tmp_path}/a.png") as source:
        assert source.count == 1
    with open_source(f"file://{tmp_path}/a.mp4?backend=opencv") as source:
        assert source.count == 2
