"""Pipelines as data: their text, and values that must stay values."""

from __future__ import annotations

from fractions import Fraction

import pytest

from bisenet_edge.runtime.gstreamer import Pipeline, caps, element


def test_text_of_a_pipeline() -> None:
    camera = Pipeline.of(
        element("nvarguscamerasrc", sensor_id=1),
        caps("video/x-raw", "NVMM", width=1280, height=720, framerate=Fraction(30), format="NV12"),
        None,
        element("nvvidconv", flip_method=2),
    )
    sink = Pipeline.of(
        caps("video/x-raw", format="BGRx", width=None), element("appsink", name="s", drop=True)
    )
    assert (camera + sink).text == (
        "nvarguscamerasrc sensor-id=1 ! "
        "video/x-raw(memory:NVMM),width=1280,height=720,framerate=30/1,format=NV12 ! "
        "nvvidconv flip-method=2 ! video/x-raw,format=BGRx ! appsink name=s drop=true"
    )
    assert (camera + sink).factories == ("nvarguscamerasrc", "nvvidconv", "appsink")


def test_harmless_values_are_written_as_they_are() -> None:
    address = "rtsp://cam.local:554/live?channel=1&subtype=0"
    assert element("rtspsrc", location=address).words == ["rtspsrc", f"location={address}"]


@pytest.mark.parametrize(
    "value", ["a b", "x ! fakesink", "a!b", '"', "'", "\\", "a\\", "new\nline", "(x)", "a,b;c", "", "ü"]
)
def test_no_value_becomes_syntax(value: str) -> None:
    (_, word) = element("filesrc", location=value).words
    assert word.startswith("location=")
    assert not set(word) & set(" !'(),;\n")
    assert word.isascii()
    assert word.count('"') == word.count('\\"') == 2
