"""Videos that end early: full disks, killed processes, encoders that die."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Optional

import pytest
from pictures import codec_of, frame, noisy_frame, read_video, road_and_car, sink_at, small_disk

from bisenet_edge.errors import SinkError
from bisenet_edge.frame import Frame, Size
from bisenet_edge.runtime.pipeline.run import HARD_END_S, RunOptions
from bisenet_edge.runtime.sinks import Sink, VideoSink, disk, encoders, h264

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a disk of a few MB needs root: sudo make test")
needs_h264 = pytest.mark.skipif(
    h264.find_encoder(Size(160, 120)) is None, reason=f"no H.264 encoder: {h264.INSTALL}"
)
SECOND_NS = 10**9


def no_gstreamer(size: Size) -> Optional[str]:
    return None


def write_noise(sink: Sink) -> None:
    """Write 2,000 frames that do not compress, as fast as the sink takes them."""
    shots = [noisy_frame(index, (240, 320)) for index in range(8)]
    with sink:
        for index in range(2000):
            image = shots[index % 8].image
            sink.write(Frame(image, index, index * SECOND_NS // 25), image[..., 0] % 11)


@needs_h264
@pytest.mark.parametrize(("width", "height"), [(162, 122), (166, 120), (163, 121)])
def test_h264_of_every_width(tmp_path: Path, width: int, height: int) -> None:
    """Rows of BGR are padded to 4 bytes by GStreamer and not by numpy; a mistake shears the picture."""
    with sink_at(tmp_path / "a.mp4") as sink:
        for index in range(8):
            sink.write(frame(index, (height, width)), road_and_car((height, width)))
    assert codec_of(tmp_path / "a.mp4") == "h264"
    image = read_video(tmp_path / "a.mp4")[4]
    assert image.shape == (height - height % 2, width - width % 2, 3)
    rows = image[height * 2 // 5 : height * 3 // 5].astype(int)
    assert abs(rows[:, 4:60] - rows[:1, 4:60]).max() < 12  # every row like the first: nothing is sheared


@needs_h264
def test_any_name_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / 'it\'s ! a "day" location=x.mp4'
    with sink_at(path) as sink:
        sink.write(frame(0), road_and_car())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert len(read_video(path)) == 1


def test_without_gstreamer_opencv_writes_and_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(h264, "find_encoder", no_gstreamer)
    with sink_at(tmp_path / "a.mp4") as sink:
        for index in range(5):
            sink.write(frame(index), road_and_car())
    assert len(read_video(tmp_path / "a.mp4")) == 5
    if codec_of(tmp_path / "a.mp4") != "h264":
        assert [r.getMessage() for r in caplog.records if "apt-get install" in r.getMessage()] != []
        assert len(caplog.records) == 1


def test_an_encoder_that_is_installed_and_does_not_work_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {"nvv4l2h264enc": "identity error-after=1 ! fakesink name={gop}{bitrate}{preset}{tune}"}
    monkeypatch.setattr(h264, "_ENCODERS", broken)
    assert h264.find_encoder.__wrapped__(Size(160, 120)) is None


def test_a_recording_keeps_time_where_frames_were_dropped(tmp_path: Path) -> None:
    with sink_at(tmp_path / "a.mp4", fps=10, live=True) as sink:
        for index, tenths in enumerate([0, 1, 2, 7, 7.2, 8]):
            sink.write(frame(index, captured_ns=int(tenths / 10 * SECOND_NS)), road_and_car())
    assert len(read_video(tmp_path / "a.mp4")) == 9


def test_a_pause_of_the_source_is_not_filled(tmp_path: Path) -> None:
    with sink_at(tmp_path / "a.mp4", fps=10, live=True) as sink:
        for index, seconds in enumerate([0, 3600, 3600.1]):
            sink.write(frame(index, captured_ns=int(seconds * SECOND_NS)), road_and_car())
    assert len(read_video(tmp_path / "a.mp4")) == 1 + 20 + 1


@pytest.mark.parametrize("name", ["a.mp4", "masks/"])
def test_a_recording_of_the_same_name_is_set_aside(tmp_path: Path, name: str) -> None:
    for _ in range(3):
        with sink_at(f"{tmp_path}/{name}", live=True) as sink:
            sink.write(frame(0), road_and_car())
    names = sorted(p.name for p in tmp_path.iterdir())
    stem, _, suffix = name.rstrip("/").partition(".")
    assert len(names) == 3
    assert sum(bool(re.fullmatch(rf"{stem}\.\d{{8}}-\d{{6}}(-\d)?\.?{suffix}", n)) for n in names) == 2


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "masks/"])
def test_what_a_live_run_wrote_before_an_error_stays(tmp_path: Path, name: str) -> None:
    with pytest.raises(ZeroDivisionError), sink_at(f"{tmp_path}/{name}", live=True) as sink:
        for index in range(5):
            sink.write(frame(index, captured_ns=index * SECOND_NS // 25), road_and_car())
        raise ZeroDivisionError
    (found,) = tmp_path.iterdir()
    assert found.name == name.rstrip("/")
    assert len(list(found.iterdir()) if found.is_dir() else read_video(found)) == 5


@needs_root
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "masks/"])
@pytest.mark.parametrize("live", [True, False])
def test_disk_full_while_writing(name: str, live: bool) -> None:
    with small_disk(disk.RESERVE_MB + 3) as folder:
        with pytest.raises(SinkError, match="the disk is full") as caught:
            write_noise(sink_at(f"{folder}/{name}", live=live))
        assert str(folder / name).rstrip("/") in str(caught.value)
        written = sorted(folder.iterdir())
        if not live:
            assert written == []  # a conversion leaves nothing half-written
            return
        assert [p.name for p in written] == [name.rstrip("/")]
        frames = list(written[0].iterdir()) if written[0].is_dir() else read_video(written[0])
        assert len(frames) > 10


@needs_root
@needs_h264
def test_disk_full_without_a_reserve_is_told_by_the_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program takes the last bytes between two frames: GStreamer meets ENOSPC itself."""
    monkeypatch.setattr(disk, "RESERVE_MB", 0)
    with small_disk(3) as folder:
        with pytest.raises(SinkError, match="the disk is full"):
            write_noise(sink_at(folder / "a.mp4", live=True))
        assert len(read_video(folder / "a.mp4")) > 10


KILLED = """
import sys, time
from pictures import noisy_frame, road_and_car, sink_at
sink = sink_at(sys.argv[1], fps=25, live=True)
for index in range(100):
    sink.write(noisy_frame(index, captured_ns=index * 10**9 // 25), road_and_car())
print("written", flush=True)
time.sleep(60)
"""


@needs_h264
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize("encoder_too", [False, True])
def test_a_recording_plays_after_the_process_was_killed(tmp_path: Path, name: str, encoder_too: bool) -> None:
    """`encoder_too`: as when the power fails: what is on the disk is all there is."""
    command = [sys.executable, "-c", KILLED, str(tmp_path / name)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        wait_until_large(tmp_path / name, 200_000)
        if encoder_too:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            for child in children:
                os.kill(int(child), signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    wait_until_steady(tmp_path / name)
    assert len(read_video(tmp_path / name)) >= (50 if encoder_too else 100)


def wait_until_large(path: Path, size_bytes: int) -> None:
    end_s = time.monotonic() + 30
    while time.monotonic() < end_s and path.stat().st_size < size_bytes:
        time.sleep(0.05)


def wait_until_steady(path: Path) -> None:
    size, end_s = -1, time.monotonic() + 30
    while time.monotonic() < end_s and path.stat().st_size != size:
        size = path.stat().st_size
        time.sleep(0.5)


@needs_h264
def test_an_encoder_that_dies_is_an_error_and_not_a_silence(tmp_path: Path) -> None:
    sink = sink_at(tmp_path / "a.mp4")
    assert isinstance(sink, VideoSink)
    with pytest.raises(SinkError, match="the encoder has ended"), sink:
        for index in range(200):
            sink.write(frame(index), road_and_car())
            if index == 3:
                assert isinstance(sink._encoder, encoders.GstEncoder)
                sink._encoder._process.kill()
    assert list(tmp_path.iterdir()) == []


@needs_h264
def test_a_service_that_stops_waits_briefly_for_an_encoder_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    def wait(process: subprocess.Popen, timeout: Optional[float] = None) -> int:
        if timeout is not None:
            waited.append(timeout)
            raise subprocess.TimeoutExpired("gst-launch-1.0", timeout)
        return real(process)

    real = subprocess.Popen.wait
    sink = sink_at(tmp_path / "a.mp4", live=True)
    assert isinstance(sink, VideoSink)
    sink.write(frame(0), road_and_car())
    monkeypatch.setattr(encoders.subprocess.Popen, "wait", wait)
    with pytest.raises(SinkError, match="ended with code"):
        sink.close()
    assert waited[0] == encoders.FINISH_LIVE_S
    # The worst case: frames on their way, an engine that hangs, and then this. systemd kills after 20 s.
    assert RunOptions().drain_s + 2 * HARD_END_S + encoders.FINISH_LIVE_S < 15


@needs_h264
def test_an_encoder_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "STALL_S", 0.5)
    sink = sink_at(tmp_path / "a.mp4")
    assert isinstance(sink, VideoSink)
    with pytest.raises(SinkError, match="has taken nothing"), sink:
        for index in range(200):
            sink.write(frame(index), road_and_car())
            if index == 3:
                assert isinstance(sink._encoder, encoders.GstEncoder)
                sink._encoder._process.send_signal(signal.SIGSTOP)
    assert list(tmp_path.iterdir()) == []
