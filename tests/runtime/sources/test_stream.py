"""A stream over a reader: stalls, ends, errors and interruption. The reader is a double."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from source_doubles import HW, ScriptedReader

from bisenet_edge.errors import SourceError, SourceLostError
from bisenet_edge.runtime.gstreamer.binding import PipelineError
from bisenet_edge.runtime.sources import stream as module
from bisenet_edge.runtime.sources.stream import StreamPlan, StreamSource

CAM = StreamPlan("rtsp://me:pass@cam/a", clock="camera", fix="look at it")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reading of the clock is a second later than the one before."""
    seconds = iter(range(10**9))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(seconds)))


def test_frames_carry_the_readers_times_and_reuse_the_callers_buffer() -> None:
    source = StreamSource(CAM, lambda: ScriptedReader(10, 20, None, 30, 25))
    assert (source.live, source.clock, source.size_hw, source.fps) == (True, "camera", HW, 25)
    assert source.uri == "rtsp://me:***@cam/a"
    first = source.read()
    buffer = np.empty((*HW, 3), np.uint8)
    second = source.read(buffer)
    assert second.image is buffer
    frames = [first, second, source.read(buffer), source.read(buffer)]
    assert [f.index for f in frames] == [0, 1, 2, 3]
    # The first frame was taken before the second was asked for; times never go back.
    assert [f.captured_ns for f in frames] == [10, 20, 30, 30]


def test_a_stalled_camera_is_lost(quick: None) -> None:
    source = StreamSource(CAM, lambda: ScriptedReader(1, "corrupt", "corrupt"))
    source.read()
    with pytest.raises(SourceLostError, match="no frame for 5 s, 2 damaged ones thrown away"):
        source.read()
    assert source.corrupt == 2


def test_a_camera_that_ends_or_fails_is_lost_and_no_password_is_told() -> None:
    source = StreamSource(CAM, lambda: ScriptedReader(1, then_ends=True))
    source.read()
    with pytest.raises(SourceLostError, match="has ended"):
        source.read()
    error = PipelineError("Could not read rtsp://me:pass@cam/a", "user-pw=pass (104)")
    source = StreamSource(CAM, lambda: ScriptedReader(1, error))
    source.read()
    with pytest.raises(SourceLostError) as caught:
        source.read()
    assert str(caught.value) == (
        "Could not read rtsp://me:***@cam/a\n  got:      rtsp://me:***@cam/a: user-pw=*** (104)"
    )


def test_a_camera_that_does_not_start_is_an_error_and_is_closed(quick: None) -> None:
    def refuse() -> ScriptedReader:
        raise PipelineError("no element rtspsrc", "at pass")

    with pytest.raises(SourceError) as caught:
        StreamSource(CAM, refuse)
    assert str(caught.value) == (
        "a source cannot be opened\n"
        "  got:      rtsp://me:***@cam/a: no element rtspsrc, at ***\n"
        "  next:     look at it"
    )
    for script, says in (
        ((PipelineError("Unauthorized"),), "Unauthorized"),
        ((None,), "no frame for 10 s"),
        (("corrupt",), "1 damaged"),
    ):
        reader = ScriptedReader(*script)
        with pytest.raises(SourceError, match=says) as caught:
            StreamSource(CAM, lambda reader=reader: reader)
        assert not isinstance(caught.value, SourceLostError)
        assert reader.closed
    reader = ScriptedReader(None, then_ends=True)
    with pytest.raises(SourceError, match="ended before its first frame"):
        StreamSource(CAM, lambda: reader)


def test_interrupt_from_another_thread() -> None:
    source = StreamSource(CAM, lambda: ScriptedReader(1))
    source.read()
    found: list[object] = []
    reader = threading.Thread(target=lambda: found.append(source.read()), daemon=True)
    reader.start()
    source.interrupt()
    reader.join(20)
    assert found == [None]
    assert source.read() is None


def test_interrupt_while_opening() -> None:
    interrupted = threading.Event()
    interrupted.set()
    assert StreamSource(CAM, ScriptedReader, interrupted).read() is None


def test_a_file_ends_in_silence_or_too_early(quick: None) -> None:
    whole = StreamPlan("file:///a.mp4", live=False, count=3)
    source = StreamSource(whole, lambda: ScriptedReader(1, *[None] * 50, 2, 3, then_ends=True))
    assert [source.read().index for _ in range(3)] == [0, 1, 2]
    assert source.read() is None
    source = StreamSource(
        StreamPlan("file:///a.mp4", live=False, count=30), lambda: ScriptedReader(1, then_ends=True)
    )
    source.read()
    with pytest.raises(SourceError, match="ends early: frame 1 of 30"):
        source.read()
